"""What the numbers mean: plain answers to a retention manager's questions, each from a measurement."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from churn_spark.evaluation.counts import chance_gap
from churn_spark.evaluation.measures import Measure, find, on_test
from churn_spark.evaluation.words import amount, in_points, interval, number, percent, plain, signed
from churn_spark.report.facts import THOUSAND, Facts, contacted_share

State = Literal["ok", "warn", "fail", "unknown"]

FEW_TO_RANK = 10  # test customers of the rarer kind: below, even the bootstrap is too sure of itself
FEW_TO_CALIBRATE = 30
SMALL_ERROR = 0.02  # a probability that is off by less than this decides nothing
LARGE_ERROR = 0.05
NOTICEABLE = 0.005  # of ROC-AUC

CROSS_SECTION = (
    "The table holds one moment only. The model tells who resembles the customers who have left, "
    "not who will leave next month; with dated snapshots it could be tested as a forecast."
)


@dataclass(frozen=True)
class Answer:
    """The answer to one question: a state, a word or two, and the evidence."""

    question: str
    state: State
    short: str
    evidence: str


def answers(metrics: pd.DataFrame, facts: Facts) -> tuple[Answer, ...]:
    """Answer the questions of the verdict; those that do not apply are left out."""
    found = (
        better_than_no_model(metrics, facts),
        better_than_no_text(metrics, facts),
        better_than_champion(metrics, facts),
        leaking(facts),
        calibrated(metrics, facts),
        a_forecast(facts),
    )
    return tuple(answer for answer in found if answer)


def headline(metrics: pd.DataFrame, facts: Facts) -> Answer:
    """The verdict in one sentence; `short` is what to do, `evidence` the next sentence."""
    model, leaks = better_than_no_model(metrics, facts), leaking(facts)
    profit = on_test(metrics, "profit")
    if model.state == "unknown":
        return Answer("The test customers cannot judge this model", "unknown", "Not judged", model.evidence)
    if leaks.state == "fail":
        return Answer("Something gives the answer away", "fail", "Do not use", leaks.evidence)
    if model.state != "ok":
        return Answer("It is not shown to be better than chance", "fail", "Do not use", model.evidence)
    if facts.promoted is False:
        why = sentence(facts.reason) or "The gates were not met."
        return Answer("This model was not promoted", "warn", "Do not switch", why)
    if not profit.low > 0:
        earns = f"It earns {interval(profit.times(THOUSAND), amount)} per {THOUSAND:,} customers."
        return Answer("It ranks well, but the campaign is not shown to pay", "warn", "Check first", earns)
    plan = _plan(metrics)
    open_points = [a for a in answers(metrics, facts) if a.state != "ok"]
    if open_points:
        counted = {1: "one point", 2: "two points"}.get(len(open_points), f"{len(open_points)} points")
        return Answer(
            f"It finds those who leave, with {counted} to know first", "warn", "Use with care", plan
        )
    return Answer("It finds those who leave, and contacting them pays", "ok", "Ready to use", plan)


def better_than_no_model(metrics: pd.DataFrame, facts: Facts) -> Answer:
    question = "Better than no model?"
    auc, lift, found = (on_test(metrics, m) for m in ("roc_auc", "lift_10", "capture_10"))
    if not auc.known:
        return Answer(question, "unknown", "Cannot be told", "The test customers do not hold both kinds.")
    if _rarer(metrics) < FEW_TO_RANK:
        few = f"Only {_rarer(metrics):.0f} of the rarer kind among {auc.n:,} test customers."
        return Answer(question, "unknown", "Too few to tell", few)
    evidence = (
        f"The riskiest 10% hold {percent(found.value)} of all who leave, {number(lift.value, digits=1)} "
        f"times their share. ROC-AUC {number(auc.value)} ({interval(auc)})."
    )
    if auc.low > 0.5:
        return Answer(question, "ok", "Yes", evidence)
    return Answer(question, "fail", "No" if auc.value <= 0.5 else "Not shown", evidence)


def better_than_no_text(metrics: pd.DataFrame, facts: Facts) -> Answer | None:
    question = "Do the notes help?"
    gain = gain_over("table only", "roc_auc", metrics, facts)
    if not gain.known:
        read = bool(facts.text_columns or facts.text.get("notes"))
        unmeasured = "No model without them was fitted."
        return Answer(question, "unknown", "Not measured", unmeasured) if read else None
    evidence = f"ROC-AUC {signed(gain.value)} ({interval(gain, signed)}) over the table alone."
    money = gain_over("table only", "profit", metrics, facts)
    if money.known:
        evidence += f" {_plus(money)} per {THOUSAND:,} customers."
    if any(finding.name == "text_beats_table" for finding in facts.findings or ()):
        alarm = "The notes alone beat the table: were they written before customers left?"
        return Answer(question, "warn", "Suspiciously well", f"{alarm} {evidence}")
    if gain.low > 0:
        return Answer(question, "ok", "Yes", evidence)
    return Answer(question, "warn", "Not shown" if gain.value > 0 else "No", evidence)


def better_than_champion(metrics: pd.DataFrame, facts: Facts) -> Answer | None:
    question = "Better than the champion?"
    gain = gain_over("champion", "roc_auc", metrics, facts)
    parts = [f"ROC-AUC {signed(gain.value)} ({interval(gain, signed)}) on the same customers."] * gain.known
    parts += [sentence(facts.reason)] * bool(facts.reason)
    if overlap := facts.agreement.get("top_decile_overlap"):
        ranks = number(facts.agreement.get("rank_correlation", math.nan), digits=2)
        parts.append(f"{percent(overlap)} of the riskiest tenth stay the same, rank correlation {ranks}.")
    evidence, compared = " ".join(parts), gain.known or bool(facts.champion)
    if facts.promoted is False:
        return Answer(question, "warn", "No, it stays" if compared else "Not promoted", evidence)
    if not compared:
        first = Answer(question, "ok", "First model", "It becomes the first champion.")
        return first if facts.promoted else None
    if facts.promoted:
        return Answer(question, "ok", "Yes, promoted", evidence)
    shown = gain.low > 0
    return Answer(question, "ok" if shown else "unknown", "Yes" if shown else "Not shown", evidence)


def leaking(facts: Facts) -> Answer:
    question = "Is anything leaking?"
    if facts.findings is None:
        return Answer(question, "unknown", "Not checked", "No leak audit was made.")
    bad = [f for severity in ("fail", "warn") for f in facts.findings if f.severity == severity]
    if not bad:
        return Answer(question, "ok", "Nothing found", "No column or phrase gives the answer away.")
    more = f"; {len(bad) - 1} more below" if len(bad) > 1 else ""
    fatal = bad[0].severity == "fail"
    return Answer(
        question, "fail" if fatal else "warn", "Yes" if fatal else "Perhaps", plain(bad[0].message) + more
    )


def calibrated(metrics: pd.DataFrame, facts: Facts) -> Answer:
    question = "Can the probabilities be believed?"
    error, said, was = (on_test(metrics, m) for m in ("ece", "mean_probability", "base_rate"))
    if not error.known or not 0 < was.value < 1:
        return Answer(question, "unknown", "Cannot be told", "The test customers do not hold both kinds.")
    evidence = (
        f"It expected {percent(said.value, digits=1)} to leave; {percent(was.value, digits=1)} did. "
        f"Off by {in_points(error.value)} on average over ten risk groups."
    )
    if _rarer(metrics) < FEW_TO_CALIBRATE:
        return Answer(question, "unknown", "Too few to tell", evidence)
    if error.value <= max(SMALL_ERROR, 1.25 * chance_gap(was.value, error.n)):
        return Answer(question, "ok", "Yes", evidence)
    return Answer(question, "warn", "Roughly" if error.value <= LARGE_ERROR else "No", evidence)


def a_forecast(facts: Facts) -> Answer | None:
    question = "Was it tested as a forecast?"
    if facts.label_basis == "cross_section":
        return Answer(question, "warn", "No: cross-section", CROSS_SECTION)
    if facts.split_mode in ("time", "group_time"):
        return Answer(question, "ok", "Yes", "It learnt from earlier snapshots and was tested on later ones.")
    if facts.label_basis == "panel":
        return Answer(
            question, "warn", "No", "Test customers were drawn at random, so the numbers may be too high."
        )
    return None


def gain_over(baseline: str, metric: str, metrics: pd.DataFrame, facts: Facts) -> Measure:
    """By how much the model exceeds a variant, paired where that was measured, else by the two intervals."""
    paired = find(facts.differences, baseline=baseline, metric=metric)
    if paired.known:
        return paired
    new, old = on_test(metrics, metric), find(facts.comparison, variant=baseline, metric=metric)
    return Measure(new.value - old.value, new.low - old.high, new.high - old.low)


def sentence(text: str) -> str:
    """Text as a sentence: one line, a capital first, a full stop last."""
    line = plain(text)
    return line[:1].upper() + line[1:] + ("" if line.endswith((".", "!", "?")) else ".") if line else ""


def _rarer(metrics: pd.DataFrame) -> float:
    """How many test customers are of the rarer kind."""
    base = on_test(metrics, "base_rate")
    return min(base.value, 1 - base.value) * base.n


def _plan(metrics: pd.DataFrame) -> str:
    share, precision = contacted_share(metrics), on_test(metrics, "precision").value
    if not share > 0:
        return "At this threshold nobody would be contacted."
    reached, left = round(THOUSAND * share), round(THOUSAND * share * precision)
    return f"Of {THOUSAND:,} customers, {reached} reach the threshold; {left} of them left."


def _plus(money: Measure) -> str:
    value = amount(money.value * THOUSAND)
    return value if value[0] in "−–" else f"+{value}"
