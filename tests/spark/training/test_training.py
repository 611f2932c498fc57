"""The fit survives a dead worker with the same trees, and a hanging one does not hang the run."""

import hashlib
import os
import signal
import time
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xgboost as xgb
from pyspark import TaskContext
from pyspark.sql import functions as F
from xgboost.spark import SparkXGBClassifier

from churn_spark.contract.columns import Column, Contract
from churn_spark.errors import ConfigError, ResourceError
from churn_spark.model.crossfit import cross_fit, lay_out
from churn_spark.model.features import FeatureSpec, Numeric, TextVector
from churn_spark.model.projection import text_moments
from churn_spark.settings.sections import Training
from churn_spark.spark.training import fit as training
from churn_spark.spark.training.fit import fit_booster, fit_fold_boosters, learnt_moments, with_features
from churn_spark.spark.training.guard import guarded

CONTRACT = Contract((Column(name="churn", role="label"),))
SPEC = FeatureSpec(tuple(Numeric(f"x{i}") for i in range(3)))
SETTINGS = Training(n_estimators=5, max_depth=3, reg_lambda=1.0, learning_rate=0.1, num_workers=2)
KEY = {"key": ["customer_id"], "base_score": 0.5}


@pytest.fixture(scope="module")
def rows(spark, tmp_path_factory):
    random = np.random.default_rng(7)
    x = random.normal(size=(400, 3)).astype(np.float32)
    frame = pd.DataFrame({"customer_id": [f"C{i}" for i in range(400)], "features": list(x)})
    frame["label"] = (x[:, 0] + random.normal(size=400) > 0).astype(float)
    frame["_fold"] = np.arange(400) % 5
    path = str(tmp_path_factory.mktemp("rows"))
    schema = "customer_id string, features array<float>, label double, _fold int"
    spark.createDataFrame(frame, schema).write.mode("overwrite").parquet(path)
    return spark.read.parquet(path)


def test_with_features_gives_rows_with_a_fold_the_projection_that_did_not_see_them(spark):
    def text(weight):
        return TextVector("note", 2, (0.0, 0.0), ((weight, 0.0),))

    vector = bytearray(np.array([0.5, 9.0], np.float32).tobytes())
    rows = [("a", 0, vector), ("b", 1, vector), ("c", None, vector), ("d", 1, None)]
    df = spark.createDataFrame(rows, "customer_id string, fold int, note__embedding binary")
    spec = FeatureSpec(texts=(text(100.0),))
    found = with_features(
        df, spec, keep=["customer_id"], unseen=[[text(1.0)], [text(2.0)]], fold=F.col("fold")
    )
    values = {row.customer_id: row.features[0] for row in found.collect()}
    assert (values["a"], values["b"], values["c"]) == (0.5, 1.0, 50.0)
    assert np.isnan(values["d"])


def trees(booster) -> str:
    return hashlib.sha256(booster.save_raw("json")).hexdigest()


def trouble(monkeypatch, marker: Path, kind: str) -> None:
    """Let one worker die or hang in the middle of the first attempt, by a callback of the real estimator."""

    class Trouble(xgb.callback.TrainingCallback):
        def after_iteration(self, model, epoch, evals_log):
            if epoch == 2 and TaskContext.get().partitionId() == 1 and not marker.exists():
                marker.touch()
                if kind == "dies":
                    os.kill(os.getpid(), signal.SIGKILL)
                time.sleep(600)
            return False

    monkeypatch.setattr(training, "SparkXGBClassifier", partial(SparkXGBClassifier, callbacks=[Trouble()]))


def test_fit_booster_with_a_worker_killed_halfway_gives_the_same_trees(rows, monkeypatch, tmp_path):
    undisturbed = trees(fit_booster(rows, SPEC, **KEY, training=SETTINGS))
    trouble(monkeypatch, tmp_path / "died", "dies")
    again = trees(fit_booster(rows.repartition(3), SPEC, **KEY, training=SETTINGS))
    assert (tmp_path / "died").exists()
    assert again == undisturbed


def test_fit_booster_whose_worker_hangs_ends_at_the_deadline(spark, rows, monkeypatch, tmp_path):
    trouble(monkeypatch, tmp_path / "hung", "hangs")
    hurried = SETTINGS.model_copy(update={"timeout_seconds": 12})
    with pytest.raises(ResourceError, match="not done after 12 seconds") as problem:
        fit_booster(rows, SPEC, **KEY, training=hurried)
    assert problem.value.exit_code == 23
    assert (tmp_path / "hung").exists()
    assert rows.count() == 400  # later jobs are not cancelled


def test_guarded_gives_up_after_the_attempts_allowed(spark):
    attempts = []

    def work():
        attempts.append(1)
        raise RuntimeError("a worker died")

    with pytest.raises(ResourceError, match="failed 2 times") as problem:
        guarded(spark.sparkContext, work, name="fit", attempts=2, seconds=60)
    assert len(attempts) == 2
    assert "a worker died" not in str(problem.value)  # it stands in error.txt


def test_fit_booster_checks_the_slots_first(rows):
    many = SETTINGS.model_copy(update={"num_workers": 64})
    with pytest.raises(ConfigError, match="64 workers asked for, 2 slots there"):
        fit_booster(rows, SPEC, **KEY, training=many)


def test_fit_fold_boosters_are_those_that_xgboost_fits_in_this_process(rows):
    frame = rows.toPandas().sort_values("customer_id", ignore_index=True)
    x, label = np.stack(frame["features"]).astype(np.float32), frame["label"].to_numpy()
    training = SETTINGS.model_copy(update={"subsample": 1.0})
    learning = lay_out(x, label, frame["_fold"].to_numpy(), SPEC, max_bin=256)
    native = cross_fit(learning, training).boosters
    boosters = fit_fold_boosters(
        rows.repartition(3), SPEC, key=["customer_id"], training=training, base_score=learning.base_score
    )
    for booster, other in zip(boosters, native, strict=True):
        margins = [
            b[: other.num_boosted_rounds()].inplace_predict(x, predict_type="margin")
            for b in (booster, other)
        ]
        np.testing.assert_allclose(*margins, atol=1e-5)


def test_learnt_moments_are_those_of_the_rows_however_they_are_spread(spark):
    random = np.random.default_rng(3)
    vectors = random.normal(size=(90, 4)).astype(np.float32)
    label, fold = random.random(90) < 0.3, np.arange(90) % 5
    rows = [(bool(y), int(f), bytearray(v.tobytes())) for y, f, v in zip(label, fold, vectors, strict=True)]
    df = spark.createDataFrame([*rows, (True, 1, None)], "churn boolean, _fold int, note__embedding binary")
    for parts in (1, 7):
        found = learnt_moments(df.repartition(parts), "note", CONTRACT, dimension=4)
        for sums, other in zip(found, text_moments(vectors, label, fold), strict=True):
            np.testing.assert_array_equal(sums, other)


def test_fit_booster_keeps_a_monotone_constraint(rows):
    falling = SETTINGS.model_copy(update={"monotone": {"x0": -1}})
    booster = fit_booster(rows, SPEC, **KEY, training=falling)
    grid = np.zeros((50, 3), np.float32)
    grid[:, 0] = np.linspace(-3, 3, 50)
    margin = booster.inplace_predict(grid, predict_type="margin")
    assert (np.diff(margin) <= 0).all()  # although risk rises with x0 in these rows
