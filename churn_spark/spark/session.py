"""The Spark session: every setting we rely on, in one place."""

from __future__ import annotations

import locale
import os
import sys
import tempfile
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import pyarrow as pa
from pyspark.logger import PySparkLogger
from pyspark.sql import DataFrame, SparkSession, functions

import churn_spark
from churn_spark.errors import ConfigError
from churn_spark.settings.layers import conf_folder
from churn_spark.spark.classic import default_parallelism, ship, submitted
from churn_spark.spark.executors import check_executors

BROADCAST_BYTES = 64_000_000
REMOTE = "spark.remote"
# Print each failed query's message to standard error, and with it the value that could not be cast.
QUERY_LOGGERS = ("DataFrameQueryContextLogger", "SQLQueryContextLogger")

# Needed for correct results anywhere; none of them is a matter of taste.
REQUIRED = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
    "spark.sql.caseSensitive": "false",
    "spark.sql.files.ignoreCorruptFiles": "false",
    "spark.sql.files.ignoreMissingFiles": "false",
    # Spark refuses a whole file for one column of nanoseconds, as pandas writes them; see sources._with_moments.
    "spark.sql.legacy.parquet.nanosAsLong": "true",
    # Java never compiles a longer method, and validation in one pass is generated as one.
    "spark.sql.codegen.hugeMethodLimit": "8000",
}

# Read when the context starts; a platform that has started one already keeps its own.
STARTUP = {
    "spark.log.level": "ERROR",
    "spark.ui.showConsoleProgress": "false",
    "spark.hadoop.parquet.page.verify-checksum.enabled": "true",
    "spark.scheduler.barrier.maxConcurrentTasksCheck.interval": "1s",
    "spark.scheduler.barrier.maxConcurrentTasksCheck.maxFailures": "2",
    "spark.speculation": "false",
    "spark.redaction.regex": "(?i)secret|password|token|api_?key|access[.]key",
    "spark.executorEnv.TOKENIZERS_PARALLELISM": "false",
}

# What a laptop wants: no web server, as many shuffle partitions as it can work on, and a Java that compiles
# quickly instead of well: half the time for thousands of rows, twice for millions (README: How fast).
LOCAL = {
    "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=240m -XX:+UseSerialGC",
    "spark.ui.enabled": "false",
    "spark.driver.memory": "3g",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.sql.shuffle.partitions": str(max(2, 2 * (os.cpu_count() or 1))),
    "spark.sql.files.maxPartitionBytes": "32m",
}


def get_session(app_name: str = "churn_spark", *, conf: Mapping[str, str] | None = None) -> SparkSession:
    """Return the running session (on a platform) or start one; `conf` wins over the defaults here.

    The master comes from spark-submit or the platform, and is `local[*]` where neither names one. With
    `spark.remote`, or SPARK_REMOTE in the environment, it is a client of that Spark Connect server.
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    given = {k: v for k, v in (conf or {}).items() if k != REMOTE}
    server = (conf or {}).get(REMOTE, os.environ.get("SPARK_REMOTE", ""))
    spark = SparkSession.getActiveSession()
    if spark is None:
        spark = _connected(server) if server else _started(app_name, given)
    return _with(spark, {**REQUIRED, **given})


def _connected(server: str) -> SparkSession:
    """A session of a Spark Connect server: what is read when Spark starts is the server's own."""
    try:
        import pyspark.sql.connect.session  # noqa: F401
    except ImportError as lacking:
        raise ConfigError(
            "this Python lacks a package of Spark Connect's client",
            where=REMOTE,
            fix="pip install -c constraints.txt 'churn-spark[connect]'",
        ) from lacking
    spark = SparkSession.builder.remote(server).getOrCreate()
    ship_package(spark)
    check_executors(spark)
    return spark


def _started(app_name: str, conf: Mapping[str, str]) -> SparkSession:
    if not {"SPARK_CONF_DIR", "SPARK_HOME"} & set(os.environ):
        os.environ["SPARK_CONF_DIR"] = str(conf_folder())
    if locale.nl_langinfo(locale.CODESET) != "UTF-8":  # Java reads the names of files by it
        os.environ["LC_ALL"] = "C.UTF-8"
    builder = SparkSession.builder.appName(app_name)
    known = submitted()
    is_local = known.get("spark.master", "local").startswith("local")
    if is_local:
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    defaults = {**STARTUP, **(LOCAL if is_local else {})}
    if (Path(os.environ.get("SPARK_CONF_DIR", "")) / "log4j2.properties").is_file():
        del defaults["spark.log.level"]
    for key, value in {**{k: v for k, v in defaults.items() if k not in known}, **REQUIRED}.items():
        builder = builder.config(key, value)
    for key, value in conf.items():
        builder = builder.config(key, value)
    spark = builder.getOrCreate()
    if not str(spark.conf.get("spark.master", "local")).startswith("local["):
        ship_package(spark)
        check_executors(spark)
    return spark


@contextmanager
def temporary_settings(spark: SparkSession, conf: Mapping[str, str]) -> Iterator[None]:
    """These settings, which Spark has a default for, for a while; then those that were there."""
    before = {key: str(spark.conf.get(key)) for key in conf}
    _with(spark, conf)
    try:
        yield
    finally:
        _with(spark, before)


def slots(spark: SparkSession) -> int:
    """How many tasks can run at once."""
    per_task = int(spark.conf.get("spark.task.cpus", "1") or 1)
    return max(1, default_parallelism(spark) // per_task)


def warm_workers(spark: SparkSession, call: Callable[[], object]) -> threading.Thread | None:
    """Fork this machine's Python workers and have each make a call, in the background, while Java is busy alone.

    A worker imports the call's module and keeps what it loads. One slot stays free for other jobs. It is no loss
    where this fails.
    """
    workers = slots(spark) - 1
    if not workers or not str(spark.conf.get("spark.master", "")).startswith("local"):
        return None

    def called(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        call()
        yield from batches

    def run() -> None:
        with suppress(Exception):
            calls = spark.range(workers, numPartitions=workers).mapInArrow(called, "id long")
            calls.write.format("noop").mode("overwrite").save()

    thread = threading.Thread(target=run, name="warm-workers", daemon=True)
    thread.start()
    return thread


def broadcast_if_small(df: DataFrame, size: int) -> DataFrame:
    """The table of `size` bytes, to be broadcast if it is small: a join then moves no row of the large one."""
    return functions.broadcast(df) if size <= BROADCAST_BYTES else df


def ship_package(spark: SparkSession) -> None:
    """Zip this package and send it to the executors, which need not have it installed."""
    package = Path(churn_spark.__file__).resolve().parent
    if not package.is_dir():
        return  # spark-submit shipped it already
    target = Path(tempfile.mkdtemp(prefix="churn_spark-")) / "churn_spark.zip"
    zip_package(package, target)
    ship(spark, target)


def zip_package(package: Path, target: Path) -> None:
    """Write every file of a package's folder that an executor may import or read into the zip `target`."""
    with zipfile.ZipFile(target, "w") as archive:
        for file in sorted(package.rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts:
                archive.write(file, file.relative_to(package.parent))


def _with(spark: SparkSession, conf: Mapping[str, str]) -> SparkSession:
    for name in QUERY_LOGGERS:
        PySparkLogger.getLogger(name).disabled = True
    for key, value in conf.items():
        if spark.conf.isModifiable(key):
            spark.conf.set(key, value)
    return spark
