"""The generated customer table as a Spark job, for tables larger than one process should make."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
from pyspark.sql import DataFrame, SparkSession

from churn_spark.sample.customers import BLOCK, Form, check, customers, schema
from churn_spark.spark.session import get_session


def write_table(
    path: Path, rows: int, *, file_format: str, seed: int, months: int | None = None, form: Form = "clean"
) -> None:
    """Write `rows` customers into a folder of CSV or Parquet files by a Spark job."""
    table = sample_table(get_session(), rows, seed=seed, months=months, form=form)
    writer = table.write.mode("overwrite").option("header", True).option("escape", '"')
    writer.format(file_format).save(str(path))


def sample_table(
    spark: SparkSession, rows: int, *, seed: int, months: int | None = None, form: Form = "clean"
) -> DataFrame:
    """Make the table of `customers(0, rows, ...)` as a Spark job, 50,000 customers a partition."""
    check(rows, seed, months)
    blocks = -(-rows // BLOCK)

    def make(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for batch in batches:
            for first in batch["id"] * BLOCK:
                yield customers(first, min(BLOCK, rows - first), seed=seed, months=months, form=form)

    return spark.range(0, blocks, 1, -(-blocks // 50)).mapInPandas(
        make, schema=schema(months=months, form=form)
    )
