"""Where a run's tables are, and the rows that are added to them; `publishing` replaces whole partitions.

A table is a folder below the output folder or a catalog table, of Parquet files unless `tables.format` says
otherwise. Files reach a reader only after the last of them has been written.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from churn_spark.contract.published import Field
from churn_spark.errors import ConfigError, ResourceError
from churn_spark.settings.locations import is_table_name
from churn_spark.settings.sections import Config
from churn_spark.spark import storage

HADOOP_COMMITTER = "SQLHadoopMapReduceCommitProtocol"
COMMITTER_VERSION = "spark.hadoop.mapreduce.fileoutputcommitter.algorithm.version"
VERIFIED = "parquet.page.verify-checksum.enabled"  # else a flipped bit is read as another number
SCORED_TABLES = ("churn_reasons", "churn_scores")  # in the order they are published

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Tables:
    """Where one run's tables go.

    `output` is a folder or a catalog schema, `store` the folder of what belongs to the tables but is not for
    readers (versions, journal), `work` the run's own folder, `keep` how many replaced versions stay.
    """

    output: str
    store: str
    work: str = ""
    run_id: str = ""
    format: str = "parquet"
    keep: int = 2

    @classmethod
    def of(cls, config: Config, *, work: str = "", run_id: str = "") -> Tables:
        store = config.folder
        if is_table_name(config.output.path):
            place = storage.join(config.folder, "_tables", config.output.path)
            store = str(Path(place).absolute()) if storage.is_local(place) else place
        settings = config.tables
        return cls(config.output.path, store, work, run_id, settings.format, settings.keep_versions)

    def location(self, table: str) -> str:
        """The path or name an analyst would use."""
        return f"{self.output}.{table}" if self.in_catalog else storage.join(self.output, table)

    def sql_name(self, table: str) -> str:
        """What SQL calls the table."""
        location = self.location(table)
        return location if self.in_catalog else f"{self.format}.`{location}`"

    @property
    def in_catalog(self) -> bool:
        return is_table_name(self.output)

    def check(self, spark: SparkSession) -> None:
        """Before any work: the session must know the format and commit files safely. Raises ConfigError.

        A committer that shows half a job is no matter here, since all is written to a folder of the run; one that
        shows a retried task twice is. What cannot be made up for is a file system that copies to rename.
        """
        protocol = str(spark.conf.get("spark.sql.sources.commitProtocolClass"))
        if protocol.endswith(HADOOP_COMMITTER) and spark.conf.get(COMMITTER_VERSION, "1") == "2":
            raise ConfigError(
                "with version 2 of Hadoop's file committer a task that is tried again may leave its rows twice",
                where=COMMITTER_VERSION,
                fix="set it to 1",
            )
        if self.format == "parquet":
            if self.output.partition(":")[0] in storage.OBJECT_STORES:
                log.warning("tables.format=parquet: %s renames by copying, so a reader may see half a table; "
                            "delta or iceberg replaces as a unit", self.output.partition(":")[0])  # fmt: skip
            return
        try:
            spark.read.format(self.format).load(self.store)
        except (
            Exception
        ) as problem:  # Spark 4.3 hands over a bare Java exception, others an AnalysisException
            if "DATA_SOURCE_NOT_FOUND" in str(problem):
                raise ConfigError(
                    f"this Spark session does not know the table format {self.format}",
                    where="tables.format",
                    fix=f"start Spark with {self.format}'s jar and session extension, or use parquet",
                ) from None

    def exists(self, spark: SparkSession, table: str) -> bool:
        location = self.location(table)
        if self.in_catalog:
            return spark.catalog.tableExists(location)
        if self.format != "parquet":
            return bool(storage.names(location))
        return any(not n.startswith(("_", ".")) for n in storage.names(location))

    def read(
        self, spark: SparkSession, table: str, *, without: frozenset[str] = frozenset()
    ) -> DataFrame | None:
        """The published table, or None where there is none yet.

        Partitions `without`, such as `score_date=2026-01-31`, are not opened.
        """
        if not self.exists(spark, table):
            return None
        location = self.location(table)
        if self.in_catalog or not without:
            reader = spark.read.option("mergeSchema", True).option(VERIFIED, True)
            df = spark.table(location) if self.in_catalog else reader.format(self.format).load(location)
            for partition in sorted(without):
                column, _, value = partition.partition("=")
                df = df.where(F.col(column) != F.lit(value).cast("date"))
            return df
        folders = [n for n in storage.names(location) if "=" in n and n not in without]
        if not folders:
            return None
        reader = spark.read.option("basePath", location).option("mergeSchema", True).option(VERIFIED, True)
        return reader.parquet(*[storage.join(location, n) for n in folders])

    def check_types(self, df: DataFrame, table: str, fields: Iterable[Field]) -> None:
        """A column that was published keeps its type. Raises ConfigError, for the table as it was read."""
        published = {f.name.lower(): f.dataType.simpleString() for f in df.schema}
        changed = [f for f in fields if published.get(f.name.lower(), f.type) != f.type]
        if changed:
            name, before, now = changed[0].name, published[changed[0].name.lower()], changed[0].type
            raise ConfigError(
                f"{table} holds {name} as {before}; it would be {now} now, and {len(changed) - 1} more columns so",
                where=f"columns.{name}.type",
                fix=f"--set columns.{name}.type={before}, or another --output",
            )

    def append(self, df: DataFrame, table: str, *, partition: str = "") -> str:
        """Add this run's rows (columns as they are) to a table; again for the same run replaces them.

        `partition` is a Hive-style folder such as `run_date=2026-01-31`. Returns the location.
        """
        location = self.location(table)
        if not self.in_catalog and self.format == "parquet":
            staged = storage.join(self.work, "staging", table)
            df.write.mode("overwrite").parquet(staged)
            commit_files(staged, storage.join(location, partition), tag=self.run_id)
            return location
        column, _, value = partition.partition("=")
        keyed = df.withColumn(column, F.lit(value).cast("date")) if partition else df
        if self.in_catalog and self.exists(df.sparkSession, table):
            keyed = grown(keyed, location)
        writer = keyed.write.format(self.format).mode("append")
        writer = writer.partitionBy(column) if partition else writer
        if self.in_catalog:
            writer.saveAsTable(location)
        else:
            writer.option("mergeSchema", True).save(location)
        return location

    def define_latest(self, spark: SparkSession, table: str, *, partition: str) -> None:
        """Define `<table>_latest`, the rows of the newest partition: a view in a catalog, else a SQL file."""
        location, source = self.location(table), self.sql_name(table)
        query = f"SELECT * FROM {source} WHERE {partition} = (SELECT max({partition}) FROM {source})"
        text = f"CREATE OR REPLACE TEMPORARY VIEW {table}_latest AS\n{query}\n"
        if not self.in_catalog:
            storage.write_text(f"{location}_latest.sql", text)
            return
        try:
            spark.sql(f"CREATE OR REPLACE VIEW {location}_latest AS {query}")
        except Exception as problem:  # a Java exception from Iceberg, an AnalysisException from others
            if "not support" not in str(problem):
                raise
            path = storage.join(self.store, f"{table}_latest.sql")
            storage.write_text(path, text)
            log.warning("this catalog has no views; the query for %s_latest is in %s", table, path)


def commit_files(staged: str, table_folder: str, *, tag: str) -> int:
    """Move a staged write's data files into a table under names of their own; returns how many.

    Each file appears whole, by a rename; files of an earlier attempt with the same tag are removed first.
    """
    for old in [n for n in storage.names(table_folder) if n.startswith(f"{tag}-")]:
        storage.remove(storage.join(table_folder, old))
    files = data_files(staged)
    for number, name in enumerate(files):
        storage.move(storage.join(staged, name), storage.join(table_folder, f"{tag}-{number:05d}.parquet"))
    storage.remove(staged)
    return len(files)


def stored(df: DataFrame, folder: str) -> DataFrame:
    """Write the rows to a folder and return them as they were written, so that they are made once."""
    df.write.mode("overwrite").parquet(folder)
    return df.sparkSession.read.schema(df.schema).parquet(folder)


def data_files(staged: str) -> list[str]:
    """The names of the data files of a write. Raises ResourceError where the driver sees none."""
    files = [n for n in storage.names(staged) if n.endswith(".parquet")]
    if not files:
        raise ResourceError(
            "what Spark wrote is not to be seen from the driver",
            where=staged,
            fix="give `output` with its scheme (hdfs://, s3://, ...), on storage that driver and workers share",
        )
    return files


def grown(df: DataFrame, name: str) -> DataFrame:
    """Add to a catalog table the columns it lacks, since a schema only grows.

    Returns the rows with all of the table's columns, in its order.
    """
    spark = df.sparkSession
    known = {c.lower() for c in spark.table(name).columns}
    new = [
        f"`{f.name}` {f.dataType.simpleString()} COMMENT '{escaped(f.metadata.get('comment', ''))}'"
        for f in df.schema
        if f.name.lower() not in known
    ]
    if new:
        spark.sql(f"ALTER TABLE {name} ADD COLUMNS ({', '.join(new)})")
    return df.select(
        *[F.col(c) if c in df.columns else F.lit(None).alias(c) for c in spark.table(name).columns]
    )


def escaped(text: str) -> str:
    """A text between single quotes in SQL."""
    return text.replace("\\", "\\\\").replace("'", "\\'")


def with_comments(df: DataFrame, fields: Iterable[Field]) -> DataFrame:
    """Select exactly these fields, cast to their types, each with its comment as column metadata."""
    return df.select(
        *[F.col(f"`{f.name}`").cast(f.type).alias(f.name, metadata={"comment": f.comment}) for f in fields]
    )


def small_table(
    spark: SparkSession, rows: Iterable[tuple[object, ...]], fields: tuple[Field, ...]
) -> DataFrame:
    """A driver-side handful of rows as a commented one-file DataFrame."""
    schema = T.StructType(
        [
            T.StructField(f.name, T._parse_datatype_string(f.type), True, {"comment": f.comment})
            for f in fields
        ]
    )
    return spark.createDataFrame([tuple(r) for r in rows], schema).coalesce(1)
