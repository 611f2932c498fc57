"""The tables as they are published, and the last look at them before anybody else can."""

from __future__ import annotations

import math
from typing import NamedTuple

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from churn_spark.contract.columns import Contract
from churn_spark.contract.published import REASONS, scores_schema
from churn_spark.errors import GateError
from churn_spark.spark.tables import small_table, with_comments

CUSTOMERS_PER_FILE = 250_000  # some 50 MB


def as_published(df: DataFrame, contract: Contract, *, customers: int) -> DataFrame:
    """Select `churn_scores`' columns with their types and comments, sorted by customer."""
    named = df.withColumn("customer_id", F.col(contract.id.name))
    return with_comments(_sorted(named, customers=customers), scores_schema(contract))


def reasons_table(
    scored: DataFrame, contract: Contract, *, label_basis: str, run_id: str, customers: int
) -> DataFrame:
    """`churn_reasons`: one row per customer and column, rank 0 the baseline; effects add up to the margin.

    Without `_reasons` there are no rows, so that a date never shows the reasons of an earlier run.
    """
    if "_reasons" not in scored.columns:
        return small_table(scored.sparkSession, [], REASONS)
    key = F.col(contract.id.name).alias("customer_id")
    placed = _sorted(scored.select(key, "_reasons"), customers=customers)
    unfolded = placed.select("customer_id", F.explode("_reasons").alias("r")).select("customer_id", "r.*")
    same = {"label_basis": F.lit(label_basis), "run_id": F.lit(run_id)}
    return with_comments(unfolded.withColumns(same), REASONS)


def with_previous(df: DataFrame, earlier: DataFrame | None, *, key: str) -> DataFrame:
    """Add `previous_probability`, the customer's newest in `earlier` (dates of `churn_scores`), and the change."""
    previous = F.lit(None).cast("double")
    if earlier is not None:
        of_customer = earlier.groupBy(F.col("customer_id").alias(key))
        newest = of_customer.agg(F.max_by("churn_probability", "score_date").alias("previous_probability"))
        df, previous = df.join(newest, key, "left"), F.col("previous_probability")
    return df.withColumns(
        {"previous_probability": previous, "probability_change": F.col("churn_probability") - previous}
    )


def _sorted(df: DataFrame, *, customers: int) -> DataFrame:
    """Sorted by customer across files, for readers that look for one."""
    files = max(1, -(-customers // CUSTOMERS_PER_FILE))
    placed = df.repartitionByRange(files, "customer_id") if files > 1 else df.coalesce(1)
    return placed.sortWithinPartitions("customer_id")


def check_scores(
    staged: DataFrame, earlier: DataFrame | None, *, customers: int, max_mean_shift: float | None
) -> int:
    """Look at the rows as they were written, before anybody else can; returns how many there are.

    Every live customer has one row, with a probability wherever the status is ok, and the mean probability is
    within `max_mean_shift` of the previous date's in `earlier`, chance (three standard errors) aside. Raises
    GateError.
    """
    bad = (F.col("score_status") == "ok") & F.col("churn_probability").isNull()
    counts = staged.agg(
        F.count("*").alias("rows"),
        F.count_distinct("customer_id").alias("ids"),
        F.count_if(bad).alias("bad"),
    ).collect()[0]
    if not counts.rows == counts.ids == customers or counts.bad:
        raise GateError(
            f"{counts.rows} scored rows with {counts.ids} ids for {customers} customers, {counts.bad} without a "
            "probability: not published",
            fix="see error.txt; this should not happen, please report it",
        )
    if max_mean_shift is not None and earlier is not None:
        date = earlier.agg(F.max("score_date")).collect()[0][0]
        now, before = _mean(staged), _mean(earlier.where(F.col("score_date") == F.lit(date)))
        chance = 3 * math.sqrt(now.variance_of_mean + before.variance_of_mean)
        if abs(now.mean - before.mean) > max_mean_shift + chance:
            raise GateError(
                f"the mean churn probability is {now.mean:.3f}; on {date} it was {before.mean:.3f}: not published",
                where=f"scoring.max_mean_shift {max_mean_shift}",
                fix="look for a change in input or model; to accept it: --set scoring.max_mean_shift=null",
            )
    return int(counts.rows)


class _Mean(NamedTuple):
    mean: float
    variance_of_mean: float


def _mean(scores: DataFrame) -> _Mean:
    """Of churn_probability; nan where there is none, which no comparison holds for."""
    p = F.col("churn_probability")
    row = scores.agg(
        F.avg(p).alias("mean"), F.var_samp(p).alias("variance"), F.count(p).alias("n")
    ).collect()[0]
    if not row.n:
        return _Mean(math.nan, math.nan)
    return _Mean(row.mean, (row.variance or 0.0) / row.n)
