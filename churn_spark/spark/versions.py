"""Where the versions of a published partition lie, and which of them is live.

A version is the run that wrote it; its name stands before each of its files, so that nothing but Parquet files need
lie in a published folder. What was replaced is kept below `_versions`, what is not published yet below `_staged`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from pyspark.sql import SparkSession

from churn_spark.spark import storage
from churn_spark.spark.tables import Tables

STAGED = "_staged"
COLUMNS = "00-columns.parquet"  # the first file of every version, by name: the columns, no rows
UNNAMED = "0-unnamed"  # a folder that was written by something else
DATA_FILE = re.compile(r"(.+)-\d{5}\.parquet")


class Live(NamedTuple):
    """A partition as readers get it; `version` is empty where its data files are gone."""

    partition: str
    version: str
    folder: str


def staged(tables: Tables) -> str:
    """Not in the run's scratch folder: what a journal names must outlive a run that was killed."""
    return storage.join(tables.store, STAGED, tables.run_id)


def versions(tables: Tables, table: str, partition: str) -> str:
    """The folder of the versions that are kept."""
    return storage.join(tables.store, "_versions", table, partition)


def version_in(folder: str) -> str | None:
    """The version a folder holds; None where there is no folder, or no data in it."""
    files = [n for n in storage.data_files(folder) if n != COLUMNS]
    names = [match[1] for n in files if (match := DATA_FILE.fullmatch(n))]
    return names[0] if names else UNNAMED if files else None


def live_folders(tables: Tables, spark: SparkSession | None, table: str) -> Iterator[Live]:
    """Every partition of a Parquet table, the newest first."""
    if tables.in_catalog:
        if spark is None or not tables.exists(spark, table):
            return
        rows = spark.sql(f"SHOW PARTITIONS {tables.sql_name(table)}").collect()
        for partition in sorted((str(row[0]) for row in rows), reverse=True):
            folder = partition_location(spark, tables.sql_name(table), partition)
            if folder:
                yield Live(partition, folder.rpartition("/")[2], folder)
        return
    location = tables.location(table)
    for partition in sorted((n for n in storage.names(location) if "=" in n), reverse=True):
        folder = storage.join(location, partition)
        yield Live(partition, version_in(folder) or "", folder)


def partition_location(spark: SparkSession, name: str, partition: str) -> str | None:
    """Where a catalog table's partition lies; None where it has no such partition."""
    column, value = parts(partition)
    if not any(row[0] == partition for row in spark.sql(f"SHOW PARTITIONS {name}").collect()):
        return None
    described = spark.sql(f"DESCRIBE TABLE EXTENDED {name} PARTITION ({column} = '{value}')").collect()
    return next((row["data_type"] for row in described if row["col_name"] == "Location"), None)


def parts(partition: str) -> tuple[str, str]:
    """Column and value of a Hive-style folder's name."""
    column, _, value = partition.partition("=")
    return column, value
