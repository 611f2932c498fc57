"""Splits: by hash they depend on the key alone, by time a test is a forecast."""

import datetime as dt

import pytest

from churn_spark.contract import folds
from churn_spark.contract.columns import Column, Contract
from churn_spark.errors import InputError
from churn_spark.settings.sections import Split
from churn_spark.spark.training.splits import SPLITS, count_splits, fold_of, with_split

ID = Column(role="id", name="customer_id")
SNAPSHOT = Column(role="snapshot", name="day")
PANEL = Contract((ID, SNAPSHOT))


def shares(df):
    total = df.count()
    return {r["split"]: r["count"] / total for r in df.groupBy("split").count().collect()}


def test_with_split_by_hash_ignores_partitioning_and_other_rows(spark):
    ids = spark.range(3000).selectExpr("concat('C', id) AS customer_id")
    contract, split = Contract((ID,)), Split(test=0.3)
    first = with_split(ids, contract, split=split)
    other = with_split(ids.repartition(7).where("customer_id like '%7'"), contract, split=split)
    assert other.join(first, ["customer_id", "split"], "left_anti").count() == 0
    wanted = {"learn": 0.7, "test": 0.3}
    assert shares(first) == pytest.approx(wanted, abs=0.03)


def test_fold_of_is_the_same_in_spark_and_in_a_process(spark):
    ids = ["C1", "00123", "Ünal", "", "🙂"]
    df = spark.createDataFrame([(i,) for i in ids], "customer_id string")
    found = {
        r.customer_id: r.fold
        for r in df.withColumn("fold", fold_of(Contract((ID,)), Split(seed=7))).collect()
    }
    assert found == {i: folds.fold_of(i, seed=7) for i in ids}


HOUSEHOLD = Column(role="group", name="household")


def test_with_split_keeps_a_group_together_and_a_customer_without_one_alone(spark):
    rows = spark.range(600).selectExpr("concat('C', id) AS customer_id",
                                       "if(id < 300, concat('H', id % 100), null) AS household")  # fmt: skip
    split = with_split(rows, Contract((ID, HOUSEHOLD)), split=Split(test=0.4))
    found = split.withColumn("fold", fold_of(Contract((ID, HOUSEHOLD)), Split())).collect()
    of_household = {}
    for row in found:
        of_household.setdefault(row.household, set()).add((row.split, row.fold))
    alone = of_household.pop(None)
    assert len(of_household) == 100
    assert all(len(parts) == 1 for parts in of_household.values())
    assert len(alone) == 10


def test_with_split_without_a_group_parts_households(spark):
    rows = spark.range(300).selectExpr("concat('C', id) AS customer_id", "concat('H', id % 100) AS household")
    parts = with_split(rows, Contract((ID,)), split=Split(test=0.4)).groupBy("household").agg(
        {"split": "approx_count_distinct"})  # fmt: skip
    assert parts.where("`approx_count_distinct(split)` > 1").count() > 20


def test_with_split_seed_gives_another_split(spark):
    ids = spark.range(200).selectExpr("concat('C', id) AS customer_id")
    one, two = (with_split(ids, Contract((ID,)), split=Split(seed=s)) for s in (1, 2))
    assert one.join(two, ["customer_id", "split"]).count() < 200


def panel(spark, months, customers=50):
    days = [dt.date(2025, m, 1) for m in months]
    rows = [(f"C{i}", day, i % 3 == 0) for i in range(customers) for day in days]
    return spark.createDataFrame(rows, "customer_id string, day date, churn boolean")


def periods(df):
    """split -> the months it holds."""
    rows = df.select("split", "day").distinct().collect()
    return {name: sorted(r.day.month for r in rows if r.split == name) for name in {r.split for r in rows}}


def test_with_split_by_time_keeps_a_gap_before_each_later_part(spark):
    split = Split(horizon_days=32, observed_until=dt.date(2025, 12, 31))
    found = periods(with_split(panel(spark, range(1, 11)), PANEL, split=split))
    assert found == {
        "learn": [1, 2, 3, 4, 5, 6, 7], "gap": [8], "test": [9, 10]
    }  # fmt: skip


@pytest.mark.parametrize(
    ("until", "censored"),
    [
        (None, [10]),
        (dt.date(2025, 10, 31), []),
        (dt.date(2025, 10, 30), [10]),
        (dt.date(2025, 8, 31), [9, 10]),
    ],
)
def test_with_split_never_uses_an_outcome_that_was_not_known_yet(spark, until, censored):
    df = panel(spark, range(1, 11))
    for mode in ("time", "group_time", "hash"):
        split = Split(mode=mode, horizon_days=30, observed_until=until)
        assert periods(with_split(df, PANEL, split=split)).get("censored", []) == censored


def test_with_split_group_time_puts_no_customer_on_two_sides(spark):
    df = with_split(panel(spark, range(1, 11), 200), PANEL, split=Split(mode="group_time"))
    assert {"other_side", *SPLITS} <= set(shares(df))
    used = df.where(df.split.isin(*SPLITS)).select("customer_id", "split").distinct()
    assert used.count() == used.select("customer_id").distinct().count() > 100
    by_time = with_split(panel(spark, range(1, 11), 200), PANEL, split=Split())
    later = used.where("split = 'test'").join(by_time.where("split = 'test'"), "customer_id", "left_anti")
    assert later.count() == 0


@pytest.mark.parametrize(("months", "horizon"), [([1, 2], 30), (range(1, 6), 90), ([1], 30)])
def test_with_split_by_time_refuses_too_few_dates(spark, months, horizon):
    with pytest.raises(InputError, match="too few"):
        with_split(panel(spark, months), PANEL, split=Split(horizon_days=horizon))


def test_with_split_by_time_makes_do_with_two_dates(spark):
    uneven = panel(spark, [1], 200).union(panel(spark, [3]))
    found = periods(with_split(uneven, PANEL, split=Split(horizon_days=28, observed_until="2025-03-31")))
    assert found == {"learn": [1], "test": [3]}


def test_with_split_by_time_refuses_a_table_without_snapshot(spark):
    with pytest.raises(InputError, match="snapshot"):
        with_split(panel(spark, [1]), Contract((ID,)), split=Split(mode="time"))


def test_count_splits_counts_every_row_and_wants_both_classes(spark):
    df = with_split(panel(spark, range(1, 11)), PANEL, split=Split(horizon_days=30))
    counts = count_splits(df, "churn")
    assert sum(counts.values()) == 500
    assert counts["censored"] == 50
    with pytest.raises(InputError, match="learn split has 0 churners"):
        count_splits(df.withColumn("churn", df.churn & (df.split != "learn")), "churn")


def test_fold_of_a_customer_is_the_same_wherever_the_row_is(spark):
    ids = spark.range(3000).selectExpr("concat('C', id) AS customer_id")
    placed = ids.withColumn("fold", fold_of(Contract((ID,)), Split()))
    counts = {r.fold: r["count"] for r in placed.groupBy("fold").count().collect()}
    assert sorted(counts) == [0, 1, 2, 3, 4]
    assert min(counts.values()) > 500
    again = ids.repartition(5).withColumn("fold", fold_of(Contract((ID,)), Split()))
    assert again.join(placed, ["customer_id", "fold"], "left_anti").count() == 0
