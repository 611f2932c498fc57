"""Whether a new model may take the champion's place: gates on its measurements, and the champion beside it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import pandas as pd
from scipy.stats import poisson

from churn_spark.evaluation.counts import chance_gap
from churn_spark.evaluation.evaluate import Evaluation
from churn_spark.evaluation.findings import Finding
from churn_spark.evaluation.measures import Measure, find, on_test
from churn_spark.evaluation.metrics import LOWER_IS_BETTER
from churn_spark.evaluation.words import interval, signed
from churn_spark.settings.sections import Promotion

MOST_OFF = 0.25  # expected against observed churners, and the calibration error against the base rate
RARE = 0.001  # chance that right probabilities are told to be off


@dataclass(frozen=True, eq=False)
class Challenge:
    """A champion and a new model measured on the same test rows.

    `measured` (metric, value, ci_low, ci_high) is the champion's; `differences` (the same columns) says by how
    much the new model's metrics exceed it, with paired intervals. Both are empty where the champion cannot be
    measured on these rows, and `note` says why; else it says what favours the champion, if anything does.
    `newer`: whether the new model learned from rows that the champion had not seen.
    """

    champion: str
    measured: pd.DataFrame = field(default_factory=pd.DataFrame)
    differences: pd.DataFrame = field(default_factory=pd.DataFrame)
    agreement: Mapping[str, float] = field(default_factory=dict)
    note: str = ""
    newer: bool = False


class Gate(NamedTuple):
    """One condition for becoming champion, whether it is met, and what was found."""

    name: str
    met: bool
    found: str


@dataclass(frozen=True)
class Verdict:
    """Whether the new model becomes champion, why, and the gates that say so."""

    promoted: bool
    why: str
    gates: tuple[Gate, ...] = ()


def decide(
    settings: Promotion, result: Evaluation, *, findings: Sequence[Finding], challenge: Challenge | None
) -> Verdict:
    """Judge a new model; `challenge` is None where there is no champion. A gate that cannot be computed fails."""
    gates = (
        _ranks(settings, result),
        _adds_up(result),
        _is_calibrated(settings, result),
        _pays(result),
        _leaks_nothing(findings),
        _beats(settings, challenge),
    )
    failed = [gate.found for gate in gates if not gate.met]
    return Verdict(not failed, "; ".join(failed) or gates[-1].found, gates)


def _ranks(settings: Promotion, result: Evaluation) -> Gate:
    auc, least = on_test(result.metrics, "roc_auc"), settings.min_first
    if not auc.known:
        return Gate("roc_auc", False, "ROC-AUC on the test rows could not be computed")
    found = f"ROC-AUC {auc.value:.3f} ({auc.low:.3f} to {auc.high:.3f}) on the test rows"
    if auc.value >= least and auc.low > 0.5:
        return Gate("roc_auc", True, found)
    return Gate("roc_auc", False, f"{found}; at least {least}, and an interval above 0.5, is required")


def _adds_up(result: Evaluation) -> Gate:
    """As many churners as the probabilities expect: within a quarter, or within what chance and the interval allow.

    The chance is that of a Poisson count, so that it holds for five churners, too.
    """
    ratio, rate = on_test(result.metrics, "expected_observed"), on_test(result.metrics, "base_rate")
    if not ratio.known:
        return Gate(
            "expected", False, "expected and observed churners could not be compared on the test rows"
        )
    observed = rate.value * rate.n
    expected = ratio.value * observed
    chance = min(poisson.cdf(observed, expected), poisson.sf(observed - 1, expected))
    near = 1 / (1 + MOST_OFF) <= ratio.value <= 1 + MOST_OFF
    found = f"{expected:,.0f} churners expected, {observed:,.0f} observed on the test rows"
    met = near or ratio.low <= 1 <= ratio.high or chance > RARE
    return Gate("expected", bool(met), found if met else f"{found}: the probabilities are off")


def _is_calibrated(settings: Promotion, result: Evaluation) -> Gate:
    """The calibration error is small beside the base rate, or what chance allows with so few rows."""
    error, rate = on_test(result.metrics, "ece"), on_test(result.metrics, "base_rate").value
    if not error.known or not 0 < rate < 1:
        return Gate("ece", False, "the calibration error on the test rows could not be computed")
    calibrated_on = result.rows.get("learn", error.n)
    chance = math.hypot(chance_gap(rate, error.n), chance_gap(rate, calibrated_on))
    wanted = MOST_OFF * rate if settings.max_ece is None else settings.max_ece
    most = max(wanted, 1.5 * chance)
    return Gate(
        "ece", error.value <= most, f"calibration error (ECE) {error.value:.4f}, at most {most:.4f} allowed"
    )


def _pays(result: Evaluation) -> Gate:
    """Contacting whom the model picks does not lose money, as far as the test rows can tell."""
    profit = on_test(result.metrics, "profit")
    found = f"profit per customer {signed(profit.value, digits=2)} ({interval(profit, signed)})"
    if profit.high < 0:
        return Gate("profit", False, f"{found}: contacting by this model loses money")
    return Gate("profit", True, found if profit.low >= 0 else f"{found}: contacting is not shown to pay")


def _leaks_nothing(findings: Sequence[Finding]) -> Gate:
    fatal = [finding.message for finding in findings if finding.severity == "fail"]
    return Gate("leaks", not fatal, f"leak suspected: {fatal[0]}" if fatal else "no leak that ends a run")


def _beats(settings: Promotion, challenge: Challenge | None) -> Gate:
    """The gate against the champion: paired 95 % interval of the configured metric, better being above 0."""
    if challenge is None:
        return Gate("champion", True, "there was no champion")
    metric = settings.metric
    gain = find(challenge.differences, metric=metric)
    if metric in LOWER_IS_BETTER:
        gain = Measure(-gain.value, -gain.high, -gain.low, gain.n)
    if settings.rule == "always":
        return Gate("champion", True, "promotion.rule is always: not held against the champion")
    if not gain.known:
        why = challenge.note or f"{metric} is unknown"
        return Gate("champion", False, f"it cannot be compared with the champion {challenge.champion}: {why}")
    allowed = settings.margin * abs(find(challenge.measured, metric=metric).value)
    met, says = _judge(settings.rule, gain, allowed=allowed, newer=challenge.newer)
    note = f"; {challenge.note}" if challenge.note else ""
    written = (
        f"gain {signed(gain.value, digits=4)} ({interval(gain, lambda end: signed(end, digits=4))}){note}"
    )
    return Gate("champion", met, f"{metric.replace('_', '-')} {says}: {written}")


def _judge(rule: str, gain: Measure, *, allowed: float, newer: bool) -> tuple[bool, str]:
    """Whether a gain is enough, and how it stands beside the champion's.

    `newer` is a test of non-inferiority (Wellek 2010): the worst that the interval allows is a loss within the margin.
    """
    better = f"{'better' if gain.value > 0 else 'not better'} than the champion's"
    if gain.low > 0 or rule == "better":
        return gain.low > 0, better
    if rule == "not_worse":
        return gain.high >= 0, better
    if not newer:
        return False, f"{better}, and nothing newer was learned from"
    met = gain.low >= -allowed
    says = "not worse than the champion's" if met else "perhaps worse than the champion's"
    return met, f"{says} by more than {allowed:.4f}, learned from newer rows"
