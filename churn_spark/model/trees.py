"""The trees' settings, named in one place for xgboost in this process and on Spark, and several boosters as one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xgboost as xgb

from churn_spark.settings.sections import Training

# What a tree may look like: what the settings say of it, or what is chosen where they leave it open.
SETTINGS = (
    "max_depth", "learning_rate", "min_child_weight", "subsample", "colsample_bytree", "reg_alpha", "reg_lambda",
    "gamma", "max_bin", "scale_pos_weight",
)  # fmt: skip

# Few suffice: on the tables measured a search of hundreds found nothing that was better by more than chance. The
# simplest come first. Columns that matter one by one want shallow trees, those that interact deep ones.
CANDIDATES: tuple[Mapping[str, float], ...] = (
    {"max_depth": 1, "reg_lambda": 10.0, "learning_rate": 0.1},
    {"max_depth": 2, "reg_lambda": 10.0, "learning_rate": 0.1},
    {"max_depth": 4, "reg_lambda": 10.0, "learning_rate": 0.05},
    {"max_depth": 4, "reg_lambda": 1.0, "learning_rate": 0.05},
    {"max_depth": 6, "reg_lambda": 1.0, "learning_rate": 0.05},
)


# A split sets one category apart from the others: sets of many small ones fit the noise (measured on a table with 51
# states: log-loss 0.174 instead of 0.187, ROC-AUC 0.919 instead of 0.914; no loss where categories are few).
ONE_BY_ONE = 1_000_000


def candidates(training: Training) -> list[Training]:
    """The settings to choose from, simplest first: CANDIDATES, but for what the settings say themselves."""
    open_ones = [{k: v for k, v in c.items() if getattr(training, k) is None} for c in CANDIDATES]
    distinct = {tuple(c.items()): c for c in open_ones}
    return [training.model_copy(update=c) for c in distinct.values()]


def parameters(training: Training, names: Sequence[str]) -> dict[str, Any]:
    """xgboost's parameters for inputs of these names; nothing in `training` is left open.

    Each tree has a seed of its own, since boosters that grow side by side share a thread's random numbers.
    """
    chosen = {name: getattr(training, name) for name in SETTINGS}
    if any(training.monotone.values()):
        chosen["monotone_constraints"] = tuple(training.monotone.get(name, 0) for name in names)
    fixed = {"tree_method": "hist", "eval_metric": "logloss", "seed_per_iteration": True}
    return {**chosen, **fixed, "max_cat_to_onehot": ONE_BY_ONE}


def native_parameters(training: Training, names: Sequence[str], *, base_score: float) -> dict[str, Any]:
    """The same for `xgb.train`. One thread each, so that a fit is the same on every machine."""
    fixed = {"objective": "binary:logistic", "seed": training.seed, "nthread": 1, "base_score": base_score}
    return parameters(training, names) | fixed


def averaged(
    boosters: Sequence[xgb.Booster], inputs: Sequence[Sequence[int]], types: list[str]
) -> xgb.Booster:
    """One booster whose margin is the mean of theirs: their trees one after the other, leaves divided.

    `inputs` says for each booster which of the model's inputs, of these `types`, are its own, in order. All start from
    the same base score. The margin is the mean within float32's rounding, some 3e-6.
    """
    first, *_ = documents = [json.loads(bytes(b.save_raw("json"))) for b in boosters]
    trees = [
        _as_part(tree, own, parts=len(boosters), width=len(types))
        for document, own in zip(documents, inputs, strict=True)
        for tree in document["learner"]["gradient_booster"]["model"]["trees"]
    ]
    model = first["learner"]["gradient_booster"]["model"]
    model["trees"] = [{**tree, "id": number} for number, tree in enumerate(trees)]
    model["tree_info"] = [0] * len(trees)
    model["iteration_indptr"] = list(range(len(trees) + 1))
    model["gbtree_model_param"]["num_trees"] = str(len(trees))
    first["learner"]["learner_model_param"]["num_feature"] = str(len(types))
    first["learner"]["feature_names"] = []
    first["learner"]["feature_types"] = types
    first["learner"]["attributes"] = {}
    one = xgb.Booster({"nthread": 1})
    one.load_model(bytearray(json.dumps(first).encode()))
    return one


def part_of(booster: xgb.Booster, number: int, *, parts: int) -> xgb.Booster:
    """One of the boosters that `averaged` made one: its trees, leaves as they were; inputs are the whole model's."""
    document = json.loads(bytes(booster.save_raw("json")))
    model = document["learner"]["gradient_booster"]["model"]
    count = len(model["trees"]) // parts
    chosen = model["trees"][number * count : (number + 1) * count]
    model["trees"] = [
        {**tree, "id": place, "split_conditions": _times(tree, np.float32(parts))}
        for place, tree in enumerate(chosen)
    ]
    model["tree_info"] = [0] * count
    model["iteration_indptr"] = list(range(count + 1))
    model["gbtree_model_param"]["num_trees"] = str(count)
    one = xgb.Booster({"nthread": 1})
    one.load_model(bytearray(json.dumps(document).encode()))
    return one


def _times(tree: dict[str, Any], factor: np.float32) -> list[float]:
    """The conditions of a tree, its leaves multiplied."""
    is_leaf, values = np.array(tree["left_children"]) < 0, np.array(tree["split_conditions"], np.float32)
    return [float(v) for v in np.where(is_leaf, values * factor, values)]


def _as_part(tree: dict[str, Any], own: Sequence[int], *, parts: int, width: int) -> dict[str, Any]:
    """A tree as one of several boosters': its inputs are the whole model's, its leaves count for a part."""
    is_leaf = np.array(tree["left_children"]) < 0
    values = np.array(tree["split_conditions"], np.float32)
    return {
        **tree,
        "split_indices": [
            0 if leaf else own[i] for i, leaf in zip(tree["split_indices"], is_leaf, strict=True)
        ],
        "split_conditions": np.where(is_leaf, values / np.float32(parts), values).tolist(),
        "base_weights": (np.array(tree["base_weights"], np.float32) / np.float32(parts)).tolist(),
        "tree_param": {**tree["tree_param"], "num_feature": str(width)},
    }
