"""Tabulated contributions against xgboost's own, on trees that use numbers, categories and missing values."""

import json

import numpy as np
import pytest
import xgboost as xgb

from churn_spark.errors import ResourceError
from churn_spark.model.contributions import check_sums, tabulate
from churn_spark.model.reasons import grouped_contributions

SOURCES = ["age", "plan", "note", "note", "note"]


def inputs(rows: int, seed: int = 1) -> np.ndarray:
    """age and three note inputs, a tenth of them missing; plan is one of 6 categories."""
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(rows, 5)).astype(np.float32)
    matrix[rng.random(matrix.shape) < 0.1] = np.nan
    matrix[:, 1] = np.where(np.isnan(matrix[:, 1]), np.nan, rng.integers(0, 6, rows))
    return matrix


def booster(depth: int, trees: int = 12) -> xgb.Booster:
    matrix = inputs(600)
    odds = np.nan_to_num(matrix).sum(axis=1) * (np.nan_to_num(matrix[:, 1]) % 2)
    label = (odds + np.random.default_rng(2).logistic(size=600) > 0.3).astype(float)
    data = xgb.DMatrix(matrix, label, feature_types=["q", "c", "q", "q", "q"], enable_categorical=True)
    return xgb.train(
        {"objective": "binary:logistic", "max_depth": depth, "max_cat_to_onehot": 2}, data, trees
    )


def expected(model: xgb.Booster, matrix: np.ndarray) -> np.ndarray:
    data = xgb.DMatrix(matrix, feature_types=["q", "c", "q", "q", "q"], enable_categorical=True)
    return grouped_contributions(model.predict(data, pred_contribs=True), SOURCES)[1]


@pytest.mark.parametrize("depth", [1, 3, 7])
def test_effects_equal_xgboosts(depth: int) -> None:
    model, matrix = booster(depth), inputs(300, seed=5)
    matrix[:3, 1] = [6, 99, np.nan]  # categories no tree has seen
    tables = tabulate(model, SOURCES)
    assert tables is not None
    assert tables.groups == ("age", "plan", "note")
    np.testing.assert_allclose(tables.effects(matrix), expected(model, matrix), atol=2e-5)


def test_effects_of_a_row_are_the_same_to_the_bit_whatever_its_neighbours() -> None:
    tables, matrix = tabulate(booster(6), SOURCES), inputs(3000, seed=7)
    assert tables is not None
    together = tables.effects(matrix)
    alone = np.concatenate([tables.effects(matrix[i : i + 1]) for i in range(0, 3000, 100)])
    np.testing.assert_array_equal(together[::100], alone)
    assert tables.effects(matrix[:0]).shape == (0, 4)


@pytest.mark.slow
def test_trees_without_splits_or_too_deep_are_left_to_xgboost() -> None:
    label = np.arange(50) % 2
    data = xgb.DMatrix(inputs(50), label, feature_types=["q", "c", "q", "q", "q"], enable_categorical=True)
    assert tabulate(xgb.train({"objective": "binary:logistic", "gamma": 1e9}, data, 3), SOURCES) is None
    rng = np.random.default_rng(3)
    matrix = rng.normal(size=(4000, 30)).astype(np.float32)
    label = (matrix.sum(axis=1) + rng.normal(size=4000) > 0).astype(float)
    deep = xgb.train({"max_depth": 30, "min_child_weight": 0, "lambda": 0}, xgb.DMatrix(matrix, label), 20)
    assert tabulate(deep, [f"c{i}" for i in range(30)]) is None


def with_trees(depths: list[int]) -> xgb.Booster:
    """A booster whose trees have these depths, in this order; 0 is a tree that is one leaf."""
    document = json.loads(bytes(booster(1, 1).save_raw("json")))
    model = document["learner"]["gradient_booster"]["model"]
    for number, depth in enumerate(depths):
        one = booster(depth or 1, number + 1) if depth else booster_of_a_leaf(0.8 - 0.1 * number)
        tree = json.loads(bytes(one.save_raw("json")))["learner"]["gradient_booster"]["model"]["trees"][-1]
        model["trees"][number:] = [{**tree, "id": number}]
    model["tree_info"] = [0] * len(depths)
    model["iteration_indptr"] = list(range(len(depths) + 1))
    model["gbtree_model_param"]["num_trees"] = str(len(depths))
    return xgb.Booster(model_file=bytearray(json.dumps(document).encode()))


def booster_of_a_leaf(mean: float) -> xgb.Booster:
    data = xgb.DMatrix(
        inputs(50), np.arange(50) % 2, feature_types=["q", "c", "q", "q", "q"], enable_categorical=True
    )
    return xgb.train({"objective": "binary:logistic", "gamma": 1e9, "base_score": mean}, data, 1)


@pytest.mark.parametrize("depths", [[2, 3, 0, 0], [0, 2, 3], [2, 0, 0, 3], [0, 5, 0, 1, 0, 3, 0], [1, 6, 2]])
def test_effects_equal_xgboosts_where_trees_are_single_leaves_or_differ_in_depth(depths: list[int]) -> None:
    model, matrix = with_trees(depths), inputs(300, seed=5)
    tables = tabulate(model, SOURCES)
    assert tables is not None
    effects = tables.effects(matrix)
    np.testing.assert_allclose(effects, expected(model, matrix), atol=2e-5)
    check_sums(effects, model.inplace_predict(matrix, predict_type="margin", validate_features=False))


def test_trees_that_are_all_leaves_are_left_to_xgboost() -> None:
    assert tabulate(with_trees([0, 0, 0]), SOURCES) is None


def test_effects_that_do_not_add_up_to_the_margin_are_refused() -> None:
    margin = np.array([0.5, -2.0], np.float32)
    check_sums(np.array([[0.25, 0.25], [-1.5, -0.5]], np.float32), margin)
    for wrong in (0.1, np.nan):
        with pytest.raises(ResourceError, match="in 1 of 2 rows"):
            check_sums(np.array([[0.25, 0.25], [-1.5, wrong]], np.float32), margin)
