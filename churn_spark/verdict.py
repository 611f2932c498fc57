"""What the numbers mean, in plain words: the answers a retention manager asks for, each from a measurement."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from churn_spark.facts import (
    THOUSAND,
    Facts,
    Measure,
    amount,
    contacted_share,
    find,
    interval,
    number,
    on_test,
    percent,
    plain,
    points,
    signed,
)
from churn_spark.metrics import CALIBRATION_BINS

State = Literal["ok", "warn", "fail", "unknown"]

FEW_CHURNERS = 30  # fewer on the test side say little about anything
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
    every = {answer.question: answer for answer in answers(metrics, facts)}
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
    called = _calls(metrics)
    open_points = [a for a in every.values() if a.state in ("warn", "fail")]
    if open_points:
        points_ = "one point" if len(open_points) == 1 else f"{len(open_points)} points"
        return Answer(f"It finds those who leave, with {points_} to know first", "warn", "Use with care", called)
    return Answer("It finds those who leave, and calling them pays", "ok", "Ready to use", called)


def better_than_no_model(metrics: pd.DataFrame, facts: Facts) -> Answer:
    question = "Better than no model?"
    auc, lift, found = (on_test(metrics, m) for m in ("roc_auc", "lift_10", "capture_10"))
    if not auc.known:
        return Answer(question, "unknown", "Cannot be told", "The test customers do not hold both kinds.")
    evidence = (
        f"The riskiest 10% hold {percent(found.value)} of all who leave, {number(lift.value, digits=1)} times "
        f"their share. ROC-AUC {number(auc.value)} ({interval(auc)})."
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
    text, table = (find(facts.comparison, variant=v, metric="roc_auc") for v in ("text only", "table only"))
    evidence = f"They change ROC-AUC by {signed(gain.value)} ({interval(gain, signed)})."
    money = gain_over("table only", "profit", metrics, facts)
    if money.known:
        evidence += f" In money: {_plus(money)} per {THOUSAND:,} customers."
    if text.value > table.value:
        alarm = "The notes alone beat the table: were they written before customers left?"
        return Answer(question, "warn", "Suspiciously well", f"{alarm} {evidence}")
    if gain.low > 0:
        return Answer(question, "ok", "Yes", evidence)
    return Answer(question, "warn", "Not shown" if gain.value > 0 else "No", evidence)


def better_than_champion(metrics: pd.DataFrame, facts: Facts) -> Answer | None:
    question = "Better than the champion?"
    gain = gain_over("champion", "roc_auc", metrics, facts)
    evidence = f"ROC-AUC {signed(gain.value)} ({interval(gain, signed)}) on the same customers." if gain.known else ""
    evidence += f" {sentence(facts.reason)}" if facts.reason else ""
    if overlap := facts.agreement.get("top_decile_overlap"):
        evidence += f" {percent(overlap)} of the riskiest tenth stay the same."
    if facts.promoted is False:
        return Answer(question, "warn", "No, it stays", evidence.strip())
    if not gain.known and not facts.champion:
        first = "There is no champion yet." if facts.promoted is None else "It becomes the first champion."
        return Answer(question, "ok", "First model", first)
    if facts.promoted:
        return Answer(question, "ok", "Yes, promoted", evidence.strip())
    return Answer(question, "ok" if gain.low > 0 else "unknown", "Yes" if gain.low > 0 else "Not shown",
                  evidence.strip() or "It was not compared.")  # fmt: skip


def leaking(facts: Facts) -> Answer:
    question = "Is anything leaking?"
    if facts.findings is None:
        return Answer(question, "unknown", "Not checked", "No leak audit was made.")
    bad = [f for severity in ("fail", "warn") for f in facts.findings if f.severity == severity]
    if not bad:
        return Answer(question, "ok", "Nothing found", "No column or phrase gives the answer away.")
    more = f" And {len(bad) - 1} more, below." if len(bad) > 1 else ""
    fatal = bad[0].severity == "fail"
    return Answer(question, "fail" if fatal else "warn", "Yes" if fatal else "Perhaps", sentence(bad[0].message) + more)


def calibrated(metrics: pd.DataFrame, facts: Facts) -> Answer:
    question = "Can the probabilities be believed?"
    error, said, was = (on_test(metrics, m) for m in ("ece", "mean_probability", "base_rate"))
    if not error.known or not 0 < was.value < 1:
        return Answer(question, "unknown", "Cannot be told", "The test customers do not hold both kinds.")
    evidence = (
        f"It expected {percent(said.value, digits=1)} to leave; {percent(was.value, digits=1)} did. "
        f"Off by {percent(error.value, digits=1)} on average over ten risk groups."
    )
    if was.value * error.n < FEW_CHURNERS:
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
        return Answer(question, "warn", "No", "Test customers were drawn at random, so the numbers may be too high.")
    return None


def gain_over(baseline: str, metric: str, metrics: pd.DataFrame, facts: Facts) -> Measure:
    """By how much the model exceeds a variant, paired where that was measured, else by the two intervals."""
    paired = find(facts.differences, baseline=baseline, metric=metric)
    if paired.known:
        return paired
    new, old = on_test(metrics, metric), find(facts.comparison, variant=baseline, metric=metric)
    return Measure(new.value - old.value, new.low - old.high, new.high - old.low)


def chance_gap(base_rate: float, n: int) -> float:
    """The ECE that chance alone gives perfect probabilities: the mean of |normal| over the calibration bins."""
    return math.sqrt(2 / math.pi * base_rate * (1 - base_rate) * CALIBRATION_BINS / n)


def sentence(text: str) -> str:
    """Text as a sentence: one line, a capital first, a full stop last."""
    line = plain(text)
    return line[:1].upper() + line[1:] + ("" if line.endswith((".", "!", "?")) else ".") if line else ""


# -- one line under each figure -------------------------------------------------------------------------


def takeaway(figure: str, metrics: pd.DataFrame, curves: pd.DataFrame, facts: Facts) -> str:
    """The one thing to see in a figure; empty where its numbers are not known."""
    return TAKEAWAYS[figure](metrics, curves, facts)


def _roc_curve(metrics: pd.DataFrame, curves: pd.DataFrame, facts: Facts) -> str:
    auc, train = on_test(metrics, "roc_auc"), find(metrics, split="train", slice="all", metric="roc_auc")
    if not auc.known:
        return ""
    line = f"Given one who leaves and one who stays, it picks the right one {percent(auc.value)} of the time."
    if train.value - auc.value > 0.1:
        line += f" On its own training data it is far surer ({number(train.value, digits=2)}): it overfits."
    return line


def _pr_curve(metrics: pd.DataFrame, curves: pd.DataFrame, facts: Facts) -> str:
    precision, recall, base = (on_test(metrics, m) for m in ("precision", "recall", "base_rate"))
    if not precision.known:
        return "At this threshold nobody would be called." if base.known else ""
    return (
        f"Of those called, {percent(precision.value)} would have left, against {percent(base.value)} of everybody; "
        f"{percent(recall.value)} of the leavers are reached."
    )


def _gains(metrics: pd.DataFrame, curves: pd.DataFrame, facts: Facts) -> str:
    found = on_test(metrics, "capture_20")
    return f"Calling the riskiest fifth reaches {percent(found.value)} of those who leave." if found.known else ""


def _calibration(metrics: pd.DataFrame, curves: pd.DataFrame, facts: Facts) -> str:
    answer = calibrated(metrics, facts)
    short = {
        "Yes": "What it says is what happens.",
        "Roughly": "Close, but not exact.",
        "No": "The percentages are off; trust the order only.",
        "Too few to tell": "Too few leavers to tell.",
    }.get(answer.short, "")
    before = find(facts.comparison, variant="without calibration", metric="ece")
    if before.known and short:
        now = on_test(metrics, "ece").value
        short += f" Average error {percent(now, digits=1)}, uncorrected {percent(before.value, digits=1)}."
    return short


def _score_distribution(metrics: pd.DataFrame, curves: pd.DataFrame, facts: Facts) -> str:
    recall, tn, fp = (on_test(metrics, m) for m in ("recall", "true_negative", "false_positive"))
    if not recall.known or not tn.value + fp.value > 0:
        return ""
    spared = tn.value / (tn.value + fp.value)
    return f"The threshold catches {percent(recall.value)} of the leavers and spares {percent(spared)} of the others."


def _profit(metrics: pd.DataFrame, curves: pd.DataFrame, facts: Facts) -> str:
    profit, line = on_test(metrics, "profit"), points(curves, "profit")
    if not profit.known or line.empty:
        return ""
    everybody = float(line["y"].iloc[-1]) * THOUSAND
    verb = "lose" if everybody < 0 else "bring"
    return (
        f"Calling {percent(contacted_share(metrics))} brings {amount(profit.value * THOUSAND)} per {THOUSAND:,} "
        f"customers; calling everybody would {verb} {amount(abs(everybody))}."
    )


def _learning_curve(metrics: pd.DataFrame, curves: pd.DataFrame, facts: Facts) -> str:
    line = points(curves, "learning", split="validation")
    if line.empty:
        return ""
    best = line.loc[line["y"].idxmin()]
    kept = facts.n_trees or int(best["x"])
    return f"Stopped after {kept} trees, where unseen customers were predicted best (log-loss {number(best['y'])})."


def _feature_importance(metrics: pd.DataFrame, curves: pd.DataFrame, facts: Facts) -> str:
    table = facts.importance
    if table.empty or not table["contribution"].sum() > 0:
        return ""
    share = table.set_index("source")["contribution"].sort_values(ascending=False)
    share = share / share.sum()
    return f"{plain(share.index[0], limit=40)} moves the scores most: {percent(share.iloc[0])} of all effect."


def _slices(metrics: pd.DataFrame, curves: pd.DataFrame, facts: Facts) -> str:
    table = slice_table(metrics)
    if table.empty:
        return ""
    overall, worst = on_test(metrics, "roc_auc"), table.loc[table["value"].idxmin()]
    if worst["ci_high"] < overall.low:
        name = plain(worst["slice"].replace("=", " = ", 1), limit=50)
        return f"Weakest for {name}: ROC-AUC {number(worst['value'], digits=2)}, overall {number(overall.value, digits=2)}."
    return "No group of customers is served clearly worse than the rest."


def _comparison(metrics: pd.DataFrame, curves: pd.DataFrame, facts: Facts) -> str:
    simple = [v for v in facts.comparison.get("variant", pd.Series(dtype=object)).unique() if "logistic" in str(v)]
    gain = gain_over(simple[0], "roc_auc", metrics, facts) if simple else Measure()
    if not gain.known:
        return ""
    if gain.low > 0:
        return f"Trees beat a logistic regression by {number(gain.value)} ROC-AUC."
    return f"A logistic regression is about as good ({signed(gain.value)} ROC-AUC): is the extra effort worth it?"


def _dependence(metrics: pd.DataFrame, curves: pd.DataFrame, facts: Facts) -> str:
    return "Above the line a value raises the risk, below it lowers it." if len(facts.dependence) else ""


def _backtest(metrics: pd.DataFrame, curves: pd.DataFrame, facts: Facts) -> str:
    rows = facts.backtest[facts.backtest["metric"] == "roc_auc"] if len(facts.backtest) else facts.backtest
    if len(rows) < 2:
        return ""
    low, high = number(rows["value"].min(), digits=2), number(rows["value"].max(), digits=2)
    return f"Trained anew for each of {len(rows)} past dates, it reached ROC-AUC {low} to {high} on what came next."


TAKEAWAYS: dict[str, Callable[[pd.DataFrame, pd.DataFrame, Facts], str]] = {
    "roc_curve": _roc_curve,
    "pr_curve": _pr_curve,
    "gains": _gains,
    "calibration": _calibration,
    "score_distribution": _score_distribution,
    "profit": _profit,
    "learning_curve": _learning_curve,
    "feature_importance": _feature_importance,
    "slices": _slices,
    "comparison": _comparison,
    "dependence": _dependence,
    "backtest": _backtest,
}


def slice_table(metrics: pd.DataFrame) -> pd.DataFrame:
    """The ROC-AUC of every slice of the test customers where it is known."""
    rows = metrics[(metrics["split"] == "test") & (metrics["slice"] != "all") & (metrics["metric"] == "roc_auc")]
    return rows[np.isfinite(rows["value"].astype(float))].reset_index(drop=True)


def _calls(metrics: pd.DataFrame) -> str:
    share, precision = contacted_share(metrics), on_test(metrics, "precision").value
    if not share > 0:
        return "At this threshold nobody would be called."
    calls = round(THOUSAND * share)
    return f"Of {THOUSAND:,} customers, call {calls}: {round(calls * precision)} of them would have left."


def _plus(money: Measure) -> str:
    value = money.value * THOUSAND
    return ("+" if value >= 0 else "") + amount(value)
