"""Who is scored: customers who have left by their label are not, unless they are asked for."""

import datetime as dt

import pytest

from churn_spark.contract.columns import Column, Contract
from churn_spark.errors import InputError
from churn_spark.spark.scoring.live import live_customers

DAY = dt.date(2026, 3, 1)
TABLE = (Column(name="id", role="id"), Column(name="left", role="label"))
PANEL = (*TABLE, Column(name="seen", role="snapshot"))


def live(df, columns, **options):
    found = live_customers(df, Contract(columns), DAY, horizon=30, **{"include_left": False, **options})
    return sorted(r.id for r in found.df.collect()), found.customers, found.left


def test_a_label_that_says_left_takes_a_customer_off_the_list(spark):
    df = spark.createDataFrame([("a", True), ("b", False), ("c", None)], "id string, left boolean")
    assert live(df, TABLE) == (["b", "c"], 2, 1)
    assert live(df, TABLE, include_left=True) == (["a", "b", "c"], 3, 0)
    assert live(df.drop("left"), TABLE[:1]) == (["a", "b", "c"], 3, 0)


def test_a_snapshot_says_who_left_only_after_its_horizon(spark):
    rows = [("a", True, "2026-01-15"), ("b", True, "2026-02-15"), ("c", True, "2026-01-01"), ("c", False, "2026-02-01"),
            ("d", False, "2026-03-02")]  # fmt: skip
    df = spark.createDataFrame(rows, "id string, left boolean, seen string").selectExpr(
        "id", "left", "date(seen) AS seen"
    )
    assert live(df, PANEL) == (["b", "c"], 2, 1)
    assert live(df, PANEL, include_left=True) == (["a", "b", "c"], 3, 0)


def test_a_table_of_former_customers_is_refused_with_the_way_out(spark):
    with pytest.raises(InputError, match=r"all 1 customers have left.*scoring\.include_left=true"):
        live(spark.createDataFrame([("a", True)], "id string, left boolean"), TABLE)
