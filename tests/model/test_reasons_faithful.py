"""Reasons are true: the score moves the way they say when the value that they name is taken away."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers import real_table

from churn_spark.contract.folds import FOLDS
from churn_spark.model.crossfit import choose, lay_out
from churn_spark.model.features import Categorical, FeatureSpec, Numeric, assemble
from churn_spark.model.reasons import worth_naming
from churn_spark.model.scorer import OneBooster
from churn_spark.model.trees import averaged
from churn_spark.sample.customers import write_csv
from churn_spark.settings.sections import Training

OTHERS = 60  # customers whose values take the place of the one that is taken away


def customers(name: str, folder: Path) -> tuple[pd.DataFrame, str, tuple[str, ...]]:
    """A table, its label and what is no input: made-up customers with one more column, or real ones."""
    if name == "employees":
        return pd.read_csv(real_table("employees.csv")), "Attrition", ("EmployeeNumber",)
    write_csv(folder / "raw.csv", 1500, seed=4)
    raw = pd.read_csv(folder / "raw.csv")
    for column in ("age", "tenure", "spend_rate"):
        raw[column] = pd.to_numeric(raw[column], errors="coerce")
    topics = raw["ticket_notes"].fillna("").str.contains("refund|cancel|outage").astype(float)
    return raw.assign(complains=topics), "churn", ("customer_id", "ticket_notes")


@pytest.mark.parametrize("name", ["made up", "employees"])
def test_first_second_and_third_reasons_move_the_score_the_way_they_say(name: str, tmp_path: Path) -> None:
    raw, label_column, dropped = customers(name, tmp_path)
    label = raw.pop(label_column).astype(str).str.lower().isin(["1", "yes", "true"]).to_numpy(float)
    raw = raw.drop(columns=list(dropped))
    numbers = [c for c in raw if pd.api.types.is_numeric_dtype(raw[c])]
    words = {c: raw[c].astype(str) for c in raw if c not in numbers}
    spec = FeatureSpec(
        tuple(map(Numeric, numbers)),
        tuple(Categorical(c, tuple(sorted(set(v)))) for c, v in words.items()),
    )
    inputs = assemble(spec, raw.assign(**words), vectors={})
    learn = np.arange(len(label)) % 5 > 0
    fold = np.arange(learn.sum()) % FOLDS
    fit = choose(lay_out(inputs[learn], label[learn], fold, spec, max_bin=256), Training(n_estimators=60)).fit
    trees = OneBooster(averaged(fit.boosters, [spec.inputs_of(k) for k in range(FOLDS)], spec.types), spec)
    tested, others = inputs[~learn], inputs[learn][:: max(1, learn.sum() // OTHERS)]
    margin, (groups, effects) = trees.margin(tested), trees.effects(tested)
    own = effects[:, : len(groups)]
    recommended = margin > np.quantile(margin, 0.7)
    named = worth_naming(own, np.argsort(-np.abs(own), axis=1, kind="stable"), raising_first=recommended)

    moved = np.empty_like(own, np.float64)  # by which the score falls where others' values stand
    for group in range(len(groups)):
        without = np.repeat(tested, len(others), axis=0)
        without[:, group] = np.tile(others[:, group], len(tested))
        moved[:, group] = margin - trees.margin(without).reshape(len(tested), -1).mean(axis=1)
    rows = np.arange(len(tested))
    for rank, least in enumerate((0.95, 0.85, 0.75)):
        told = named[:, rank] >= 0
        group = named[told, rank]
        right = np.sign(moved[rows[told], group]) == np.sign(own[rows[told], group])
        assert told.sum() > 20
        assert right.mean() >= least, rank
    first = named[recommended, 0]
    assert (first >= 0).mean() > 0.5
    assert (
        own[recommended, first][first >= 0] > 0
    ).all()  # whom to call is never told a reason to stay first
