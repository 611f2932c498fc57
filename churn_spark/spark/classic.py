"""What only a Spark in this process has: Java, RDDs, job groups. The one module that knows of them.

Under Spark Connect there is none of it: what can be known in another way is, the rest is refused in words.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from churn_spark.errors import ConfigError

if TYPE_CHECKING:
    from pyspark import SparkContext


def is_connect(spark: SparkSession) -> bool:
    """Whether the session is a client of Spark Connect."""
    return "connect" in type(spark).__module__.split(".")


def context(spark: SparkSession, *, needed_by: str) -> SparkContext:
    """The session's context. Raises ConfigError under Spark Connect."""
    if is_connect(spark):
        raise ConfigError(
            f"{needed_by} needs Spark's barrier mode, which Spark Connect and serverless clusters do not have",
            where="spark.remote",
            fix="run it on a classic cluster; the model that it leaves is scored here",
        )
    return spark.sparkContext


def submitted() -> dict[str, str]:
    """What spark-submit or its defaults file has set already; empty outside spark-submit."""
    from pyspark import SparkConf, SparkContext

    if SparkContext._gateway is None and "PYSPARK_GATEWAY_PORT" not in os.environ:
        return {}
    SparkContext._ensure_initialized()
    return dict(SparkConf(loadDefaults=True).getAll())


def default_parallelism(spark: SparkSession) -> int:
    """How many cores the executors have; of a Connect server, how many parts it divides a range into."""
    if not is_connect(spark):
        return int(spark.sparkContext.defaultParallelism)
    parts = spark.range(1 << 16).select(F.spark_partition_id().alias("part"))
    last = parts.agg(F.max("part")).first()
    return 1 + int(last[0]) if last else 1


def active_tasks(spark: SparkSession) -> tuple[int, int]:
    """How many tasks of the stages that run now are done, and how many there are; (0, 0) where Spark can't say."""
    try:
        tracker = spark.sparkContext.statusTracker()
        stages = [info for number in tracker.getActiveStageIds() if (info := tracker.getStageInfo(number))]
        return sum(s.numCompletedTasks for s in stages), sum(s.numTasks for s in stages)
    except Exception:  # Spark Connect has none, and Java may be gone
        return 0, 0


def ship(spark: SparkSession, archive: Path) -> None:
    """Let the executors import what a zip holds."""
    if is_connect(spark):
        spark.addArtifacts(str(archive), pyfile=True)
    else:
        spark.sparkContext.addPyFile(str(archive))


def hadoop(path: str) -> tuple[Any, Any]:
    """Hadoop's file system of a path, and the path as it wants it. Raises ConfigError under Spark Connect."""
    spark = SparkSession.builder.getOrCreate()
    if is_connect(spark):
        raise ConfigError(
            "this machine has to open what it reads and publishes itself, since Spark Connect lends no file system",
            where=path,
            fix="give a folder that this machine and the server both see, as a mounted volume, or a catalog's name",
        )
    jvm: Any = spark._jvm
    hadoop_path = jvm.org.apache.hadoop.fs.Path(path)
    return hadoop_path.getFileSystem(spark.sparkContext._jsc.hadoopConfiguration()), hadoop_path


def parquet_schema(spark: SparkSession, path: str) -> str:
    """The schema in the footer of a Parquet file that only Java can open, in Parquet's own words."""
    jvm: Any = spark._jvm
    fs, hadoop_path = hadoop(path)
    file = jvm.org.apache.parquet.hadoop.util.HadoopInputFile.fromPath(hadoop_path, fs.getConf())
    reader = jvm.org.apache.parquet.hadoop.ParquetFileReader.open(file)
    try:
        return str(reader.getFooter().getFileMetaData().getSchema().toString())
    finally:
        reader.close()
