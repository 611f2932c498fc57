"""The text cache (`churn_notes`): hash of a text -> what was computed for it, a map per kind and identity.

Maps only grow, by whole files numbered in the order in which they became visible; an exclusive rename sees to
that. So all runs agree which value of a key came first, and that one counts. Nothing in it is a raw note.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Literal

from pyspark.sql import Column, DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from churn_spark.contract.published import NOTES, ddl
from churn_spark.errors import InputError, ResourceError
from churn_spark.notes import prepare as notes
from churn_spark.notes.remote import Budget
from churn_spark.settings.notes import Remote
from churn_spark.spark import storage

log = logging.getLogger(__name__)

Kind = Literal["note", "summary", "embedding"]
COLUMNS: dict[Kind, tuple[str, ...]] = {
    "note": ("key", "text_id", "folded_id", "was_cut", "redacted"),
    "summary": ("key", "folded_id", "summary", "status", "error", "calls", "tokens"),
    "embedding": ("key", "embedding", "status", "error", "calls", "tokens", "padded_tokens", "chunks"),
}
Budgets = dict[tuple[Kind, Remote], Budget]  # columns with equal settings share one
# What an identity's folder begins with: something else where the files came to be written in another way.
FOLDER: dict[Kind, str] = {"note": "identity=i", "summary": "identity=i", "embedding": "identity=b"}
IDENTITY = "_identity.json"
NUMBER = re.compile(r"\d{8}")
ROWS_PER_FILE = 100_000


def schema(kind: Kind) -> str:
    """The columns of one kind of map."""
    return ddl(f for f in NOTES if f.name in COLUMNS[kind])


@dataclass(frozen=True)
class CacheMap:
    """One map of the cache, i.e. all that one provider computed."""

    folder: str
    kind: Kind

    def stored(self, spark: SparkSession) -> DataFrame:
        """All committed answers, with `file`; a key may stand in several files. Rows of an error are none."""
        if not storage.exists(self.folder):
            none = [F.lit(None).cast(f.type).alias(f.name) for f in NOTES if f.name in COLUMNS[self.kind]]
            return spark.range(0).select(*none, F.lit("").alias("file"))
        reader = spark.read.schema(schema(self.kind)).option("parquet.page.verify-checksum.enabled", "true")
        rows = reader.parquet(self.folder).withColumn("file", F.col("_metadata.file_name"))
        return rows if self.kind == "note" else rows.where("error is null")

    def first(self, spark: SparkSession) -> DataFrame:
        """One row per key: where two runs computed the same, the value that was committed first.

        Vectors stay where they are while keys are compared; what is small is sorted by key once, as joins want it.
        """
        stored = self.stored(spark)
        if self.kind != "embedding":
            given = [c for c in stored.columns if c not in ("key", "file")]
            first = F.min_by(F.struct(*given), "file").alias("first")
            return stored.groupBy("key").agg(first).select("key", "first.*")
        several = stored.groupBy("key").count().where("count > 1").select("key")  # as a rule none
        repeated = stored.select("key", "file").join(F.broadcast(several), "key", "left_semi")
        earliest = repeated.groupBy("key").agg(F.min("file").alias("earliest"))
        found = stored.join(F.broadcast(earliest), "key", "left")
        return found.where("earliest IS NULL OR file = earliest").drop("file", "earliest")

    def add(self, rows: DataFrame, *, staging: str) -> list[Row]:
        """Commit rows; returns what the files written say, a row for the answers and one for each error.

        Each row: status and error (null for the note map and for answers), rows, calls, tokens, padded_tokens,
        chunked.
        """
        rows.select(*COLUMNS[self.kind]).write.mode("overwrite").parquet(staging)
        written = rows.sparkSession.read.schema(ddl(NOTES)).parquet(staging)
        sums = {n: F.sum(n) for n in ("calls", "tokens", "padded_tokens")}
        sums |= {"rows": F.count("*"), "chunked": F.count_if(F.col("chunks") > 1)}
        status = F.when(F.col("error").isNotNull(), F.col("status")).alias("status")
        found = written.groupBy(status, "error").agg(
            *[F.coalesce(column, F.lit(0)).alias(name) for name, column in sums.items()]
        )
        added = found.collect()
        self.publish(staging)
        return added

    def publish(self, staging: str) -> None:
        """Move written files in, each under the next free number."""
        written = storage.data_files(staging)
        if not written:
            raise ResourceError(
                "what Spark wrote is not to be seen from the driver",
                where=staging,
                fix="put the cache on storage that driver and workers share, named with its scheme (hdfs://, ...)",
            )
        for name in written:
            numbers = [int(n) for file in self.files() for n in NUMBER.findall(file)]
            _move_to_free(
                storage.join(staging, name),
                (storage.join(self.folder, f"{n:08d}.parquet") for n in count(max(numbers, default=0) + 1)),
            )
        storage.remove(staging)

    def compact(self, spark: SparkSession, *, staging: str, without: Column | None = None) -> int:
        """Put few files in place of many, less the rows `without`; the others' values and order stay.

        A merged file sorts before all that it replaces, so a kill loses nothing. A run that reads meanwhile may
        miss a file that it has listed; `with_texts` then looks again. Returns how many files it removed.
        """
        old = self.files()
        if len(old) < 2 and without is None:
            return 0
        merged = self.first(spark)
        if without is not None:
            merged = merged.where(~F.coalesce(without, F.lit(False)))
        files = max(1, -(-merged.count() // ROWS_PER_FILE))
        merged.coalesce(files).write.mode("overwrite").parquet(staging)
        span = f"{old[0][:8]}-{NUMBER.findall(old[-1])[-1]}"
        for name in storage.data_files(staging):
            _move_to_free(
                storage.join(staging, name),
                (storage.join(self.folder, f"{span}-{n:04d}.parquet") for n in count()),
            )
        for name in old:
            storage.remove(storage.join(self.folder, name))
        storage.remove(staging)
        return len(old)

    def files(self) -> list[str]:
        """The data files' names, in the order that decides which value of a key came first."""
        return storage.data_files(self.folder)


def _move_to_free(source: str, targets: Iterable[str]) -> None:
    next(target for target in targets if storage.move_if_free(source, target))


@dataclass(frozen=True)
class Cache:
    """The cache's folder, the run that adds to it, and what that run may still spend on it at remote endpoints."""

    folder: str
    run_id: str
    budgets: Budgets = field(default_factory=dict, compare=False)

    def map(self, kind: Kind, identity: Mapping[str, Any]) -> CacheMap:
        """The map of what a provider of this identity computed."""
        return CacheMap(self._map_folder(kind, notes.short(identity)), kind)

    def describe(self, kind: Kind, identity: Mapping[str, Any]) -> None:
        """Leave the identity beside its map, to be read by people."""
        path = storage.join(self.map(kind, identity).folder, IDENTITY)
        if not storage.exists(path):
            storage.write_json(path, dict(identity))

    def staging(self, run_id: str, name: str = "") -> str:
        """Where a run writes before it commits: inside the cache, so that a rename is enough."""
        return storage.join(self.folder, "_staging", run_id, name)

    def maps(self) -> Iterator[tuple[CacheMap, str]]:
        """Every map there is, and its identity's short name."""
        for kind in COLUMNS:
            for name in storage.names(storage.join(self.folder, f"kind={kind}")):
                if name.startswith(FOLDER[kind]):
                    short = name.removeprefix(FOLDER[kind])
                    yield CacheMap(self._map_folder(kind, short), kind), short

    def set_aside(self, file: str) -> None:
        """Take a damaged file out of its map; `file` is its path below the cache's folder."""
        aside = storage.join(self.folder, "_damaged", f"{self.run_id}-{file.replace('/', '_')}")
        storage.move(storage.join(self.folder, file), aside)

    def compact(self, spark: SparkSession) -> int:
        """Compact every map; returns how many files were replaced."""
        replaced = sum(
            stored.compact(spark, staging=self.staging(self.run_id, f"{stored.kind}-{short}"))
            for stored, short in list(self.maps())
        )
        storage.remove(self.staging(self.run_id))
        return replaced

    def drop(self, short: str) -> int:
        """Remove the maps of one identity; returns how many. Raises InputError where there is none."""
        found = [stored for stored, name in self.maps() if name == short]
        for stored in found:
            gone = self.staging(self.run_id, f"dropped-{stored.kind}")
            storage.move(stored.folder, gone)
        storage.remove(self.staging(self.run_id))
        if not found:
            known = ", ".join(sorted({name for _, name in self.maps()})) or "none"
            raise InputError(
                "the text cache knows no such identity", where=f"--identity {short}", fix=f"known: {known}"
            )
        return len(found)

    def drop_summaries(self, spark: SparkSession, *, status: str | None, like: str | None) -> int:
        """Remove the summaries of this status and SQL pattern (both where both are given); returns how many.

        The next run asks for them again. What was dropped is back only where this was killed before its end.
        """
        bad = F.lit(True)
        if status is not None:
            bad &= F.col("status") == status
        if like is not None:
            bad &= F.col("summary").ilike(like)
        dropped = 0
        for stored, short in [found for found in self.maps() if found[0].kind == "summary"]:
            n = stored.first(spark).where(bad).count()
            if n:
                stored.compact(spark, staging=self.staging(self.run_id, f"dropped-{short}"), without=bad)
            dropped += n
        storage.remove(self.staging(self.run_id))
        return dropped

    def _map_folder(self, kind: Kind, short: str) -> str:
        return storage.join(self.folder, f"kind={kind}", f"{FOLDER[kind]}{short}")


# -- for people -----------------------------------------------------------------------------------------


def described(cache: Cache, spark: SparkSession) -> list[str]:
    """One line per map: kind, identity, keys, files, bytes, and what computed it."""
    lines = []
    for stored, short in cache.maps():
        keys = stored.stored(spark).select(F.count_distinct("key")).first()
        lines.append(
            f"{stored.kind:<9} {short}  {keys[0] if keys else 0:>9,} texts  {len(stored.files()):>5,} files  "
            f"{storage.data_size(stored.folder) / 1e6:>8,.1f} MB  {_told(storage.join(stored.folder, IDENTITY))}"
        )
    return lines


def hit_rates(runs: str) -> list[str]:
    """What the cache saved, from the run records below `runs`."""
    counts = []
    for run_id in storage.names(runs):
        path = storage.join(runs, run_id, "run.json")
        if storage.exists(path):
            text = _json(path).get("text") or {}
            if text.get("distinct"):
                counts.append((text["cache_hits"], text["distinct"]))
    if not counts:
        return []
    hits, asked = (sum(column) for column in zip(*counts, strict=True))
    return [
        f"found in the cache: {hits / asked:.0%} of {asked:,} texts in {len(counts)} runs, "
        f"{counts[-1][0] / counts[-1][1]:.0%} in the last"
    ]


def _json(path: str) -> dict[str, Any]:
    """A record, or nothing where it is damaged: what is only for people must not stop them."""
    try:
        return dict(json.loads(storage.read_text(path)))
    except (ValueError, TypeError):
        log.warning("%s is damaged and left out", path)
        return {}


def _told(path: str) -> str:
    """An identity in a line; hashes cut, nested settings flat."""
    if not storage.exists(path):
        return ""
    found = json.loads(storage.read_text(path))
    flat = [pair for name, value in found.items()
            for pair in (value.items() if isinstance(value, dict) else [(name, value)])]  # fmt: skip
    return " ".join(f"{name}={str(value)[:24]}" for name, value in flat if value not in (None, ""))
