"""Splits: by hash they depend on the key alone, by time a test is a forecast."""

import datetime as dt

import pytest

from churn_spark.columns import Column, Contract
from churn_spark.config import Split
from churn_spark.errors import InputError
from churn_spark.splits import with_split

ID = Column(role="id", name="customer_id")
SNAPSHOT = Column(role="snapshot", name="day")


def test_with_split_by_hash_ignores_partitioning_and_other_rows(spark):
    ids = spark.range(3000).selectExpr("concat('C', id) AS customer_id")
    contract, split = Contract((ID,)), Split()
    first = with_split(ids, contract, split=split)
    other = with_split(ids.repartition(7).where("customer_id like '%7'"), contract, split=split)
    assert other.join(first, ["customer_id", "split"], "left_anti").count() == 0
    shares = {r["split"]: r["count"] / 3000 for r in first.groupBy("split").count().collect()}
    assert shares == pytest.approx({"train": 0.6, "validation": 0.2, "test": 0.2}, abs=0.03)


def test_with_split_seed_gives_another_split(spark):
    ids = spark.range(200).selectExpr("concat('C', id) AS customer_id")
    one, two = (with_split(ids, Contract((ID,)), split=Split(seed=s)) for s in (1, 2))
    assert one.join(two, ["customer_id", "split"]).count() < 200


def panel(spark, months):
    days = [dt.date(2025, m, 1) for m in months]
    rows = [(f"C{i}", day) for i in range(50) for day in days]
    return spark.createDataFrame(rows, "customer_id string, day date")


def test_with_split_by_time_keeps_a_gap_before_each_later_part(spark):
    df = with_split(panel(spark, range(1, 11)), Contract((ID, SNAPSHOT)), split=Split(horizon_days=30))
    bounds = {r[0]: (r[1], r[2]) for r in df.groupBy("split").agg({"day": "min"}).join(
        df.groupBy("split").agg({"day": "max"}), "split").collect()}  # fmt: skip
    assert bounds["train"][1] + dt.timedelta(30) <= bounds["validation"][0]
    assert bounds["validation"][1] + dt.timedelta(30) <= bounds["test"][0]


def test_with_split_group_time_puts_no_customer_on_two_sides(spark):
    df = with_split(panel(spark, range(1, 11)), Contract((ID, SNAPSHOT)), split=Split(mode="group_time"))
    sides = df.where("split is not null").groupBy("customer_id").agg({"split": "count", "customer_id": "max"})
    assert sides.count() > 0
    distinct = df.where("split is not null").select("customer_id", "split").distinct()
    assert distinct.count() == distinct.select("customer_id").distinct().count()


def test_with_split_by_time_refuses_too_few_dates(spark):
    with pytest.raises(InputError, match="too few"):
        with_split(panel(spark, [1]), Contract((ID, SNAPSHOT)), split=Split())


def test_with_split_by_time_refuses_a_table_without_snapshot(spark):
    with pytest.raises(InputError, match="snapshot"):
        with_split(panel(spark, [1]), Contract((ID,)), split=Split(mode="time"))
