"""The only module that writes tables: staged first, then made visible by renames.

A table is a folder of Parquet files below the output folder, or a catalog table. `append` adds a run's rows,
`replace` puts one partition in place as a unit. Nothing a reader could see changes before every row has been
written, so a killed job leaves the last good version; running it again gives the same table.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from churn_spark import storage
from churn_spark.config import is_table_name
from churn_spark.errors import InputError, ResourceError
from churn_spark.schemas import Field


@dataclass(frozen=True)
class Tables:
    """Where one run's tables go: `output` is a folder or a catalog schema, `work` the run's own folder."""

    output: str
    work: str
    run_id: str

    def location(self, table: str) -> str:
        """The path or name an analyst would use."""
        return f"{self.output}.{table}" if self.in_catalog else storage.join(self.output, table)

    @property
    def in_catalog(self) -> bool:
        return is_table_name(self.output)

    def append(self, df: DataFrame, table: str, *, partition: str = "") -> str:
        """Add this run's rows (columns as they are) to a table; again for the same run replaces them.

        `partition` is a Hive-style folder such as `run_date=2026-01-31`. Returns the location.
        """
        if self.in_catalog:
            column, _, value = partition.partition("=")
            keyed = df.withColumn(column, F.lit(value).cast("date")) if partition else df
            writer = keyed.write.mode("append")
            (writer.partitionBy(column) if partition else writer).saveAsTable(self.location(table))
            return self.location(table)
        staged = self._stage(df, table)
        commit_files(staged, storage.join(self.location(table), partition), tag=self.run_id)
        return self.location(table)

    def replace(self, df: DataFrame, table: str, *, partition: str) -> str:
        """Put `df` (without the partition column) in place of one partition, as a unit. Returns the location.

        A new partition appears by one rename. One that is there is moved aside first and deleted after, so a
        reader of just that partition may find it absent for the moment between two renames, never mixed.
        """
        if self.in_catalog:
            return self._replace_in_catalog(df, table, partition)
        staged = self._stage(df, table)
        target = storage.join(self.location(table), partition)
        aside = storage.join(self.location(table), f"_replaced-{partition}")
        if storage.exists(aside) and not storage.exists(target):
            storage.move(aside, target)  # a run that was killed between its two renames left this
        storage.remove(aside)
        replaced = storage.exists(target)
        if replaced:
            storage.move(target, aside)
        try:
            storage.move(staged, target)
        except BaseException:
            if replaced:
                storage.move(aside, target)
            raise
        storage.remove(aside)
        return self.location(table)

    def define_latest(self, spark: SparkSession, table: str, *, partition: str) -> None:
        """Define `<table>_latest`, the rows of the newest partition: a view in a catalog, else a SQL file."""
        location = self.location(table)
        source = location if self.in_catalog else f"parquet.`{location}`"
        query = f"SELECT * FROM {source} WHERE {partition} = (SELECT max({partition}) FROM {source})"
        if self.in_catalog:
            spark.sql(f"CREATE OR REPLACE VIEW {location}_latest AS {query}")
        else:
            text = f"CREATE OR REPLACE TEMPORARY VIEW {table}_latest AS\n{query}\n"
            storage.write_text(f"{location}_latest.sql", text)

    def read(self, spark: SparkSession, table: str) -> DataFrame | None:
        """The published table, or None where there is none yet."""
        if self.in_catalog:
            name = self.location(table)
            return spark.table(name) if spark.catalog.tableExists(name) else None
        path = self.location(table)
        if not any(not n.startswith(("_", ".")) for n in storage.names(path)):
            return None
        return spark.read.option("mergeSchema", True).parquet(path)

    def _stage(self, df: DataFrame, table: str) -> str:
        staged = storage.join(self.work, "staging", table)
        df.write.mode("overwrite").parquet(staged)
        return staged

    def _replace_in_catalog(self, df: DataFrame, table: str, partition: str) -> str:
        spark, name = df.sparkSession, self.location(table)
        column, _, value = partition.partition("=")
        keyed = df.withColumn(column, F.lit(value).cast("date"))
        if not spark.catalog.tableExists(name):
            keyed.write.partitionBy(column).saveAsTable(name)
            return name
        known = spark.table(name).columns
        missing = [c for c in keyed.columns if c not in known]
        if missing:
            raise InputError(
                f"{name} lacks the columns {missing}",
                fix="ALTER TABLE ... ADD COLUMNS them: the schema only grows",
            )
        before = spark.conf.get("spark.sql.sources.partitionOverwriteMode", "static")
        spark.conf.set("spark.sql.sources.partitionOverwriteMode", "dynamic")
        try:
            keyed.select(
                *[F.col(c) if c in keyed.columns else F.lit(None).alias(c) for c in known]
            ).write.mode("overwrite").insertInto(name)
        finally:
            spark.conf.set("spark.sql.sources.partitionOverwriteMode", before or "static")
        return name


def commit_files(staged: str, table_folder: str, *, tag: str) -> int:
    """Move a staged write's data files into a table under names of their own; returns how many.

    Each file appears whole, by a rename; files of an earlier attempt with the same tag are removed first.
    """
    for old in [n for n in storage.names(table_folder) if n.startswith(f"{tag}-")]:
        storage.remove(storage.join(table_folder, old))
    files = [n for n in storage.names(staged) if n.endswith(".parquet")]
    if not files:
        raise ResourceError(
            "what Spark wrote is not to be seen from the driver",
            where=staged,
            fix="give `output` with its scheme (hdfs://, s3://, ...), on storage that driver and workers share",
        )
    for number, name in enumerate(files):
        storage.move(storage.join(staged, name), storage.join(table_folder, f"{tag}-{number:05d}.parquet"))
    storage.remove(staged)
    return len(files)


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
