"""Whether a new model may take the champion's place: gates on its measurements, and the champion beside it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import pandas as pd

from churn_spark.evaluation.counts import chance_gap
from churn_spark.evaluation.evaluate import Evaluation
from churn_spark.evaluation.findings import Finding
from churn_spark.evaluation.measures import Measure, find, on_test
from churn_spark.evaluation.metrics import LOWER_IS_BETTER
from churn_spark.evaluation.words import signed
from churn_spark.settings.sections import Promotion


@dataclass(frozen=True, eq=False)
class Challenge:
    """A champion and a new model measured on the same test rows.

    `measured` (metric, value, ci_low, ci_high) is the champion's; `differences` (the same columns) says by how
    much the new model's metrics exceed it, with paired intervals. Both are empty where the champion cannot be
    measured on these rows, and `note` says why; else it says what favours the champion, if anything does.
    """

    champion: str
    measured: pd.DataFrame = field(default_factory=pd.DataFrame)
    differences: pd.DataFrame = field(default_factory=pd.DataFrame)
    agreement: Mapping[str, float] = field(default_factory=dict)
    note: str = ""


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
        _is_calibrated(settings, result),
        _leaks_nothing(findings),
        *_beats(settings, challenge),
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


def _is_calibrated(settings: Promotion, result: Evaluation) -> Gate:
    """The calibration error is small, or what so few rows to calibrate on and to test on allow by chance."""
    error, rate = on_test(result.metrics, "ece"), on_test(result.metrics, "base_rate").value
    if not error.known or not 0 < rate < 1:
        return Gate("ece", False, "the calibration error on the test rows could not be computed")
    calibrated_on = result.rows.get("learn", error.n)
    chance = math.hypot(chance_gap(rate, error.n), chance_gap(rate, calibrated_on))
    most = max(settings.max_ece, 1.5 * chance)
    return Gate(
        "ece", error.value <= most, f"calibration error (ECE) {error.value:.3f}, at most {most:.3f} allowed"
    )


def _leaks_nothing(findings: Sequence[Finding]) -> Gate:
    fatal = [finding.message for finding in findings if finding.severity == "fail"]
    return Gate("leaks", not fatal, f"leak suspected: {fatal[0]}" if fatal else "no leak that ends a run")


def _beats(settings: Promotion, challenge: Challenge | None) -> Iterator[Gate]:
    """The gate against the champion: paired 95 % interval of the configured metric, better being above 0."""
    if challenge is None:
        yield Gate("champion", True, "there was no champion")
        return
    metric = settings.metric
    gain = find(challenge.differences, metric=metric)
    if metric in LOWER_IS_BETTER:
        gain = Measure(-gain.value, -gain.high, -gain.low, gain.n)
    if settings.rule == "always":
        yield Gate("champion", True, "promotion.rule is always: not held against the champion")
    elif not gain.known:
        why = challenge.note or f"{metric} is unknown"
        yield Gate("champion", False, f"it cannot be compared with the champion {challenge.champion}: {why}")
    else:
        met = gain.low > 0 if settings.rule == "better" else gain.high >= 0
        said = (
            f"{metric.replace('_', '-')} {'better' if gain.value > 0 else 'not better'} than the champion's"
        )
        note = f"; {challenge.note}" if challenge.note else ""
        interval = f"{signed(gain.low, digits=4)} to {signed(gain.high, digits=4)}"
        yield Gate("champion", met, f"{said}: gain {signed(gain.value, digits=4)} ({interval}){note}")
