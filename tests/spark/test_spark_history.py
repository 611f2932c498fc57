"""History by Spark equals the kernel's to the bit, wherever the batches are cut."""

import datetime as dt

import pyarrow as pa
import pytest
from chispa import assert_df_equality
from pyspark.sql import SparkSession

from churn_spark.contract.columns import Column, Contract
from churn_spark.contract.history import EventPlan, HistoryPlan
from churn_spark.history.table import CUSTOMER, DAY
from churn_spark.spark.history import LEFT, dated_label, history_of, monthly_panel, whole_customers

COLUMNS = {"id": "id", "month": "snapshot", "spend": "numeric"}
CONTRACT = Contract(tuple(Column(name=n, role=r) for n, r in COLUMNS.items()))  # type: ignore[arg-type]
PLAN = HistoryPlan(
    numeric=("spend",), windows=(3,), events=(EventPlan("orders", ("amount",), windows=(30, 0)),)
)


def test_spark_makes_the_kernel_s_history(spark: SparkSession) -> None:
    january, february = dt.date(2026, 1, 31), dt.date(2026, 2, 28)
    df = spark.createDataFrame(
        [("a", january, 1.0), ("a", february, 4.0), ("b", january, 2.0)],
        "id string, month date, spend double",
    )
    orders = spark.createDataFrame(
        [("a", dt.date(2026, 1, 5), 2.5), ("b", dt.date(2026, 3, 1), 1.0)],
        "id string, date date, amount double",
    )
    rows = history_of(df, CONTRACT, PLAN, events={"orders": orders}).orderBy("id", "month").toPandas()
    assert rows["id"].tolist() == ["a", "a", "b"]
    assert rows["spend__change"].tolist()[1] == 3.0
    assert rows["orders__count_30d"].tolist() == [1.0, 0.0, 0.0]
    assert rows["orders__sum_amount_lifetime"].tolist() == [2.5, 2.5, 0.0]


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_no_customer_is_divided_however_the_batches_are_cut(size: int) -> None:
    customers = list("aaabccdddde")
    batch = pa.record_batch({CUSTOMER: customers, DAY: list(range(11))})
    cut = [batch.slice(i, size) for i in range(0, 11, size)]
    tables = list(whole_customers(cut))
    assert [c for t in tables for c in t.column(CUSTOMER).to_pylist()] == customers
    parts = [set(t.column(CUSTOMER).to_pylist()) for t in tables]
    assert sum(map(len, parts)) == len(set().union(*parts)) == 5
    assert list(whole_customers([batch.slice(0, 0)])) == []


def test_a_panel_made_of_orders_has_who_is_still_there_and_who_orders_no_more(spark: SparkSession) -> None:
    d = dt.date
    orders = spark.createDataFrame(
        [("a", d(2026, 1, 5), 2.0), ("a", d(2026, 1, 5), 1.0), ("a", d(2026, 3, 9), 4.0), ("b", d(2026, 1, 20), 5.0),
         ("c", d(2026, 5, 31), 1.0)],
        "id string, date date, amount double",
    )  # fmt: skip
    columns = {"id": "id", "month": "snapshot", "orders": "numeric", "amount": "numeric", "left": "label"}
    contract = Contract(tuple(Column(name=n, role=r) for n, r in columns.items()))  # type: ignore[arg-type]
    panel = monthly_panel(orders, contract, name="orders", values=["amount"], lead=0, horizon=60)
    rows = [
        ("a", d(2026, 1, 31), 2, 3.0, False),
        ("a", d(2026, 2, 28), 0, 0.0, False),
        ("a", d(2026, 3, 31), 1, 4.0, True),
        ("a", d(2026, 4, 30), 0, 0.0, None),
        ("b", d(2026, 1, 31), 1, 5.0, True),
        ("b", d(2026, 2, 28), 0, 0.0, True),
        ("c", d(2026, 5, 31), 1, 1.0, None),
    ]
    expected = spark.createDataFrame(
        rows, "id string, month date, orders bigint, amount double, left boolean"
    )
    assert_df_equality(panel, expected, ignore_row_order=True, ignore_nullable=True)


def test_a_date_of_leaving_labels_each_snapshot(spark: SparkSession) -> None:
    d = dt.date
    columns = {"id": "id", "month": "snapshot", "left_on": "date", "left": "label"}
    contract = Contract(tuple(Column(name=n, role=r) for n, r in columns.items()))  # type: ignore[arg-type]
    day = d(2026, 1, 31)
    cases = [  # lead 10, horizon 30: from February 11 to March 12
        (d(2026, 1, 31), False, True),  # is gone
        (d(2026, 2, 10), False, True),  # leaves before the horizon begins
        (d(2026, 2, 11), True, False),
        (d(2026, 3, 12), True, False),
        (d(2026, 3, 13), False, False),
        (None, False, False),
    ]
    df = spark.createDataFrame(
        [("a", day, when) for when, _, _ in cases], "id string, month date, left_on date"
    )
    made = {"date": "left_on", "lead": 10, "horizon": 30}
    rows = dated_label(df, contract, **made, until=d(2026, 3, 12)).select("left_on", "left", LEFT)
    expected = spark.createDataFrame(cases, f"left_on date, left boolean, {LEFT} boolean")
    assert_df_equality(rows, expected, ignore_row_order=True, ignore_nullable=True)
    early = dated_label(
        df, contract, **made, until=d(2026, 3, 11)
    )  # the horizon is not over, whoever left in it
    assert early.where("left is not null").count() == 0
