"""On a panel whose behaviour drifts, a split by time foretells how the model will do; a random one is too hopeful."""

import datetime as dt

import pytest
from pyspark.sql import functions as F
from scipy.special import expit

from churn_spark.contract.columns import Column, Contract
from churn_spark.evaluation import metrics
from churn_spark.jobs.sample import sample_table
from churn_spark.model.policy import Policy
from churn_spark.settings.sections import Features, Split, Training
from churn_spark.spark.training.backtest import with_margin
from churn_spark.spark.training.fit import fit_booster, fit_spec, with_features
from churn_spark.spark.training.splits import SPLITS, with_split

COLUMNS = {"customer_id": "id", "snapshot_date": "snapshot", "age": "numeric", "tenure": "numeric",
           "spend_rate": "numeric", "plan_type": "categorical", "churn": "label"}  # fmt: skip
CONTRACT = Contract(tuple(Column(name=name, role=role) for name, role in COLUMNS.items()))
TREES = Training(n_estimators=60, max_depth=2, reg_lambda=10, learning_rate=0.1)
TODAY = dt.date(2025, 1, 1)  # twelve snapshots lie before it, three behind it


@pytest.fixture(scope="module")
def panel(spark, tmp_path_factory):
    path = str(tmp_path_factory.mktemp("panel"))
    table = sample_table(spark, 6_000, seed=3, months=15).select(*COLUMNS)
    table.withColumn("label", F.col("churn").cast("double")).write.mode("overwrite").parquet(path)
    return spark.read.parquet(path)


def auc(scored):
    """ROC-AUC with its interval over customers: value, low, high."""
    rows = scored.toPandas().sort_values(["customer_id", "margin"])
    measured = metrics.evaluate(rows["label"], expit(rows["margin"]), policy=Policy(), split="test",
                                customer=rows["customer_id"].to_numpy())  # fmt: skip
    return measured.set_index("metric").loc["roc_auc", ["value", "ci_low", "ci_high"]].tolist()


def estimate_and_future(panel, mode):
    known = panel.where(F.col("snapshot_date") < F.lit(TODAY))
    split = with_split(known, CONTRACT, split=Split(mode=mode, observed_until=TODAY))
    spec = fit_spec(split.where("split = 'learn'"), CONTRACT, features=Features())
    keep = [*CONTRACT.key, "split", "label"]
    features = with_features(split.where(split.split.isin(*SPLITS)), spec, keep=keep).cache()
    booster = fit_booster(
        features.where("split = 'learn'"), spec, key=CONTRACT.key, training=TREES, base_score=0.1
    )
    future = with_features(
        panel.where(F.col("snapshot_date") >= F.lit(TODAY)), spec, keep=["customer_id", "label"]
    )
    tested = features.where("split = 'test'")
    return tuple(auc(with_margin(df, booster, keep=["customer_id", "label"])) for df in (tested, future))


def test_split_by_time_foretells_the_future_and_a_random_one_promises_too_much(panel):
    (_, low, high), (future, *_) = estimate_and_future(panel, "time")
    assert low < future < high
    (promised, low, _), (future, *_) = estimate_and_future(panel, "hash")
    assert future < low <= promised
