from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from helpers import count_calls
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.special import expit
from sklearn import metrics as reference

from churn_spark.evaluation.counts import (
    Counts,
    capture,
    money_metrics,
    probability_metrics,
    ranking_metrics,
    reliability,
    threshold_metrics,
)
from churn_spark.evaluation.curves import CURVE_POINTS, curves, learning_curve
from churn_spark.evaluation.metrics import RESAMPLED_UNITS, compare, evaluate, slice_names
from churn_spark.model.offers import Terms
from churn_spark.model.policy import Policy, expected_value, fit_policy

POLICY = Policy(threshold=0.5)
# Few distinct scores, so that most examples hold ties.
tied = st.lists(
    st.tuples(st.integers(0, 1), st.sampled_from([0.05, 0.2, 0.35, 0.5, 0.8, 0.95])), min_size=1, max_size=60
).map(lambda rows: tuple(np.array(rows).T))


def simulate(n: int, seed: int = 0):
    """Calibrated probabilities and labels drawn from them."""
    rng = np.random.default_rng(seed)
    probability = expit(rng.normal(-1.5, 1.2, n))
    return (rng.random(n) < probability).astype(float), probability


def every_metric(label, probability, policy=POLICY, **arrays):
    counts = Counts.of(label, probability, **arrays)
    return {
        **ranking_metrics(counts),
        **probability_metrics(counts),
        **threshold_metrics(counts, threshold=policy.threshold),
        **money_metrics(counts, policy, cutoff=policy.threshold),
    }


def of_slice(table, name="all"):
    return table[table["slice"] == name].set_index("metric")


def assert_same(got, expected):
    assert got.keys() == expected.keys()
    for name, value in got.items():
        assert value == pytest.approx(expected[name], nan_ok=True), name


# Best first: churn, churn, stay, churn, stay.
LABEL = [1, 1, 0, 1, 0]
SCORE = [0.9, 0.8, 0.7, 0.6, 0.1]


def test_ranking_metrics_by_hand():
    got = ranking_metrics(Counts.of(LABEL, SCORE))
    # Of 3 x 2 pairs only (0.6, 0.7) is the wrong way round.
    assert got["roc_auc"] == pytest.approx(5 / 6)
    # Precision at each churner: 1/1, 2/2, 3/4.
    assert got["pr_auc"] == pytest.approx((1 + 1 + 3 / 4) / 3)
    # After two customers: 2/3 of the churners and none of the stayers.
    assert got["ks"] == pytest.approx(2 / 3)
    # The best 20 % are one customer of five, a churner: 1/3 of the churners, 1.67 times a random fifth.
    assert got["capture_20"] == pytest.approx(1 / 3)
    assert got["lift_20"] == pytest.approx((1 / 3) / 0.2)


def test_capture_shares_a_tied_group_in_proportion():
    # Four tied customers, two of them churners; half of them hold one of the three churners.
    counts = Counts.of([1, 1, 0, 0, 1, 0, 0, 0], [0.9] * 4 + [0.1] * 4)
    assert capture(counts, share=0.25) == pytest.approx(1 / 3)
    assert capture(counts, share=0.75) == pytest.approx((2 + 1 / 2) / 3)
    assert capture(counts, share=1.0) == pytest.approx(1.0)


def test_threshold_metrics_by_hand():
    got = threshold_metrics(Counts.of(LABEL, SCORE), threshold=0.7)  # 0.9, 0.8, 0.7 are predicted to churn
    assert [got[f"{kind}_positive"] for kind in ("true", "false")] == [2, 1]
    assert [got[f"{kind}_negative"] for kind in ("true", "false")] == [1, 1]
    assert (got["precision"], got["recall"], got["f1"]) == pytest.approx((2 / 3, 2 / 3, 4 / 6))


def test_money_metrics_by_hand():
    # A churner brings 0.3 x 190 - 1 = 56, a stayer costs 11: 56, 112, 101, 157, 146 from best to last.
    got = money_metrics(Counts.of(LABEL, SCORE), POLICY, cutoff=0.7)
    assert got["profit"] == pytest.approx(101 / 5)
    assert (got["mpc"], got["mpc_share"]) == pytest.approx((157 / 5, 4 / 5))


def test_reliability_pools_deciles():
    label, probability = simulate(5000)
    pooled = reliability(Counts.of(label, probability))
    assert pooled.customers.tolist() == [500] * 10
    best = np.argsort(-probability)[:500]
    assert pooled.score[0] == pytest.approx(probability[best].mean())
    assert pooled.churned[0] == label[best].sum()


def test_probability_metrics_ece_by_hand():
    # Two tied groups: said 0.8, came 6 of 10; said 0.1, came 2 of 10: (10 x 0.2 + 10 x 0.1) / 20 = 0.15.
    label = [1] * 6 + [0] * 4 + [1] * 2 + [0] * 8
    got = probability_metrics(Counts.of(label, [0.8] * 10 + [0.1] * 10))
    assert got["ece"] == pytest.approx(0.15)
    # Brier: (6 x 0.04 + 4 x 0.64 + 2 x 0.81 + 8 x 0.01) / 20 = 4.5 / 20, against 0.4 x 0.6.
    assert got["brier"] == pytest.approx(0.225)
    assert got["brier_skill"] == pytest.approx(1 - 0.225 / 0.24)


@settings(max_examples=50, deadline=None)
@given(tied)
def test_metrics_equal_sklearn_with_ties(rows):
    label, score = rows
    assume(0 < label.sum() < len(label))
    got, predicted = every_metric(label, score), score >= POLICY.threshold
    fpr, tpr, _ = reference.roc_curve(label, score)
    tn, fp, fn, tp = reference.confusion_matrix(label, predicted, labels=[0, 1]).ravel()
    for name, expected in {
        "roc_auc": reference.roc_auc_score(label, score),
        "pr_auc": reference.average_precision_score(label, score),
        "ks": np.abs(tpr - fpr).max(),
        "log_loss": reference.log_loss(label, score),
        "brier": reference.brier_score_loss(label, score),
        "recall": reference.recall_score(label, predicted),
        "precision": reference.precision_score(label, predicted, zero_division=np.nan),
        "true_negative": tn, "false_positive": fp, "false_negative": fn, "true_positive": tp,
    }.items():  # fmt: skip
        assert got[name] == pytest.approx(expected, nan_ok=True), name


@settings(max_examples=50, deadline=None)
@given(tied, st.data())
def test_weights_equal_repetition(rows, data):
    label, score = rows
    weight = np.array(data.draw(st.lists(st.integers(1, 4), min_size=len(label), max_size=len(label))))
    repeated = every_metric(np.repeat(label, weight), np.repeat(score, weight))
    assert_same(every_metric(label, score, weight=weight), repeated)


@settings(max_examples=50, deadline=None)
@given(tied, st.randoms(use_true_random=False))
def test_metrics_do_not_depend_on_row_order(rows, random):
    label, score = rows
    order = np.array(random.sample(range(len(label)), len(label)))
    assert_same(every_metric(label[order], score[order]), every_metric(label, score))


@settings(max_examples=50, deadline=None)
@given(tied)
def test_ranking_metrics_survive_any_increasing_change_of_the_score(rows):
    label, score = rows
    plain, bent, turned = (ranking_metrics(Counts.of(label, s)) for s in (score, 3 * score**3 - 7, -score))
    assert_same(bent, plain)
    assert turned["roc_auc"] == pytest.approx(1 - plain["roc_auc"], nan_ok=True)


@settings(max_examples=50, deadline=None)
@given(tied, st.integers(2, 4))
def test_metrics_of_resamples_are_those_of_each(rows, resamples):
    label, score = rows
    one = Counts.of(label, score)
    times = np.arange(1, resamples + 1)[:, None]
    many = one.each(lambda counts: counts * times)
    for metric in (ranking_metrics, probability_metrics):
        for name, values in metric(many).items():
            assert values.shape == (resamples,)
            assert values == pytest.approx(np.full(resamples, metric(one)[name]), nan_ok=True), name


@pytest.mark.parametrize(("label", "caught"), [([0, 0, 0], 0), ([1, 1, 1], 2), ([], 0)])
def test_evaluate_of_one_class_or_nothing_is_nan_where_undefined(label, caught):
    table = evaluate(label, [0.2, 0.5, 0.7][: len(label)], policy=POLICY, split="test")
    value = of_slice(table)["value"]
    assert np.isnan(value[["roc_auc", "ks", "brier_skill"]]).all()
    assert np.isfinite(value[["log_loss", "brier", "ece", "profit", "mpc"]]).all() == bool(label)
    assert value["true_positive"] == caught
    assert (table["n"] == len(label)).all()


def test_evaluate_leaves_out_rows_without_label_or_probability():
    kept = evaluate(LABEL, SCORE, policy=POLICY, split="test")
    padded = evaluate([*LABEL, np.nan, 1], [*SCORE, 0.3, np.nan], policy=POLICY, split="test")
    assert (padded["n"] == 5).all()
    pd.testing.assert_series_equal(padded["value"], kept["value"])


def test_evaluate_is_tidy_and_its_intervals_hold_the_value():
    label, probability = simulate(2000)
    table = evaluate(label, probability, policy=fit_policy(probability, Policy()), split="test")
    assert table.columns.tolist() == ["split", "slice", "metric", "value", "ci_low", "ci_high", "n"]
    assert table["metric"].is_unique
    assert table["value"].notna().all()
    assert set(table["metric"][table["ci_low"].isna()]) == {"ece", "ks"}  # noise only ever adds to them
    known = table.dropna()
    assert ((known["ci_low"] <= known["value"]) & (known["value"] <= known["ci_high"])).all()


def test_evaluate_gives_no_interval_that_rests_on_fewer_than_ten_churners():
    label, probability = simulate(2000)
    few = of_slice(evaluate(label, probability, policy=Policy(threshold=0.85), split="t"))
    assert 0 < few.loc["true_positive", "value"] < 10
    assert few.loc[["precision", "recall", "f1", "profit"], "ci_low"].isna().all()
    assert few.loc[["roc_auc", "log_loss"], "ci_low"].notna().all()


def test_evaluate_repeats_exactly_whatever_the_row_order():
    label, probability = simulate(500)
    customer = np.array([f"C{number % 200}" for number in range(500)])
    order = np.random.default_rng(1).permutation(500)
    once = evaluate(label, probability, policy=POLICY, split="t", customer=customer)
    again = evaluate(label[order], probability[order], policy=POLICY, split="t", customer=customer[order])
    other = evaluate(label, probability, policy=POLICY, split="t", customer=customer, seed=7)
    pd.testing.assert_frame_equal(once, again)
    assert (once["ci_low"] != other["ci_low"]).any()


def test_evaluate_intervals_cover_the_truth_about_95_percent_of_the_time():
    _, probability = simulate(200_000)
    truth = pd.Series({
        "brier": probability_metrics(Counts(probability, probability, 1 - probability))["brier"],
        "precision": probability[probability >= POLICY.threshold].mean(),
        "pr_auc": ranking_metrics(Counts.of(*simulate(1_000_000, 1)))["pr_auc"],
    })  # fmt: skip
    covered = pd.Series(0, truth.index)
    for seed in range(60):
        label, sample = simulate(600, seed + 1)
        table = of_slice(evaluate(label, sample, policy=POLICY, split="t", resamples=200)).loc[truth.index]
        covered += truth.between(table["ci_low"], table["ci_high"])
    assert (covered >= 51).all(), covered  # fewer than 51 of 60 has a chance of 0.0007 at 95 %


@pytest.mark.parametrize("n", [2000, 3 * RESAMPLED_UNITS])
def test_evaluate_standard_error_of_a_share_is_the_textbook_one(n):
    label = np.arange(n) % 5 == 0
    table = of_slice(evaluate(label, np.linspace(0.1, 0.9, n), policy=POLICY, split="t", resamples=1000))
    width = table.loc["base_rate", "ci_high"] - table.loc["base_rate", "ci_low"]
    assert width == pytest.approx(2 * 1.96 * np.sqrt(0.2 * 0.8 / n), rel=0.15)


def test_evaluate_by_customer_widens_the_interval_of_repeated_rows():
    # Each customer four times over: four times the rows, but no more is known than from the first.
    label, probability = simulate(500)
    customer = np.arange(500)
    once, by_customer, by_row = (
        of_slice(evaluate(y, p, policy=POLICY, split="t", customer=c, resamples=600)).loc["roc_auc"]
        for y, p, c in (
            (label, probability, customer),
            (np.tile(label, 4), np.tile(probability, 4), np.tile(customer, 4)),
            (np.tile(label, 4), np.tile(probability, 4), None),
        )
    )
    width = [row["ci_high"] - row["ci_low"] for row in (once, by_customer, by_row)]
    assert width[1] == pytest.approx(width[0], rel=1e-6)
    assert width[2] == pytest.approx(width[0] / 2, rel=0.2)


def test_evaluate_of_a_binned_table_is_close_to_that_of_its_rows():
    label, probability = simulate(50_000)
    policy = fit_policy(probability, Policy())
    rows = pd.DataFrame({"label": label, "p": probability, "bin": np.floor(probability * 10_000)})
    binned = rows.groupby(["bin", "label"])["p"].agg(["mean", "size"]).reset_index()
    assert len(binned) < len(rows) / 2
    exact = of_slice(evaluate(label, probability, policy=policy, split="t"))
    close = of_slice(
        evaluate(binned["label"], binned["mean"], policy=policy, split="t", weight=binned["size"])
    )
    width = exact["ci_high"] - exact["ci_low"]
    assert (close["n"] == 50_000).all()
    assert (
        ((close["value"] - exact["value"]).abs() <= 0.05 * width.fillna(0.01) + 1e-12).drop("mpc_share").all()
    )
    ratio = ((close["ci_high"] - close["ci_low"]) / width).drop(["mpc_share", "ks", "ece"])
    assert ratio.between(0.7, 1.4).all()


def test_evaluate_slices_equal_evaluating_their_rows():
    label, probability = simulate(1200)
    plan = np.array(["monthly", "annual", "rare"])[np.r_[np.arange(1150) % 2, np.full(50, 2)]]
    slices = pd.DataFrame(
        {"plan_type": plan, "has_text": np.arange(1200) % 3 == 0, "tenure": np.arange(1200)}
    )
    table = evaluate(label, probability, policy=POLICY, split="test", slices=slices, min_slice=100)
    assert sorted(table["slice"].unique()) == [
        "all", "has_text=no", "has_text=yes", "plan_type=annual", "plan_type=monthly",
        "tenure=q1", "tenure=q2", "tenure=q3", "tenure=q4",
    ]  # fmt: skip
    monthly = plan == "monthly"
    alone = evaluate(label[monthly], probability[monthly], policy=POLICY, split="test")
    pd.testing.assert_series_equal(of_slice(table, "plan_type=monthly")["value"], of_slice(alone)["value"])
    assert (of_slice(table, "tenure=q1")["n"] == 300).all()


def test_evaluate_slices_line_up_when_rows_are_left_out():
    label = np.array([np.nan] * 100 + [1.0] * 100 + [0.0] * 100)
    slices = pd.DataFrame({"plan_type": ["x"] * 100 + ["a"] * 100 + ["b"] * 100}, index=np.arange(300) + 7)
    table = evaluate(label, np.linspace(0.1, 0.9, 300), policy=POLICY, split="t", slices=slices)
    assert table["slice"].unique().tolist() == ["all", "plan_type=a", "plan_type=b"]
    assert of_slice(table, "plan_type=a").loc["base_rate", "value"] == 1.0


def worth(value):
    """The terms of the default offer for customers who are worth so much."""
    value = np.asarray(value)
    return Terms(0.3 * (value - 10), np.full(len(value), 10.0), np.ones(len(value)))


def test_evaluate_with_own_values_ranks_by_expected_value():
    # 0.4 x (0.3 x 990 - 1) - 0.6 x 11 = 111.8; 0.9 x (0.3 x 30 - 1) - 0.1 x 11 = 6.1;
    # 0.1 x (0.3 x 90 - 1) - 0.9 x 11 = -7.3.
    probability, value, label = [0.4, 0.9, 0.1], [1000.0, 40.0, 100.0], [1, 0, 0]
    policy = Policy(capacity=1, capacity_share=1 / 3)
    terms = worth(value)
    assert expected_value(probability, terms) == pytest.approx([111.8, 6.1, -7.3])
    got = of_slice(evaluate(label, probability, policy=policy, split="t", terms=terms))["value"]
    # Room for one: the first, who churns and brings 0.3 x 990 - 1 = 296 over three customers.
    assert got["profit"] == pytest.approx(296 / 3)
    assert got["mpc"] == pytest.approx(296 / 3)
    room_for_all = of_slice(evaluate(label, probability, policy=Policy(), split="t", terms=terms))
    assert room_for_all.loc["profit", "value"] == pytest.approx((296 - 11) / 3)


def test_evaluate_with_equal_own_values_changes_nothing():
    label, probability = simulate(800)
    policy = fit_policy(probability, Policy(capacity=200))
    plain = evaluate(label, probability, policy=policy, split="t")
    valued = evaluate(label, probability, policy=policy, split="t", terms=worth(np.full(800, 200.0)))
    pd.testing.assert_frame_equal(plain, valued, rtol=1e-9)


def test_evaluate_calls_no_more_functions_for_more_rows():
    def calls(rows):
        label, probability = simulate(rows)
        customer = np.arange(rows).astype(str)
        return count_calls(lambda: evaluate(label, probability, policy=POLICY, split="t", customer=customer))

    calls(100)  # what is imported on first use
    assert calls(10_000) < 1.1 * calls(2_000)


def test_compare_finds_a_better_score_and_its_interval_is_narrower_than_either():
    label, probability = simulate(3000)
    noisy = expit(np.log(probability / (1 - probability)) + np.random.default_rng(1).normal(0, 0.5, 3000))
    gain = compare(label, probability, baseline=noisy, policy=POLICY).set_index("metric").loc["roc_auc"]
    alone = of_slice(evaluate(label, probability, policy=POLICY, split="t")).loc["roc_auc"]
    expected = reference.roc_auc_score(label, probability) - reference.roc_auc_score(label, noisy)
    assert gain["value"] == pytest.approx(expected)
    assert gain["ci_low"] > 0
    assert gain["ci_high"] - gain["ci_low"] < 0.8 * (alone["ci_high"] - alone["ci_low"])


def test_compare_with_itself_is_exactly_nothing():
    label, probability = simulate(300)
    table = compare(label, probability, baseline=probability, policy=POLICY)
    assert (table[["value", "ci_low", "ci_high"]].fillna(0) == 0).all(axis=None)


def test_compare_uses_the_rows_that_both_scored():
    label, probability = simulate(300)
    holes = np.where(np.arange(300) < 50, np.nan, probability)
    value = compare(label, probability, baseline=holes, policy=POLICY)["value"]
    assert (value == 0).all()


def test_curves_by_hand():
    points = curves(LABEL, SCORE, policy=POLICY, split="test").set_index("curve")
    assert points.columns.tolist() == ["split", "bin", "x", "y", "n"]
    roc = points.loc["roc"]
    assert roc["x"].tolist() == pytest.approx([0, 0, 0, 1 / 2, 1 / 2, 1])
    assert roc["y"].tolist() == pytest.approx([0, 1 / 3, 2 / 3, 2 / 3, 1, 1])
    assert points.loc["gains", "x"].tolist() == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])
    assert points.loc["profit", "y"].tolist() == pytest.approx([0, 11.2, 22.4, 20.2, 31.4, 29.2])
    assert points.loc["pr", "y"].tolist() == pytest.approx([1, 1, 2 / 3, 3 / 4, 3 / 5])
    assert points.loc["roc", "n"].tolist() == [0, 1, 2, 3, 4, 5]


def test_curves_stay_small_and_true_to_the_metrics():
    label, probability = simulate(20_000)
    points = curves(label, probability, policy=POLICY, split="test")
    sizes = points.groupby("curve").size()
    assert set(sizes.index) == {
        "roc", "pr", "gains", "profit", "calibration", "score_churned", "score_stayed",
    }  # fmt: skip
    assert sizes.max() <= CURVE_POINTS
    roc = points[points["curve"] == "roc"]
    area = reference.auc(roc["x"], roc["y"])
    assert area == pytest.approx(reference.roc_auc_score(label, probability), abs=1e-3)
    assert points[points["curve"] == "calibration"]["n"].sum() == 20_000
    assert points[points["curve"] == "score_churned"]["n"].sum() == label.sum()


def test_curves_of_one_class_leave_out_what_is_undefined():
    drawn = set(curves([0, 0, 0], [0.1, 0.5, 0.6], policy=POLICY, split="test")["curve"])
    assert drawn == {"profit", "calibration", "score_stayed"}


def test_learning_curve_counts_trees_from_one_and_keeps_both_ends():
    short = learning_curve([0.6, 0.5, 0.45], split="validation", n=1000)
    assert short["x"].tolist() == [1, 2, 3]
    assert short["y"].tolist() == [0.6, 0.5, 0.45]
    long = learning_curve(np.linspace(1, 0, 5000), split="validation", n=1000)
    assert len(long) == CURVE_POINTS
    assert long["x"].iloc[[0, -1]].tolist() == [1, 5000]
    assert learning_curve([], split="validation", n=0).empty


def test_slice_names():
    assert slice_names(pd.Series([1.0, 2, 3, 4, 5, 6, 7, 8, None])).tolist() == [
        "q1", "q1", "q2", "q2", "q3", "q3", "q4", "q4", "missing",
    ]  # fmt: skip
    assert slice_names(pd.Series([True, False])).tolist() == ["yes", "no"]
    assert slice_names(pd.Series(["a", None])).tolist() == ["a", "missing"]
    assert slice_names(pd.Series([1, 0, 1])).tolist() == ["1", "0", "1"]
