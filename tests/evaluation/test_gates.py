"""A challenger takes the champion's place only by merit; who was champion when is kept."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from churn_spark.evaluation import metrics
from churn_spark.evaluation.evaluate import Evaluation
from churn_spark.evaluation.findings import Finding
from churn_spark.evaluation.gates import Challenge, decide
from churn_spark.model.policy import Policy
from churn_spark.settings.sections import Promotion

POLICY = Policy(threshold=0.164)
RNG = np.random.default_rng(0)
LOGIT = RNG.normal(-1.3, 1.3, 2_000)
TRUE = 1 / (1 + np.exp(-LOGIT))
LABEL = (RNG.random(2_000) < TRUE).astype(float)
NOISY = 1 / (1 + np.exp(-(LOGIT + RNG.normal(0, 1, 2_000)) / 1.3))


def measured(probability: np.ndarray) -> Evaluation:
    table = metrics.evaluate(LABEL, probability, policy=POLICY, split="test", resamples=100)
    return Evaluation(None, table, pd.DataFrame(), {})  # type: ignore[arg-type]


def against(new: np.ndarray, old: np.ndarray) -> Challenge:
    gains = metrics.compare(LABEL, new, baseline=old, policy=POLICY, resamples=100)
    return Challenge("m-old", differences=gains.assign(baseline="champion"))


@pytest.mark.parametrize("metric", ["log_loss", "brier", "roc_auc", "pr_auc"])
def test_decide_lets_a_clearly_better_challenger_through_and_keeps_a_worse_one_out(metric: str) -> None:
    settings = Promotion(metric=metric)  # type: ignore[arg-type]
    better = decide(settings, measured(TRUE), findings=(), challenge=against(TRUE, NOISY))
    assert better.promoted
    assert metric.replace("_", "-") in better.why
    worse = decide(settings, measured(NOISY), findings=(), challenge=against(NOISY, TRUE))
    assert not worse.promoted
    assert f"{metric.replace('_', '-')} not better" in worse.why


def rare(rate: float, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels and their true probabilities at about this base rate."""
    rng = np.random.default_rng(seed)
    probability = 1 / (1 + np.exp(-(np.log(rate / (1 - rate)) - 0.5 + rng.normal(0, 1, n))))
    return (rng.random(n) < probability).astype(float), probability


@pytest.mark.parametrize("rate", [0.005, 0.01, 0.05, 0.2])
def test_gates_see_odds_times_four_at_every_base_rate_and_let_the_truth_pass(rate: float) -> None:
    for seed in range(5):
        label, true = rare(rate, 3_000, seed)
        for probability, sound in ((true, True), (4 * true / (1 + 3 * true), False)):
            table = metrics.evaluate(label, probability, policy=POLICY, split="test", resamples=50)
            verdict = decide(
                Promotion(), Evaluation(None, table, pd.DataFrame(), {}), findings=(), challenge=None
            )  # type: ignore[arg-type]
            stopped = [g.name for g in verdict.gates if not g.met]
            assert stopped == [] if sound else "expected" in stopped, (seed, stopped)


@pytest.mark.parametrize(
    ("newer", "worse_by", "promoted"), [(True, 0.0, True), (False, 0.0, False), (True, 1.0, False)]
)
def test_decide_by_the_rule_newer_takes_a_model_of_newer_rows_that_is_not_worse(
    newer: bool, worse_by: float, promoted: bool
) -> None:
    again = 1 / (1 + np.exp(-(LOGIT + RNG.normal(0, 0.01 + worse_by, 2_000))))
    rival = replace(against(again, TRUE), measured=measured(TRUE).metrics, newer=newer)
    verdict = decide(Promotion(), measured(TRUE), findings=(), challenge=rival)
    assert verdict.promoted is promoted, verdict.why


def test_decide_says_where_contacting_loses_money_or_is_not_shown_to_pay() -> None:
    table = measured(TRUE).metrics.set_index("metric")
    for low, high, met, said in ((-2.0, -1.0, False, "loses money"), (-2.0, 1.0, True, "not shown to pay")):
        table.loc["profit", ["value", "ci_low", "ci_high"]] = (low + high) / 2, low, high
        result = Evaluation(None, table.reset_index(), pd.DataFrame(), {})  # type: ignore[arg-type]
        gate = next(
            g for g in decide(Promotion(), result, findings=(), challenge=None).gates if g.name == "profit"
        )
        assert gate.met is met
        assert said in gate.found


@pytest.mark.parametrize(("rule", "promoted"), [("better", False), ("not_worse", True), ("always", True)])
def test_decide_on_an_equally_good_challenger_follows_the_rule(rule: str, promoted: bool) -> None:
    settings = Promotion(rule=rule)  # type: ignore[arg-type]
    again = 1 / (1 + np.exp(-(LOGIT + RNG.normal(0, 0.01, 2_000))))
    equal = against(again, TRUE)
    assert decide(settings, measured(again), findings=(), challenge=equal).promoted is promoted


@pytest.mark.parametrize(("rule", "promoted"), [("better", False), ("not_worse", False), ("always", True)])
def test_decide_fails_what_cannot_be_compared(rule: str, promoted: bool) -> None:
    unknown = Challenge("m-old", note="the model needs columns that the table contract lacks: plan")
    settings = Promotion(rule=rule)  # type: ignore[arg-type]
    verdict = decide(settings, measured(TRUE), findings=(), challenge=unknown)
    assert verdict.promoted is promoted
    assert promoted or "lacks: plan" in verdict.why


def test_decide_of_a_first_model_needs_more_than_chance() -> None:
    assert decide(Promotion(), measured(TRUE), findings=(), challenge=None).promoted
    shuffled = np.random.default_rng(1).permutation(TRUE)
    verdict = decide(Promotion(max_ece=1), measured(shuffled), findings=(), challenge=None)
    assert [g.name for g in verdict.gates if not g.met] == ["roc_auc"]
    assert not decide(Promotion(min_first=0.9), measured(TRUE), findings=(), challenge=None).promoted


def test_decide_fails_gates_that_cannot_be_computed() -> None:
    table = metrics.evaluate([0, 0, 0], [0.1, 0.2, 0.3], policy=POLICY, split="test", resamples=10)
    nothing = Evaluation(None, table, pd.DataFrame(), {})  # type: ignore[arg-type]
    verdict = decide(Promotion(rule="always"), nothing, findings=(), challenge=None)
    assert {g.name for g in verdict.gates if not g.met} == {"roc_auc", "expected", "ece"}


def test_decide_refuses_probabilities_that_are_off_and_leaks() -> None:
    off = decide(Promotion(), measured(TRUE**3), findings=(), challenge=None)
    assert [g.name for g in off.gates if not g.met] == ["expected", "ece"]
    leak = Finding("fail", "text_beats_table", "the notes alone beat the table")
    assert "the notes alone" in decide(Promotion(), measured(TRUE), findings=(leak,), challenge=None).why


def test_agreement_by_hand() -> None:
    score = np.arange(20.0)
    assert metrics.agreement(score, 2 * score) == pytest.approx(
        {"rank_correlation": 1, "top_decile_overlap": 1}
    )
    swapped = score.copy()
    swapped[[0, 19]] = swapped[
        [19, 0]
    ]  # one of the best two leaves: sum of squared rank differences 2 x 19^2
    found = metrics.agreement(swapped, score)
    assert found["rank_correlation"] == pytest.approx(1 - 6 * 2 * 19**2 / (20 * (20**2 - 1)))
    assert found["top_decile_overlap"] == 0.5
    doubled = metrics.agreement(swapped, score, weight=np.full(20, 2.0))
    assert doubled["top_decile_overlap"] == 0.5
