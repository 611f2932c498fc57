"""Delta and Iceberg: a partition replaced, and put back, by the versions that the format keeps itself.

A format's version here is Delta's version number or Iceberg's snapshot id, as a string.
"""

from __future__ import annotations

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from churn_spark.errors import ResourceError
from churn_spark.spark.tables import Tables, grown
from churn_spark.spark.versions import UNNAMED, parts

LOOKED_BACK = 50  # versions of a table that a rollback looks through


def format_versions(tables: Tables, spark: SparkSession, table: str) -> list[str]:
    """The versions the format keeps, the newest first; none where there is no table."""
    if not tables.exists(spark, table):
        return []
    name = tables.sql_name(table)
    if tables.format == "delta":
        history = spark.sql(f"DESCRIBE HISTORY {name}").select("version").orderBy(F.desc("version"))
    else:
        history = spark.sql(f"SELECT snapshot_id FROM {name}.snapshots ORDER BY committed_at DESC")
    return [str(row[0]) for row in history.collect()]


def run_in(tables: Tables, spark: SparkSession, table: str, partition: str, version: str = "") -> str | None:
    """The run whose rows a partition holds, in the present or an older version; None where it has none."""
    if not tables.exists(spark, table):
        return None
    rows = _rows(tables, spark, table, partition, version)
    run_id = F.col("run_id") if "run_id" in rows.columns else F.lit(UNNAMED)
    first = rows.select(run_id).first()
    return None if first is None else str(first[0])


def replace_in_format(tables: Tables, table: str, partition: str, df: DataFrame) -> None:
    """Put rows (without the partition's column) in the place of a partition's, in one commit of the format.

    Raises ResourceError where the format refuses.
    """
    column, value = parts(partition)
    day, name = F.lit(value).cast("date"), tables.sql_name(table)
    rows = df.withColumn(column, day)
    try:
        if tables.exists(df.sparkSession, table):
            grown(rows, name).writeTo(name).overwrite(F.col(column) == day)
        else:
            rows.writeTo(name).using(tables.format).partitionedBy(F.col(column)).create()
    except Exception as problem:  # of whatever kind the format raises
        raise ResourceError(
            f"{tables.format} refused the rows of {partition}: {_named(problem)}",
            where=tables.location(table),
            fix="see error.txt; what was published before is as it was",
        ) from problem


def put_back(tables: Tables, spark: SparkSession, table: str, partition: str, version: str | None) -> None:
    """Give a partition the rows it had in an older version of the table; none where there was no table."""
    if not tables.exists(spark, table) or format_versions(tables, spark, table)[:1] == [version]:
        return
    column, _ = parts(partition)
    rows = _rows(tables, spark, table, partition, version or "")
    rows = rows if version else rows.limit(0)
    replace_in_format(tables, table, partition, rows.drop(column))


def kept_runs(tables: Tables, spark: SparkSession, table: str, partition: str) -> dict[str, str]:
    """Run -> the newest version of the table in which the partition held its rows."""
    runs: dict[str, str] = {}
    for version in format_versions(tables, spark, table)[:LOOKED_BACK]:
        run_id = run_in(tables, spark, table, partition, version)
        if run_id is not None:
            runs.setdefault(run_id, version)
    return runs


def _rows(tables: Tables, spark: SparkSession, table: str, partition: str, version: str) -> DataFrame:
    column, value = parts(partition)
    name = tables.sql_name(table)
    rows = spark.sql(f"SELECT * FROM {name} VERSION AS OF {version}") if version else spark.table(name)
    return rows.where(F.col(column) == F.lit(value).cast("date"))


def _named(problem: Exception) -> str:
    """A failure's class or condition, which hold no value."""
    condition = getattr(problem, "getCondition", getattr(problem, "getErrorClass", lambda: None))()
    return str(condition or type(problem).__name__)
