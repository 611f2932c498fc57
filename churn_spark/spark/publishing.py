"""One partition of several tables replaced as a unit: stage, verify, switch; and back again.

`stage` writes the partitions where no reader looks, for the caller to verify. `publish` then writes a journal of a
few lines, from which the next run completes a publish that was killed, and switches table by table, each in one
step: a new partition appears by a rename, one that is replaced changes places with the new; in a catalog the
partition's location is set anew; Delta and Iceberg replace it themselves. What was replaced is kept in `_versions`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from churn_spark.errors import ConfigError, InputError, ResourceError
from churn_spark.spark import storage
from churn_spark.spark.tables import Tables, data_files, escaped, grown

log = logging.getLogger(__name__)

VERSION = "_version"  # a file in every published folder, which readers skip: the run that wrote the rows
COLUMNS = "00-columns.parquet"  # a file in every published folder, the first by name: the columns, no rows
JOURNAL = "_publishing.json"
STAGED = "_staged"


@dataclass(frozen=True)
class Switch:
    """A publish that was decided: `replaced` names the tables, in their order, and the version live before."""

    partition: str
    version: str
    replaced: dict[str, str | None]
    staged: str


def stage(tables: Tables, frames: Mapping[str, DataFrame], *, partition: str) -> dict[str, DataFrame]:
    """Write each table's new partition (without the partition's column) and return it as it was written.

    Engines take a table's columns from the file that comes first, often one of another date than is asked for: it
    has the same name in every version, so that they find it while that date is replaced.
    """
    written = {}
    for table, df in frames.items():
        place = storage.join(_staged(tables), table, partition)
        df.write.mode("overwrite").parquet(place)
        data_files(place)
        empty = storage.join(_staged(tables), "_empty", table)
        df.limit(0).coalesce(1).write.mode("overwrite").parquet(empty)
        storage.move(storage.join(empty, *data_files(empty)), storage.join(place, COLUMNS))
        storage.write_text(storage.join(place, VERSION), tables.run_id)
        written[table] = df.sparkSession.read.schema(df.schema).parquet(place)
    return written


def publish(tables: Tables, spark: SparkSession, names: Iterable[str], *, partition: str) -> None:
    """Make what was staged visible, table by table in the given order; what an error interrupts is undone."""
    live = {name: live_version(tables, spark, name, partition) for name in names}
    _switch_all(tables, spark, Switch(partition, tables.run_id, live, _staged(tables)))


def recover(tables: Tables, spark: SparkSession) -> None:
    """Complete a publish that was killed, and clear what was only staged.

    Call it when holding the lock, before anything is read or staged.
    """
    journal = storage.join(tables.store, JOURNAL)
    if storage.exists(journal):
        switch = Switch(**json.loads(storage.read_text(journal)))
        log.warning("completing the publish of run %s, %s", switch.version, switch.partition)
        _complete(tables, spark, switch)
    storage.remove(storage.join(tables.store, STAGED))


def rollback(
    tables: Tables, spark: SparkSession, names: Iterable[str], *, partition: str, to: str | None = None
) -> str:
    """Put back the version `to` of a partition, or the newest that is older than the live one; returns its name.

    Raises InputError where no such version is kept, ConfigError for formats that travel in time themselves.
    """
    if tables.format != "parquet":
        raise ConfigError(
            f"{tables.format} keeps its own versions",
            where="tables.format",
            fix="use RESTORE TABLE ... TO VERSION AS OF (Delta) or rollback_to_snapshot (Iceberg)",
        )
    live = {name: live_version(tables, spark, name, partition) for name in names}
    kept = set.intersection(*[set(storage.names(_versions(tables, name, partition))) for name in live])
    kept -= set(live.values())
    older = [v for v in kept if v < max(filter(None, live.values()), default="")]
    version = to if to in kept else max(older, default=None) if to is None else None
    if version is None:
        raise InputError(
            f"no such version of {partition} is kept",
            where=storage.join(tables.store, "_versions"),
            fix=f"--to one of: {', '.join(sorted(kept)) or 'none, score that date again'}",
        )
    _switch_all(tables, spark, Switch(partition, version, live, ""))
    return version


def live_version(tables: Tables, spark: SparkSession, table: str, partition: str) -> str | None:
    """The run whose rows a reader of the partition gets; None where it is not there."""
    if tables.format != "parquet" or not tables.exists(spark, table):
        return None
    if not tables.in_catalog:
        return _version(storage.join(tables.location(table), partition))
    location = _partition_location(spark, tables.location(table), partition)
    return location.rpartition("/")[2] if location else None


def _switch_all(tables: Tables, spark: SparkSession, switch: Switch) -> None:
    storage.write_json(storage.join(tables.store, JOURNAL), asdict(switch))
    try:
        _complete(tables, spark, switch)
    except BaseException:
        if tables.format == "parquet":  # else the next run completes it
            _undo(tables, spark, switch)
        raise


def _complete(tables: Tables, spark: SparkSession, switch: Switch) -> None:
    """Do what a journal says, whatever part of it is done already."""
    for table in switch.replaced:
        staged = storage.join(switch.staged, table, switch.partition)
        if switch.staged and storage.exists(staged):
            storage.move(staged, storage.join(_versions(tables, table, switch.partition), switch.version))
    for table in switch.replaced:
        _switch(tables, spark, table, switch.partition, switch.version)
    storage.remove(storage.join(tables.store, JOURNAL))
    if switch.staged:
        storage.remove(switch.staged)
    for table, before in switch.replaced.items():
        _prune(tables, table, switch.partition, live=switch.version, before=before)


def _undo(tables: Tables, spark: SparkSession, switch: Switch) -> None:
    for table, before in switch.replaced.items():
        versions = _versions(tables, table, switch.partition)
        _settle(versions)
        if before is not None:
            _switch(tables, spark, table, switch.partition, before)
        elif live_version(tables, spark, table, switch.partition) is not None:
            _withdraw(tables, spark, table, switch.partition)
        if switch.staged:
            storage.remove(storage.join(versions, switch.version))
    storage.remove(storage.join(tables.store, JOURNAL))


# -- one table ------------------------------------------------------------------------------------------


def _switch(tables: Tables, spark: SparkSession, table: str, partition: str, version: str) -> None:
    if tables.format != "parquet":
        _replace_in_format(tables, spark, table, partition, version)
    elif tables.in_catalog:
        _set_location(tables, spark, table, partition, version)
    else:
        _switch_folders(tables, table, partition, version)


def _switch_folders(tables: Tables, table: str, partition: str, version: str) -> None:
    """Where the file system cannot exchange two folders, the partition is absent between two renames."""
    target, versions = storage.join(tables.location(table), partition), _versions(tables, table, partition)
    arriving = storage.join(versions, version)
    before = _version(target)
    if before != version and not storage.exists(arriving):
        raise ResourceError(
            f"version {version} of {partition} is gone",
            where=versions,
            fix=f"remove {JOURNAL}, score that date again",
        )
    if before != version and not (before and storage.exchange(arriving, target)):
        if before:
            storage.move(target, storage.join(versions, "aside"))
        storage.move(arriving, target)
    _settle(versions)


def _settle(versions: str) -> None:
    """Give every kept folder the name of the version in it."""
    for name in storage.names(versions):
        place = storage.join(versions, name)
        found = _version(place)
        if found and found != name:
            storage.move(place, storage.join(versions, found))


def _set_location(tables: Tables, spark: SparkSession, table: str, partition: str, version: str) -> None:
    name, place = tables.location(table), storage.join(_versions(tables, table, partition), version)
    column, value = _parts(partition)
    _create_or_grow(tables, table, spark.read.parquet(place), column)
    spec = f"PARTITION ({column} = '{value}')"
    spark.sql(f"ALTER TABLE {name} ADD IF NOT EXISTS {spec} LOCATION '{escaped(place)}'")
    spark.sql(f"ALTER TABLE {name} {spec} SET LOCATION '{escaped(place)}'")


def _replace_in_format(tables: Tables, spark: SparkSession, table: str, partition: str, version: str) -> None:
    place = storage.join(_versions(tables, table, partition), version)
    if not storage.exists(place):
        return  # done before the run was killed
    column, value = _parts(partition)
    day = F.lit(value).cast("date")
    df, name = spark.read.parquet(place).withColumn(column, day), tables.sql_name(table)
    if tables.exists(spark, table):
        grown(df, name).writeTo(name).overwrite(F.col(column) == day)
    else:
        df.writeTo(name).using(tables.format).partitionedBy(F.col(column)).create()
    storage.remove(place)


def _create_or_grow(tables: Tables, table: str, df: DataFrame, column: str) -> None:
    """Make the catalog table, or add the columns it lacks."""
    name = tables.sql_name(table)
    if tables.exists(df.sparkSession, table):
        grown(df, name)
        return
    empty = df.limit(0).withColumn(column, F.lit(None).cast("date"))
    place = storage.join(tables.store, "_empty", table)
    empty.write.format("parquet").partitionBy(column).option("path", place).saveAsTable(name)


def _withdraw(tables: Tables, spark: SparkSession, table: str, partition: str) -> None:
    if tables.in_catalog:
        column, value = _parts(partition)
        spark.sql(f"ALTER TABLE {tables.location(table)} DROP IF EXISTS PARTITION ({column} = '{value}')")
    else:
        storage.remove(storage.join(tables.location(table), partition))


def _prune(tables: Tables, table: str, partition: str, *, live: str, before: str | None) -> None:
    """Keep the newest replaced versions; the one just replaced stays in any case, for those who read it now."""
    versions = _versions(tables, table, partition)
    others = [n for n in storage.names(versions) if n not in (live, before)]
    for name in others[: max(0, len(others) - tables.keep + 1)]:
        storage.remove(storage.join(versions, name))


def _staged(tables: Tables) -> str:
    """Not in the run's scratch folder: what a journal names must outlive a run that was killed."""
    return storage.join(tables.store, STAGED, tables.run_id)


def _versions(tables: Tables, table: str, partition: str) -> str:
    return storage.join(tables.store, "_versions", table, partition)


def _version(place: str) -> str | None:
    """The version a published folder holds; None where there is no folder."""
    if not storage.exists(place):
        return None
    marker = storage.join(place, VERSION)
    return storage.read_text(marker) if storage.exists(marker) else "0-unnamed"


def _partition_location(spark: SparkSession, name: str, partition: str) -> str | None:
    column, value = _parts(partition)
    if not any(row[0] == partition for row in spark.sql(f"SHOW PARTITIONS {name}").collect()):
        return None
    described = spark.sql(f"DESCRIBE TABLE EXTENDED {name} PARTITION ({column} = '{value}')").collect()
    return next((row["data_type"] for row in described if row["col_name"] == "Location"), None)


def _parts(partition: str) -> tuple[str, str]:
    column, _, value = partition.partition("=")
    return column, value
