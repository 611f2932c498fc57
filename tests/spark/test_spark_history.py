"""History by Spark equals the kernel's to the bit, wherever the batches are cut."""

import datetime as dt

import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from churn_spark.contract.columns import Column, Contract
from churn_spark.history.plan import EventPlan, Plan
from churn_spark.history.table import CUSTOMER, DAY
from churn_spark.spark.history import history_of, whole_customers

COLUMNS = {"id": "id", "month": "snapshot", "spend": "numeric"}
CONTRACT = Contract(tuple(Column(name=n, role=r) for n, r in COLUMNS.items()))  # type: ignore[arg-type]
PLAN = Plan(numeric=("spend",), windows=(3,), events=(EventPlan("orders", ("amount",), windows=(30, 0)),))


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
