"""Who comes first: ranks, deciles and the customers within capacity, with no partition that holds the table."""

from __future__ import annotations

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from churn_spark.spark.tables import stored


def with_ranks(df: DataFrame, *, key: str, folder: str) -> DataFrame:
    """Add `risk_rank` (1 = highest churn_probability; ties by key) and `risk_decile`; null where unscorable."""
    ranks = _ranks(df.where("churn_probability is not null"), "churn_probability", key=key, folder=folder)
    decile = F.ceil(F.col("_rank") * 10 / F.col("_total")).cast("int")
    return df.join(
        ranks.select(key, F.col("_rank").alias("risk_rank"), decile.alias("risk_decile")), key, "left"
    )


def within_capacity(df: DataFrame, *, key: str, capacity: int | None, folder: str) -> DataFrame:
    """Keep `recommended` only for the `capacity` customers with the highest expected value."""
    if capacity is None:
        return df
    ranks = _ranks(df.where("recommended"), "expected_value", key=key, folder=folder)
    chosen = ranks.where(F.col("_rank") <= capacity).select(key, F.lit(True).alias("_chosen"))
    return df.join(chosen, key, "left").withColumn(
        "recommended", F.coalesce("_chosen", F.lit(False))
    ).drop("_chosen")  # fmt: skip


def _ranks(df: DataFrame, value: str, *, key: str, folder: str) -> DataFrame:
    """`_rank` of each key by value, highest first, ties by key, and `_total`; no partition holds the table.

    Rows are put in order across partitions, of which only the sizes are added up. A key belongs to the order, so
    that a value that many share is spread as well. Where the partitions begin is sampled anew each time they are
    made: they are written to `folder` once and read from there.
    """
    order = [F.desc(value), F.col(key)]
    placed = df.select(key, value).repartitionByRange(*order).withColumn("_part", F.spark_partition_id())
    written = stored(placed, folder)
    before = Window.orderBy("_part").rowsBetween(Window.unboundedPreceding, -1)
    sizes = written.groupBy("_part").count()
    offsets = sizes.select(
        "_part",
        F.coalesce(F.sum("count").over(before), F.lit(0)).alias("_offset"),
        F.sum("count").over(Window.partitionBy()).alias("_total"),
    )
    place = F.row_number().over(Window.partitionBy("_part").orderBy(*order))
    ranked = written.withColumn("_place", place).join(F.broadcast(offsets), "_part")
    return ranked.select(key, (F.col("_offset") + F.col("_place")).alias("_rank"), "_total")
