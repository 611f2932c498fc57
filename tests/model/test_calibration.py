from __future__ import annotations

import json
import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from churn_spark.errors import ResourceError
from churn_spark.model.calibration import (
    IDENTITY,
    LEAST_ROWS,
    Calibrator,
    fit_calibrator,
    fit_kind,
)

DISTORTIONS = {
    "overconfident": lambda z: 1.8 * z + 0.7,
    "saturating": lambda z: 3 * np.tanh(z / 2),
    "reweighted": lambda z: z + 2.0,
    "kinked": lambda z: np.where(z > -1.5, 2 * z + 1.5, 0.7 * z - 0.45),
}


# Margins are float32, so that knots as close as 1e-308 do not occur.
knots = st.lists(st.integers(-50_000, 50_000).map(lambda n: n / 1000), min_size=2, max_size=8, unique=True)


def simulate(positives: int, seed: int = 0):
    """True log-odds and labels with about so many churners."""
    rng = np.random.default_rng(seed)
    log_odds = rng.normal(-2, 1.5, round(positives / 0.196))
    return log_odds, (rng.random(len(log_odds)) < expit(log_odds)).astype(float)


@pytest.mark.slow
@pytest.mark.parametrize("positives", [200, 2000])
@pytest.mark.parametrize("distortion", DISTORTIONS)
def test_fit_calibrator_comes_within_5_percent_of_the_bayes_optimal_brier(distortion, positives):
    margin = DISTORTIONS[distortion]
    for seed in range(3):
        log_odds, label = simulate(positives, seed)
        calibrator = fit_calibrator(label, margin(log_odds))
        fresh, _ = simulate(4000, seed + 100)
        truth = expit(fresh)
        # E (y - p)^2 = truth (1 - truth) + (p - truth)^2
        excess = np.mean((calibrator.apply(margin(fresh)) - truth) ** 2)
        assert excess <= 0.05 * np.mean(truth * (1 - truth))


def test_identity_misses_the_bayes_optimal_brier_where_the_booster_is_off():
    log_odds, _ = simulate(4000)
    truth = expit(log_odds)
    excess = np.mean((IDENTITY.apply(DISTORTIONS["reweighted"](log_odds)) - truth) ** 2)
    assert excess > 0.05 * np.mean(truth * (1 - truth))


@pytest.mark.parametrize(("positives", "kind"), [(LEAST_ROWS["platt"] - 1, "identity"), (200, "platt")])
def test_fit_calibrator_chooses_by_the_rarer_class(positives, kind):
    label = np.r_[np.ones(positives), np.zeros(5000)]
    margin = np.random.default_rng(0).normal(label, 1)
    assert fit_calibrator(label, margin).kind == fit_calibrator(1 - label, -margin).kind == kind


@pytest.mark.parametrize("positives", [0, 100])
def test_fit_calibrator_of_one_class_changes_nothing(positives):
    assert fit_calibrator(np.ones(positives), np.zeros(positives)) == IDENTITY


def test_fit_calibrator_leaves_a_margin_alone_that_is_calibrated():
    kinds = [
        fit_calibrator(label, log_odds).kind for log_odds, label in (simulate(500, s) for s in range(20))
    ]
    assert kinds.count("identity") >= 16


@pytest.mark.slow
def test_fit_calibrator_takes_isotonic_of_many_rows_where_the_margin_is_bent():
    log_odds, label = simulate(25_000)
    assert fit_calibrator(label, DISTORTIONS["kinked"](log_odds)).kind == "isotonic"
    assert fit_calibrator(label, DISTORTIONS["overconfident"](log_odds)).kind == "platt"


def test_fit_calibrator_judges_by_folds_that_it_did_not_see():
    log_odds, label = simulate(40)
    in_one_fold = fit_calibrator(label, 3 * log_odds, fold=np.zeros(len(label)))
    assert in_one_fold == IDENTITY != fit_calibrator(label, 3 * log_odds)


def test_fit_calibrator_platt_is_logistic_regression_on_smoothed_targets():
    log_odds, label = simulate(300)
    margin = 2 * log_odds + 1
    # Platt's target of a churner is (N+ + 1)/(N+ + 2): the same as a share of its weight labelled 0.
    positives, negatives = label.sum(), len(label) - label.sum()
    target = np.where(label == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    model = LogisticRegression(C=math.inf, tol=1e-10, max_iter=1000).fit(
        np.r_[margin, margin][:, None],
        np.r_[np.ones(len(label)), np.zeros(len(label))],
        sample_weight=np.r_[target, 1 - target],
    )
    calibrator = fit_kind("platt", label, margin)
    assert calibrator.y[0] == pytest.approx(model.intercept_[0], abs=1e-4)
    assert calibrator.y[1] - calibrator.y[0] == pytest.approx(model.coef_[0, 0], abs=1e-4)


def test_fit_calibrator_isotonic_passes_through_the_block_rates():
    # Three scores of 1,000 customers, of whom 100, 400 and 700 churn: no two blocks are pooled.
    margin = np.repeat([-1.0, 0.0, 1.0], 1000)
    label = np.concatenate([np.arange(1000) < churned for churned in (100, 400, 700)])
    calibrator = fit_kind("isotonic", label, margin)
    assert calibrator.apply([-1.0, 0.0, 1.0]) == pytest.approx([0.1, 0.4, 0.7])
    halfway = expit((logit(0.1) + logit(0.4)) / 2)
    assert calibrator.apply([-0.5]) == pytest.approx([halfway])


def test_fit_calibrator_isotonic_pools_scores_that_run_the_wrong_way():
    # 400 and 200 of 1,000 are out of order: together 600 of 2,000 at their mean margin of 0.5.
    margin = np.repeat([0.0, 1.0, 2.0], 1000)
    label = np.concatenate([np.arange(1000) < churned for churned in (400, 200, 700)])
    assert fit_kind("isotonic", label, margin).apply([0.5, 2.0]) == pytest.approx([0.3, 0.7])


@pytest.mark.parametrize("kind", ["platt", "isotonic"])
def test_fit_kind_keeps_the_ranking(kind):
    log_odds, label = simulate(2000)
    probability = fit_kind(kind, label, log_odds).apply(log_odds)
    assert roc_auc_score(label, probability) == roc_auc_score(label, log_odds)


@pytest.mark.parametrize("kind", ["platt", "isotonic"])
def test_fit_kind_never_reaches_0_or_1_on_separable_scores(kind):
    label = np.arange(80) < 40
    calibrator = fit_kind(kind, label, np.where(label, 5.0, -5.0))
    probability = calibrator.apply([-1e6, -5.0, 5.0, 1e6])
    assert (probability > 0).all()
    assert (probability < 1).all()


def test_fit_calibrator_never_reverses_a_score_that_is_worse_than_chance():
    log_odds, label = simulate(100)
    probability = fit_kind("platt", label, -log_odds).apply([-2.0, 0.0, 2.0])
    assert (np.diff(probability) > 0).all()
    assert probability == pytest.approx([label.mean()] * 3, abs=0.01)


@settings(max_examples=50, deadline=None)
@given(
    knots,
    knots,
    st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=20),
)
def test_calibrator_apply_is_monotone_and_strictly_inside_0_1(x, y, margins):
    size = min(len(x), len(y))
    calibrator = Calibrator("isotonic", tuple(sorted(x)[:size]), tuple(sorted(y)[:size]))
    probability = calibrator.apply(sorted(margins))
    assert ((probability > 0) & (probability < 1)).all()
    assert all(low <= high + 1e-12 for low, high in pairwise(probability))


def test_calibrator_apply_leaves_a_missing_margin_missing():
    assert np.isnan(IDENTITY.apply([math.nan, 0.0])).tolist() == [True, False]


def test_calibrator_apply_identity_is_the_sigmoid_of_float32_margins():
    margin = np.array([-3.0, 0.0, 0.1], dtype=np.float32)
    probability = IDENTITY.apply(margin)
    assert probability.dtype == np.float64
    assert probability == pytest.approx(expit(margin.astype(np.float64)), abs=1e-15)


def test_calibrator_from_dict_restores_it_exactly_through_json():
    log_odds, label = simulate(1500)
    calibrator = fit_kind("isotonic", label, log_odds)
    assert Calibrator.from_dict(json.loads(json.dumps(calibrator.to_dict()))) == calibrator


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"kind": "platt", "x": [0, 1]},
        {"kind": "spline", "x": [0, 1], "y": [0, 1]},
        {"kind": "platt", "x": [0, 1], "y": [0]},
        {"kind": "platt", "x": [0], "y": [0]},
        {"kind": "platt", "x": [0, 1], "y": [1, 0]},
        {"kind": "platt", "x": [1, 1], "y": [0, 1]},
        {"kind": "platt", "x": [0, 1], "y": [0, math.inf]},
        {"kind": "platt", "x": [0, 1], "y": [0, "much"]},
    ],
)
def test_calibrator_from_dict_refuses_what_is_not_a_calibrator(values):
    with pytest.raises(ResourceError, match="calibrator"):
        Calibrator.from_dict(values)


def test_fit_calibrator_by_weight_equals_repeated_rows():
    rng = np.random.default_rng(0)
    margin = rng.integers(-30, 30, 3_000) / 10.0
    label = (rng.random(3_000) < expit(margin)).astype(float)
    cells, weight = np.unique(np.column_stack([label, margin]), axis=0, return_counts=True)
    for kind in ("isotonic", "platt"):
        exact = fit_kind(kind, *np.repeat(cells, weight, axis=0).T)
        binned = fit_kind(kind, *cells.T, weight=weight)
        np.testing.assert_allclose(binned.apply(margin), exact.apply(margin), atol=1e-5)


def test_moved_scales_the_odds():
    # p = 0.5 is odds 1; base rate 0.2 -> 0.5 is prior odds 1/4 -> 1, a factor 4: odds 4 = 0.8.
    assert IDENTITY.moved(trained=0.2, target=0.5).apply([0.0]) == pytest.approx([0.8])


def test_moved_brings_the_mean_to_the_target():
    # Classes look alike in both populations: scores N(0, 1) for stayers and N(1, 1) for churners.
    rng = np.random.default_rng(0)
    label = rng.random(40_000) < 0.4
    score = rng.normal(label, 1)
    margin = score - 0.5 + logit(0.1)  # exact posterior at a base rate of 0.1
    assert IDENTITY.apply(margin).mean() == pytest.approx(0.15, abs=0.03)
    assert IDENTITY.moved(trained=0.1, target=0.4).apply(margin).mean() == pytest.approx(0.4, abs=0.01)


@settings(max_examples=50, deadline=None)
@given(st.floats(-5, 5), st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_moved_is_undone_by_its_reverse(margin, a, b):
    there_and_back = IDENTITY.moved(trained=a, target=b).moved(trained=b, target=a)
    assert there_and_back.apply([margin]) == pytest.approx(IDENTITY.apply([margin]))
