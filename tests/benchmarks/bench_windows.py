"""What windows of a table of events cost: `python tests/benchmarks/bench_windows.py [--customers 100000 1000000]`.

Of so many customers with twelve snapshots and ten events each the history with one window, and with twelve, in turn, on
the same session. Told is the least of three times each, and how many times as long twelve windows take as one.
"""

from __future__ import annotations

import argparse
import tempfile
import time

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from churn_spark.contract.columns import Column, Contract
from churn_spark.contract.history import EventPlan, HistoryPlan
from churn_spark.spark.history import history_of
from churn_spark.spark.session import get_session
from churn_spark.spark.tables import stored

SNAPSHOTS, EVENTS, TIMES = 12, 10, 3
ONE, TWELVE = (30,), tuple(range(30, 390, 30))
CONTRACT = Contract((Column(name="id", role="id"), Column(name="month", role="snapshot")))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--customers", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--cores", type=int, default=2)
    options = parser.parse_args()
    spark = get_session("bench_windows", conf={"spark.master": f"local[{options.cores}]"})
    with tempfile.TemporaryDirectory() as folder:
        for customers in options.customers:
            snapshots = stored(dated(spark, customers * SNAPSHOTS, SNAPSHOTS, "month"), f"{folder}/snapshots")
            events = stored(
                dated(spark, customers * EVENTS, EVENTS, "date").withColumn("amount", F.rand(2) * 90),
                f"{folder}/events",
            )
            least = {ONE: float("inf"), TWELVE: float("inf")}
            for windows in (*least,) * TIMES:
                least[windows] = min(least[windows], seconds(snapshots, events, windows))
            one, twelve = least.values()
            print(f"| {customers:,} | {one:.1f} s | {twelve:.1f} s | {twelve / one:.2f} |", flush=True)


def dated(spark: SparkSession, rows: int, each: int, day: str) -> DataFrame:
    """Rows of customers, `each` a customer, on days of a year: at the ends of months for snapshots."""
    number = F.col("id") % each
    when = number * 30 + 30 if day == "month" else F.floor(F.rand(1) * 390)
    start = F.lit("2025-01-01").cast("date")
    return spark.range(rows).select(
        F.format_string("C%08d", F.floor(F.col("id") / each)).alias("id"),
        F.date_add(start, when.cast("int")).alias(day),
    )


def seconds(snapshots: DataFrame, events: DataFrame, windows: tuple[int, ...]) -> float:
    plan = HistoryPlan(events=(EventPlan("orders", ("amount",), windows=windows),))
    started = time.monotonic()
    history = history_of(snapshots, CONTRACT, plan, events={"orders": events})
    history.write.format("noop").mode("overwrite").save()
    return time.monotonic() - started


if __name__ == "__main__":
    main()
