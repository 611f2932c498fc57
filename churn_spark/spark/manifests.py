"""What each published version consists of: a file that is damaged, missing or not its own is told.

A manifest lies beside the tables, at `_manifests/<table>/<partition>/<version>.json`: for every file its size and
sha256.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from pyspark.sql import SparkSession

from churn_spark.contract.sealed import sealed, unsealed
from churn_spark.errors import ResourceError
from churn_spark.spark import storage
from churn_spark.spark.tables import Tables
from churn_spark.spark.versions import UNNAMED, Live, live_folders

MANIFESTS = "_manifests"
HASHED_BYTES = (
    2_000_000_000  # of earlier dates, newest first, before each run; of older ones only sizes are looked at
)

log = logging.getLogger(__name__)


class Damage(NamedTuple):
    """What is wrong with a published partition."""

    table: str
    partition: str
    what: str
    folder: str


def manifest_path(tables: Tables, table: str, partition: str, version: str) -> str:
    return storage.join(tables.store, MANIFESTS, table, partition, f"{version}.json")


def write_manifest(path: str, folder: str) -> None:
    """Note the size and sha256 of every file of a folder."""
    files = {
        name: {"bytes": storage.size(place), "sha256": storage.sha256(place)}
        for name in storage.data_files(folder)
        for place in [storage.join(folder, name)]
    }
    storage.write_text(path, sealed({"files": files}))


def problem_of(path: str, folder: str, *, hashed: bool = True) -> str | None:
    """What is wrong with a folder by its manifest, in words; None where nothing is."""
    if not storage.exists(path):
        return "its manifest is missing"
    try:
        files = unsealed(storage.read_text(path), where=path, fix="")["files"]
    except (ResourceError, KeyError):
        return "its manifest is damaged"
    present = [n for n in storage.names(folder) if not n.startswith((".", "_"))]
    missing, foreign = sorted({*files} - {*present}), sorted({*present} - {*files})
    if missing:
        return f"{len(missing)} of its {len(files)} files are missing"
    if foreign:
        return f"{len(foreign)} of its files were added later"
    for name, file in files.items():
        place = storage.join(folder, name)
        if storage.size(place) != file["bytes"] or (hashed and storage.sha256(place) != file["sha256"]):
            return f"{name} is not what was written"
    return None


def damaged(
    tables: Tables, spark: SparkSession | None, table: str, *, hashed_bytes: float = float("inf")
) -> Iterator[Damage]:
    """Every damaged partition of a table, the newest first; a folder of before manifests is none.

    Files are read as long as they have `hashed_bytes` in all; of the rest only names and sizes are looked at.
    """
    if tables.format != "parquet":
        return
    for live in live_folders(tables, spark, table):
        hashed_bytes -= storage.data_size(live.folder)
        what = _problem(tables, table, live, hashed=hashed_bytes >= 0)
        if what:
            yield Damage(table, live.partition, what, live.folder)


def gone(tables: Tables, spark: SparkSession | None, table: str) -> Iterator[Damage]:
    """Every partition that was published, and of which nothing is left."""
    live = {found.partition for found in live_folders(tables, spark, table)}
    folder = storage.join(tables.store, MANIFESTS, table)
    for partition in sorted({*storage.names(folder)} - live):
        if storage.names(storage.join(folder, partition)):
            what = "it is gone; if it was removed on purpose, remove this folder too"
            yield Damage(table, partition, what, storage.join(folder, partition))


def damaged_partitions(tables: Tables, spark: SparkSession, names: Iterable[str]) -> frozenset[str]:
    """The partitions of the tables that are damaged, each told by a warning, for readers to leave out."""
    damages = [d for table in names for d in damaged(tables, spark, table, hashed_bytes=HASHED_BYTES)]
    for damage in damages:
        log.warning("%s %s is damaged and left out: %s; `churn-spark verify` says how to mend it",
                    damage.table, damage.partition, damage.what)  # fmt: skip
    return frozenset(d.partition for d in damages)


def check_partition(tables: Tables, spark: SparkSession | None, table: str, live: Live) -> None:
    """Raises ResourceError where a partition is damaged."""
    what = _problem(tables, table, live) if tables.format == "parquet" else None
    if what:
        raise ResourceError(
            f"{table} of {live.partition.partition('=')[2]} is damaged: {what}",
            where=live.folder,
            fix=mend(live.partition),
        )


def _problem(tables: Tables, table: str, live: Live, *, hashed: bool = True) -> str | None:
    if live.version == UNNAMED:
        return None
    if not live.version:
        return "its data files are gone"
    return problem_of(manifest_path(tables, table, live.partition, live.version), live.folder, hashed=hashed)


def mend(partition: str) -> str:
    """The commands that put a damaged date right."""
    value = partition.partition("=")[2]
    return f"churn-spark rollback --score-date {value}, or score that date again"
