"""The tables as they are published, and the last look at them before anybody else can."""

from __future__ import annotations

import math
from functools import reduce

from pyspark.sql import Column, DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from churn_spark.contract.columns import Contract
from churn_spark.contract.published import REASONS, scores_schema
from churn_spark.errors import GateError
from churn_spark.spark.scoring.scores import REASON_PARTS
from churn_spark.spark.tables import small_table, with_comments

CUSTOMERS_PER_FILE = 250_000  # some 50 MB


def as_published(df: DataFrame, contract: Contract, *, customers: int) -> DataFrame:
    """Select `churn_scores`' columns with their types and comments, sorted by customer."""
    named = df.withColumn("customer_id", F.col(contract.id.name))
    return with_comments(_sorted(named, "customer_id", customers=customers), scores_schema(contract))


def reasons_table(
    made: DataFrame | None,
    carried: DataFrame | None,
    contract: Contract,
    *,
    spark: SparkSession,
    label_basis: str,
    run_id: str,
    customers: int,
) -> DataFrame:
    """`churn_reasons`: one row per customer and column, rank 0 the baseline; effects add up to the margin.

    `made` has `_reasons`, to be unfolded; `carried` are rows of an earlier date. Without either there are no rows, so
    that a date never shows the reasons of an earlier run.
    """
    parts = [] if carried is None else [carried.select("customer_id", *REASON_PARTS)]
    if made is not None and "_reasons" in made.columns:
        key = F.col(contract.id.name).alias("customer_id")
        placed = made.select(key, "_reasons")
        if not parts:  # sorted before there are more rows
            placed = _sorted(placed, "customer_id", customers=customers)
        unfolded = placed.select("customer_id", F.explode("_reasons").alias("r"))
        parts.append(unfolded.select("customer_id", "r.*"))
    if not parts:
        return small_table(spark, [], REASONS)
    rows = reduce(DataFrame.unionByName, parts)
    if carried is not None:
        rows = _sorted(rows, "customer_id", "rank", customers=customers)
    same = {"label_basis": F.lit(label_basis), "run_id": F.lit(run_id)}
    return with_comments(rows.withColumns(same), REASONS)


def with_previous(df: DataFrame, earlier: DataFrame | None, *, key: str) -> DataFrame:
    """Add `previous_probability`, the customer's newest in `earlier` (dates of `churn_scores`), and the change.

    Where `df` has it already, since all scores are carried forward, `earlier` need not be looked at.
    """
    now, previous = F.col("churn_probability"), F.col("previous_probability")
    if "previous_probability" not in df.columns:
        df = _newest_before(df, earlier, key=key)
    return df.withColumn("probability_change", now - previous)


def _newest_before(df: DataFrame, earlier: DataFrame | None, *, key: str) -> DataFrame:
    if earlier is None:
        return df.withColumn("previous_probability", F.lit(None).cast("double"))
    newest = F.max_by("churn_probability", "score_date").alias("previous_probability")
    return df.join(earlier.groupBy(F.col("customer_id").alias(key)).agg(newest), key, "left")


def _sorted(df: DataFrame, *order: str, customers: int) -> DataFrame:
    """Sorted by customer across files, for readers that look for one."""
    files = max(1, -(-customers // CUSTOMERS_PER_FILE))
    placed = df.repartitionByRange(files, "customer_id") if files > 1 else df.coalesce(1)
    return placed.sortWithinPartitions(*order)


def check_scores(
    staged: DataFrame, newest: DataFrame | None, *, customers: int, max_mean_shift: float | None
) -> int:
    """Look at the rows as they were written, before anybody else can; returns how many there are.

    Every live customer has one row, with a probability wherever the status is ok, and the mean probability is
    within `max_mean_shift` of that of the `newest` earlier date, chance (three standard errors) aside. Raises
    GateError.
    """
    p = F.col("churn_probability")
    bad = (F.col("score_status") == "ok") & p.isNull()
    counts = staged.agg(
        F.count("*").alias("rows"),
        F.count_distinct("customer_id").alias("ids"),
        F.count_if(bad).alias("bad"),
        *_mean_of(p),
    ).collect()[0]
    if not counts.rows == counts.ids == customers or counts.bad:
        raise GateError(
            f"{counts.rows} scored rows with {counts.ids} ids for {customers} customers, {counts.bad} without a "
            "probability: not published",
            fix="see error.txt; this should not happen, please report it",
        )
    if max_mean_shift is not None and newest is not None:
        before = newest.agg(*_mean_of(p), F.max("score_date").alias("date")).collect()[0]
        change, chance = _change(counts, before)
        if change > max_mean_shift + chance:
            raise GateError(
                f"the mean churn probability is {counts.mean:.3f}; on {before.date} it was {before.mean:.3f}: "
                "not published",
                where=f"scoring.max_mean_shift {max_mean_shift}",
                fix="look for a change in input or model; to accept it: --set scoring.max_mean_shift=null",
            )
    return int(counts.rows)


def _mean_of(p: Column) -> list[Column]:
    return [F.avg(p).alias("mean"), F.var_samp(p).alias("variance"), F.count(p).alias("n")]


def _change(now: Row, before: Row) -> tuple[float, float]:
    """By how much two means differ, and how much of it is chance; 0 where there is none to compare with."""
    if not now.n or not before.n:
        return 0.0, 0.0
    variance = sum((row.variance or 0.0) / row.n for row in (now, before))
    return abs(now.mean - before.mean), 3 * math.sqrt(variance)
