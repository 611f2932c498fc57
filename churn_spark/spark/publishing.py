"""One partition of several tables replaced as a unit: stage, verify, switch; and back again.

`stage` writes the partitions where no reader looks, for the caller to verify. `publish` then writes a journal of a
few lines, from which the next run completes a publish that was killed, and switches table by table, each in one
step: a new partition appears by a rename, one that is replaced changes places with the new; in a catalog the
partition's location is set anew; Delta and Iceberg replace it themselves. What was replaced is kept in `_versions`.
What fails is undone, by the same journal, so that an undo that is killed is completed as well.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from churn_spark.contract.sealed import sealed, unsealed
from churn_spark.errors import InputError, ResourceError
from churn_spark.spark import storage
from churn_spark.spark.formats import format_versions, kept_runs, put_back, replace_in_format, run_in
from churn_spark.spark.manifests import manifest_path, problem_of, write_manifest
from churn_spark.spark.tables import Tables, commit_files, data_files, escaped, grown
from churn_spark.spark.versions import (
    COLUMNS,
    STAGED,
    UNNAMED,
    live_folders,
    partition_location,
    parts,
    staged,
    version_in,
    versions,
)

log = logging.getLogger(__name__)

JOURNAL = "_publishing.json"
RECOVER = "churn-spark recover --abandon, with the same --output"


@dataclass(frozen=True)
class Switch:
    """A publish that was decided, or its undoing.

    `replaced` names the tables, in their order, and what was live before: a version of ours, or of the format.
    """

    partition: str
    version: str
    replaced: dict[str, str | None]
    staged: str
    undo: bool = False


def stage(tables: Tables, frames: Mapping[str, DataFrame], *, partition: str) -> dict[str, DataFrame]:
    """Write each table's new partition (without the partition's column) and return it as it was written.

    Engines take a table's columns from the file that comes first, often one of another date than is asked for: it
    has the same name in every version, so that they find it while that date is replaced.
    """
    written = {}
    for table, df in frames.items():
        place, raw = (
            storage.join(staged(tables), table, partition),
            storage.join(staged(tables), "_raw", table),
        )
        df.write.mode("overwrite").parquet(raw)
        commit_files(raw, place, tag=tables.run_id)
        df.limit(0).coalesce(1).write.mode("overwrite").parquet(raw)
        storage.move(storage.join(raw, *data_files(raw)), storage.join(place, COLUMNS))
        if tables.format == "parquet":
            write_manifest(_staged_manifest(staged(tables), table, partition), place)
        written[table] = df.sparkSession.read.schema(df.schema).parquet(place)
    return written


def publish(tables: Tables, spark: SparkSession, names: Iterable[str], *, partition: str) -> None:
    """Make what was staged visible, table by table in the given order; what an error interrupts is undone."""
    before = {name: _before(tables, spark, name, partition) for name in names}
    _switch_all(tables, spark, Switch(partition, tables.run_id, before, staged(tables)))


def recover(tables: Tables, spark: SparkSession) -> str | None:
    """Complete a publish, or an undo, that was killed, and clear what was only staged; returns what was completed.

    Call it when holding the lock, before anything is read or staged. Raises ResourceError where it cannot be done.
    """
    switch = _read_journal(tables)
    if switch is not None:
        log.warning("completing the %s of run %s, %s", _word(switch), switch.version, switch.partition)
        try:
            (_undo if switch.undo else _complete)(tables, spark, switch)
        except Exception as problem:
            raise ResourceError(
                f"the {_word(switch)} of run {switch.version}, {switch.partition}, which was interrupted, cannot be "
                f"completed: {problem.what if isinstance(problem, ResourceError) else type(problem).__name__}",
                where=storage.join(tables.store, JOURNAL),
                fix=f"mend the cause and run again; or give it up: {RECOVER}",
            ) from problem
    storage.remove(storage.join(tables.store, STAGED))
    return None if switch is None else f"the {_word(switch)} of run {switch.version}, {switch.partition}"


def abandon(tables: Tables, spark: SparkSession, names: Iterable[str]) -> list[str]:
    """Give up a publish that cannot be completed, whatever its journal looks like; returns the dates put back.

    Each table gets again what was live before; where that is gone, what all tables have, or what they are at.
    """
    try:
        switch = _read_journal(tables)
    except ResourceError:
        switch = None
    if switch is not None:
        try:
            _undo(tables, spark, replace(switch, undo=True))
        except Exception as problem:
            log.warning("%s could not be put back: %s", switch.partition, type(problem).__name__)
    dates = {switch.partition} if switch else set()
    storage.remove(storage.join(tables.store, JOURNAL))
    if tables.format == "parquet":
        dates |= _level(tables, spark, names)
    storage.remove(storage.join(tables.store, STAGED))
    return sorted(dates)


def rollback(
    tables: Tables, spark: SparkSession, names: Iterable[str], *, partition: str, to: str | None = None
) -> str:
    """Put back the version `to` of a partition, or the newest that is older than the live one; returns its name.

    Raises InputError where no such version is kept, ResourceError where the one that is kept is damaged.
    """
    names = tuple(names)
    live = {name: live_version(tables, spark, name, partition) for name in names}
    kept = {name: _kept(tables, spark, name, partition) for name in names}
    common = set.intersection(*[set(of_table) for of_table in kept.values()]) - set(live.values())
    older = [v for v in common if v < max(filter(None, live.values()), default="")]
    version = to if to in common else max(older, default=None) if to is None else None
    if version is None:
        raise InputError(
            f"no such version of {partition} is kept",
            where=storage.join(tables.store, "_versions") if tables.format == "parquet" else tables.output,
            fix=f"--to one of: {', '.join(sorted(common)) or 'none, score that date again'}",
        )
    if tables.format != "parquet":
        for name in names:
            put_back(tables, spark, name, partition, kept[name][version])
        return version
    for name in names:
        _check_kept(tables, name, partition, version)
    _switch_all(tables, spark, Switch(partition, version, live, ""))
    return version


def live_version(tables: Tables, spark: SparkSession, table: str, partition: str) -> str | None:
    """The run whose rows a reader of the partition gets; None where it is not there."""
    if not tables.exists(spark, table):
        return None
    if tables.format != "parquet":
        return run_in(tables, spark, table, partition)
    if not tables.in_catalog:
        return version_in(storage.join(tables.location(table), partition))
    location = partition_location(spark, tables.sql_name(table), partition)
    return location.rpartition("/")[2] if location else None


# -- the journal ----------------------------------------------------------------------------------------


def _switch_all(tables: Tables, spark: SparkSession, switch: Switch) -> None:
    _write_journal(tables, switch)
    try:
        _complete(tables, spark, switch)
    except BaseException:
        back = replace(switch, undo=True)
        _write_journal(tables, back)
        _undo(tables, spark, back)
        raise


def _write_journal(tables: Tables, switch: Switch) -> None:
    storage.write_text(storage.join(tables.store, JOURNAL), sealed(asdict(switch)))


def _read_journal(tables: Tables) -> Switch | None:
    """Raises ResourceError for a journal that is damaged."""
    path = storage.join(tables.store, JOURNAL)
    if not storage.exists(path):
        return None
    damaged = ResourceError("the journal of a publish is damaged", where=path, fix=RECOVER)
    try:
        return Switch(**unsealed(storage.read_text(path), where=path, fix=RECOVER))
    except (ResourceError, TypeError):
        raise damaged from None


def _complete(tables: Tables, spark: SparkSession, switch: Switch) -> None:
    """Do what a journal says, whatever part of it is done already."""
    for table in switch.replaced:
        _keep(tables, switch, table)
    for table in switch.replaced:
        _switch(tables, spark, table, switch.partition, switch.version)
    storage.remove(storage.join(tables.store, JOURNAL))
    if switch.staged:
        storage.remove(switch.staged)
    for table, before in switch.replaced.items():
        _prune(tables, table, switch.partition, live=switch.version, before=before)


def _undo(tables: Tables, spark: SparkSession, switch: Switch) -> None:
    """Give every table what was live before, whatever part of it is done already."""
    for table, before in switch.replaced.items():
        if tables.format != "parquet":
            put_back(tables, spark, table, switch.partition, before)
            storage.remove(versions(tables, table, switch.partition))
            continue
        _settle(versions(tables, table, switch.partition))
        if before is not None:
            _switch(tables, spark, table, switch.partition, before)
        elif live_version(tables, spark, table, switch.partition) is not None:
            _withdraw(tables, spark, table, switch.partition)
        if switch.staged:
            _forget(tables, table, switch.partition, switch.version)
    storage.remove(storage.join(tables.store, JOURNAL))


def _level(tables: Tables, spark: SparkSession, names: Iterable[str]) -> set[str]:
    """Where tables of a date are at different versions, put all at the newest that all have but the last one's."""
    names = tuple(names)
    live = {name: {f.partition: f.version for f in live_folders(tables, spark, name)} for name in names}
    known = {p for name in names for p in storage.names(storage.join(tables.store, "_versions", name))}
    uneven = set()
    for partition in known | {p for of_table in live.values() for p in of_table}:
        for name in names:
            _settle(versions(tables, name, partition))
        at = {name: live_version(tables, spark, name, partition) for name in names}
        if len(set(at.values())) == 1:
            continue
        uneven.add(partition)
        had = [{*_kept(tables, spark, name, partition), at[name]} - {None} for name in names]
        common = sorted(v for v in set.intersection(*had) if v is not None)
        newest = max(v for of_table in had for v in of_table if v is not None)
        before = [v for v in common if v != newest] or common
        for name in names:
            if before:
                _switch(tables, spark, name, partition, before[-1])
            elif at[name] is not None:
                _withdraw(tables, spark, name, partition)
    return uneven


def _word(switch: Switch) -> str:
    return "undo" if switch.undo else "publish"


# -- one table ------------------------------------------------------------------------------------------


def _before(tables: Tables, spark: SparkSession, table: str, partition: str) -> str | None:
    if tables.format == "parquet":
        return live_version(tables, spark, table, partition)
    return next(iter(format_versions(tables, spark, table)), None)


def _keep(tables: Tables, switch: Switch, table: str) -> None:
    """Move what was staged, and its manifest, to where versions are kept."""
    folder = storage.join(switch.staged, table, switch.partition)
    manifest = _staged_manifest(switch.staged, table, switch.partition)
    if switch.staged and storage.exists(manifest):
        target = manifest_path(tables, table, switch.partition, switch.version)
        storage.remove(target)
        storage.move(manifest, target)
    if switch.staged and storage.exists(folder):
        storage.move(folder, storage.join(versions(tables, table, switch.partition), switch.version))


def _switch(tables: Tables, spark: SparkSession, table: str, partition: str, version: str) -> None:
    place = storage.join(versions(tables, table, partition), version)
    if tables.format != "parquet":
        if storage.exists(place):  # else it was done before the run was killed
            replace_in_format(tables, table, partition, spark.read.parquet(place))
            storage.remove(place)
    elif tables.in_catalog:
        _set_location(tables, spark, table, partition, version)
    else:
        _switch_folders(tables, table, partition, version)


def _switch_folders(tables: Tables, table: str, partition: str, version: str) -> None:
    """Where the file system cannot exchange two folders, the partition is absent between two renames."""
    target, kept = storage.join(tables.location(table), partition), versions(tables, table, partition)
    arriving = storage.join(kept, version)
    before = version_in(target)
    if before != version and not storage.exists(arriving):
        raise ResourceError(f"version {version} of {partition} is gone", where=kept, fix=RECOVER)
    if before != version and not (before and storage.exchange(arriving, target)):
        if before:
            storage.move(target, storage.join(kept, "aside"))
        _discard(tables, target)  # what is left of a version whose files were deleted
        storage.move(arriving, target)
    _settle(kept)


def _settle(kept: str) -> None:
    """Give every kept folder the name of the version in it."""
    for name in storage.names(kept):
        place = storage.join(kept, name)
        version = version_in(place)
        if version and version != name:
            storage.move(place, storage.join(kept, version))


def _set_location(tables: Tables, spark: SparkSession, table: str, partition: str, version: str) -> None:
    name, place = tables.sql_name(table), storage.join(versions(tables, table, partition), version)
    column, value = parts(partition)
    _create_or_grow(tables, table, spark.read.parquet(place), column)
    spec = f"PARTITION ({column} = '{value}')"
    spark.sql(f"ALTER TABLE {name} ADD IF NOT EXISTS {spec} LOCATION '{escaped(place)}'")
    spark.sql(f"ALTER TABLE {name} {spec} SET LOCATION '{escaped(place)}'")


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
        column, value = parts(partition)
        spark.sql(f"ALTER TABLE {tables.sql_name(table)} DROP IF EXISTS PARTITION ({column} = '{value}')")
    else:
        _discard(tables, storage.join(tables.location(table), partition))


def _prune(tables: Tables, table: str, partition: str, *, live: str, before: str | None) -> None:
    """Keep the newest replaced versions; the one just replaced stays in any case, for those who read it now."""
    others = [n for n in storage.names(versions(tables, table, partition)) if n not in (live, before)]
    for name in others[: max(0, len(others) - tables.keep + 1)]:
        _forget(tables, table, partition, name)


def _forget(tables: Tables, table: str, partition: str, version: str) -> None:
    _discard(tables, storage.join(versions(tables, table, partition), version))
    storage.remove(manifest_path(tables, table, partition, version))


def _discard(tables: Tables, folder: str) -> None:
    """Remove a folder as a unit, so that no half of it is taken for a version."""
    if storage.exists(folder):
        gone = storage.join(tables.store, STAGED, "_gone", folder.rpartition("/")[2])
        storage.remove(gone)
        storage.move(folder, gone)
        storage.remove(gone)


def _kept(tables: Tables, spark: SparkSession, table: str, partition: str) -> dict[str, str]:
    """The versions of a partition that can be put back; for a format, in which of its versions each stands."""
    if tables.format != "parquet":
        return kept_runs(tables, spark, table, partition)
    kept = versions(tables, table, partition)
    return {name: name for name in storage.names(kept) if version_in(storage.join(kept, name)) == name}


def _check_kept(tables: Tables, table: str, partition: str, version: str) -> None:
    """What is put back must be whole. Raises ResourceError."""
    folder = storage.join(versions(tables, table, partition), version)
    if version == UNNAMED:
        return
    problem = problem_of(manifest_path(tables, table, partition, version), folder)
    if problem:
        raise ResourceError(
            f"version {version} of {table}, {partition}, is damaged: {problem}",
            where=folder,
            fix="choose another by --to, or score that date again",
        )


def _staged_manifest(place: str, table: str, partition: str) -> str:
    return storage.join(place, "_manifests", table, f"{partition}.json")
