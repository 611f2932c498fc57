"""What is damaged in the state that runs leave, and the putting right of it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
from pyspark.sql import SparkSession

from churn_spark.errors import ChurnError
from churn_spark.jobs.lock import lock
from churn_spark.model.package import CHALLENGER, CHAMPION, read_package
from churn_spark.settings.sections import Config
from churn_spark.spark import publishing, storage
from churn_spark.spark.manifests import damaged, gone, mend
from churn_spark.spark.notes.cache import Cache
from churn_spark.spark.session import get_session
from churn_spark.spark.tables import SCORED_TABLES, Tables
from churn_spark.spark.training.registry import mend_pointers, read_pointer
from churn_spark.spark.versions import live_folders


def recover(config: Config, *, give_up: bool) -> list[str]:
    """Complete a publish that was interrupted, or give it up; put copies in the place of damaged pointers.

    Returns what was done, in lines. Raises ResourceError for what it cannot put right.
    """
    done = []
    with lock(config.folder, "train", "recover"):
        done += [f"{name}: its copy was put in its place" for name in mend_pointers(config.models_path)]
    with lock(config.folder, "score", "recover"):
        tables = Tables.of(config)
        spark = _session(config, tables)
        if give_up:
            done += [
                f"{d}: the publish was given up" for d in publishing.abandon(tables, spark, SCORED_TABLES)
            ]
        else:
            completed = publishing.recover(tables, spark)
            done += [f"{completed}: completed"] if completed else []
    return done or ["there was nothing to recover"]


def verify(config: Config) -> list[str]:
    """Check pointers, packages, the journal, every published date and the text cache, whole.

    Returns a line for each damage, with the command that mends it; none where all is as it was written.
    """
    tables = Tables.of(config)
    spark = _session(config, tables)
    return [
        *_models(config.models_path),
        *_journal(tables),
        *_dates(tables, spark),
        *_cache(Cache(config.text_cache, "verify")),
    ]


def _session(config: Config, tables: Tables) -> SparkSession:
    """Tables in folders of Parquet files need none."""
    if tables.format == "parquet" and not tables.in_catalog:
        return None  # type: ignore[return-value]
    return get_session(config.spark.app_name, conf=config.spark.conf)


def _models(models: str) -> Iterator[str]:
    for name in (CHAMPION, CHALLENGER):
        try:
            pointer = read_pointer(models, name)
            if pointer and not storage.exists(storage.join(models, pointer["model_id"])):
                yield f"{name}: the package {pointer['model_id']} is gone -> churn-spark rollback, or train"
        except ChurnError as problem:
            yield f"{name}: {problem.what} -> {problem.fix}"
    for package in (n for n in storage.names(models) if n.startswith("m-")):
        with tempfile.TemporaryDirectory() as folder:
            try:
                read_package(Path(storage.fetch(storage.join(models, package), folder)))
            except ChurnError as problem:
                yield f"{package}: {problem.what} -> {problem.fix}"


def _journal(tables: Tables) -> Iterator[str]:
    path = storage.join(tables.store, publishing.JOURNAL)
    if storage.exists(path):
        yield f"{path}: a publish was interrupted -> churn-spark recover, or recover --abandon to give it up"


def _dates(tables: Tables, spark: SparkSession) -> Iterator[str]:
    live: dict[str, set[str]] = {}
    for table in SCORED_TABLES:
        for damage in (*damaged(tables, spark, table), *gone(tables, spark, table)):
            yield f"{table} {damage.partition}: {damage.what} ({damage.folder}) -> {mend(damage.partition)}"
        for found in live_folders(tables, spark, table) if tables.format == "parquet" else ():
            live.setdefault(found.partition, set()).add(found.version)
    for partition, runs in sorted(live.items()):
        if len(runs) > 1:
            yield f"{partition}: scores and reasons are of different runs -> churn-spark recover --abandon"


def _cache(cache: Cache) -> Iterator[str]:
    """Every page by its checksum; what cannot be read is set aside by the next run, and computed again."""
    for stored, short in cache.maps():
        for name in stored.files():
            with tempfile.TemporaryDirectory() as folder:
                file = storage.fetch(storage.join(stored.folder, name), folder)
                try:
                    pq.read_table(file, page_checksum_verification=True, partitioning=None)
                except Exception as problem:  # pyarrow raises whatever a damaged file leads to
                    what = f"text cache, {stored.kind} {short}, {name}: {type(problem).__name__}"
                    yield f"{what} -> the next run computes it again; or churn-spark cache drop --identity {short}"
