"""The text stage on Spark: each distinct text is paid for once, ever.

Three maps live in the text cache (`churn_notes`), each keyed by content and by the identity of what computed
it: note -> cleaned text's hash, text -> summary, folded text -> vector. `Filler` finds by an anti-join which
keys are missing, computes only those in Python, and commits them in chunks; then the rows are joined back.
When nothing is missing, no Python worker starts.
"""

from __future__ import annotations

import logging
import math
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np
import pyarrow as pa
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from churn_spark import notes, storage
from churn_spark.arrow import list_array
from churn_spark.columns import EMPTY_NOTES
from churn_spark.config import Text
from churn_spark.errors import ChurnError, ResourceError
from churn_spark.schemas import NOTES, ddl
from churn_spark.session import slots
from churn_spark.tables import commit_files

log = logging.getLogger(__name__)

CHARS_PER_TOKEN = 4
TOKENS_PER_TASK = 10_000
Compute = Callable[[list[str], list[str], Text], pa.RecordBatch]


def summary_column(column: str) -> str:
    return f"{column}__summary"


def status_column(column: str) -> str:
    return f"{column}__status"


def embedding_column(column: str) -> str:
    return f"{column}__embedding"


@dataclass
class TextCounts:
    """What the text stage found and did; rows for notes and statuses, distinct texts for the others."""

    notes: int = 0
    distinct: int = 0
    cache_hits: int = 0
    computed: int = 0
    passthrough: int = 0
    summarized: int = 0
    redacted: int = 0
    failed: int = 0
    truncated: int = 0
    summaries_computed: int = 0
    embeddings_computed: int = 0
    tokens: int = 0
    padded_tokens: int = 0

    def add(self, other: TextCounts) -> None:
        for f in fields(self):
            setattr(self, f.name, getattr(self, f.name) + getattr(other, f.name))


@dataclass(frozen=True)
class Cache:
    """The text cache's folder, and the run that adds to it."""

    folder: str
    work: str
    run_id: str

    def read(self, spark: SparkSession, kind: str, identity: str) -> DataFrame:
        """The rows of one map, one per key: where two runs computed the same, the first value stands."""
        stored = self.stored(spark, kind, identity).withColumn("file", F.col("_metadata.file_name"))
        first = stored.groupBy("key").agg(F.min("file").alias("file"))
        return stored.join(first, ["key", "file"], "left_semi").drop("file")

    def stored(self, spark: SparkSession, kind: str, identity: str) -> DataFrame:
        """All committed rows of one map."""
        folder = self.map_folder(kind, identity)
        if not storage.exists(folder):
            self.commit(spark.createDataFrame([], ddl(NOTES)), kind, identity, tag=f"{kind}-0")
        return spark.read.schema(ddl(NOTES)).parquet(folder)

    def commit(self, rows: DataFrame, kind: str, identity: str, *, tag: str) -> None:
        """Write rows aside, then make their files visible by renames."""
        staged = storage.join(self.work, "staging", tag)
        lacking = [F.lit(None).cast(f.type).alias(f.name) for f in NOTES if f.name not in rows.columns]
        rows.select("*", *lacking).select(*[f.name for f in NOTES]).write.mode("overwrite").parquet(staged)
        commit_files(staged, self.map_folder(kind, identity), tag=f"{self.run_id}-{tag}")

    def map_folder(self, kind: str, identity: str) -> str:
        return storage.join(self.folder, f"kind={kind}", f"identity=i{identity}")


# -- the stage ------------------------------------------------------------------------------------------


def with_texts(
    df: DataFrame, columns: Sequence[str], *, text: Text, cache: Cache
) -> tuple[DataFrame, TextCounts]:
    """Add for each text column `<column>__summary`, `__status` (string) and `__embedding` (array<float>).

    The result is materialised in the run's work folder. A blank note gets status `empty` and nulls, one that
    could not be processed `failed`. A damaged cache file is set aside and its texts are computed again.
    Raises ResourceError when more than `text.max_error_share` of the notes failed.
    """
    for _ in range(MAX_DAMAGED_FILES):
        try:
            return _with_texts(df, columns, text, cache)
        except Exception as problem:
            if not _set_damaged_aside(problem, cache):
                raise
    raise ResourceError(
        f"more than {MAX_DAMAGED_FILES} files of the text cache are damaged",
        where=cache.folder,
        fix="delete the cache; the next run computes it again",
    )


def _with_texts(
    df: DataFrame, columns: Sequence[str], text: Text, cache: Cache
) -> tuple[DataFrame, TextCounts]:
    total = TextCounts()
    for column in columns:
        df, counts = _with_text(df, column, text, cache)
        total.add(counts)
    if not columns:
        return df, total
    prepared = storage.join(cache.work, "prepared")
    df.write.mode("overwrite").parquet(prepared)
    return df.sparkSession.read.parquet(prepared), total


def _with_text(df: DataFrame, column: str, text: Text, cache: Cache) -> tuple[DataFrame, TextCounts]:
    counts = TextCounts()
    key = f"{column}__key"
    keyed = df.withColumn(key, note_key(column))
    distinct = keyed.groupBy(F.col(key).alias("key")).agg(
        F.min(column).alias("item"), F.count("*").alias("rows")
    )
    distinct = distinct.where("key is not null")

    fill = Filler(text, cache, column)
    index = fill.map("note", distinct, _clean_batch, notes.short(notes.cleaning_identity(text)))
    known = distinct.join(index.select("key", "text_id", "folded_id", "was_cut", "redactions"), "key", "left")

    items = known.groupBy(F.col("text_id").alias("key")).agg(F.min("item").alias("item"))
    summaries = fill.map("summary", items, _summarize_batch, notes.short(notes.summary_identity(text)))
    summaries = summaries.select(
        F.col("key").alias("text_id"), "summary", "status", F.col("folded_id").alias("summary_id")
    )
    resolved = known.join(summaries, "text_id", "left").withColumn(
        "embed_id", F.col("summary_id" if text.source == "summary" else "folded_id")
    )

    embedded = resolved.groupBy(F.col("embed_id").alias("key"))
    items = embedded.agg(F.min("summary" if text.source == "summary" else "item").alias("item"))
    compute = _embed_summaries if text.source == "summary" else _embed_notes
    vectors = fill.map("embedding", items, compute, notes.short(notes.embedding_identity(text)))

    status = (
        F.when(F.col("text_id").isNull(), notes.EMPTY)
        .when(F.col("status").isNull(), "failed")
        .when(F.col("was_cut"), "truncated")
        .otherwise(F.col("status"))
    )
    resolved = resolved.withColumn("status", status)
    _count(resolved, fill, counts)
    if counts.failed > text.max_error_share * max(counts.notes, 1):
        raise ResourceError(
            f"{counts.failed} of {counts.notes} notes could not be processed",
            where="text.max_error_share",
            fix="see the log for the error codes; what was computed is kept, so a rerun goes on from there",
        )
    result = (
        keyed.join(resolved.select(F.col("key").alias(key), "summary", "status", "embed_id"), key, "left")
        .join(vectors.select(F.col("key").alias("embed_id"), "embedding"), "embed_id", "left")
        .select(
            *df.columns,
            F.col("summary").alias(summary_column(column)),
            F.coalesce("status", F.lit(notes.EMPTY)).alias(status_column(column)),
            F.col("embedding").alias(embedding_column(column)),
        )
    )
    return result, counts


def vector_dimension(df: DataFrame, column: str) -> int:
    """The length of a text column's vectors; 0 where no row has one."""
    first = df.select(F.size(embedding_column(column)).alias("n")).where("n > 0").first()
    return int(first["n"]) if first else 0


def price_texts(df: DataFrame, columns: Sequence[str], *, text: Text, cache: Cache) -> dict[str, int]:
    """What the text stage would cost: distinct notes the cache lacks, their characters and estimated tokens."""
    total = {"notes": 0, "uncached": 0, "characters": 0, "estimated_tokens": 0}
    for column in columns:
        distinct = df.select(note_key(column).alias("key"), F.length(column).alias("chars")).where(
            "key is not null"
        )
        notes_seen = distinct.count()
        folder = cache.map_folder("note", notes.short(notes.cleaning_identity(text)))
        missing = distinct.dropDuplicates(["key"])
        if storage.exists(folder):
            known = df.sparkSession.read.schema(ddl(NOTES)).parquet(folder).select("key")
            missing = missing.join(known, "key", "left_anti")
        uncached, chars = missing.agg(F.count("*"), F.coalesce(F.sum("chars"), F.lit(0))).first() or (0, 0)
        for name, value in zip(total, (notes_seen, uncached, chars, chars // CHARS_PER_TOKEN), strict=True):
            total[name] += int(value)
    return total


def note_key(column: str) -> Column:
    """The hash of a note, null where it is blank; computed without Python."""
    note = F.col(column)
    blank = F.lower(F.regexp_replace(note, r"^\s+|\s+$", "")).isin(*EMPTY_NOTES)
    return F.when(~blank, F.sha2(note, 256))


def _count(resolved: DataFrame, fill: Filler, counts: TextCounts) -> None:
    def rows(condition: Column) -> Column:
        return F.coalesce(F.sum(F.when(condition, F.col("rows"))), F.lit(0)).cast("long")

    status = F.col("status")
    found = resolved.agg(
        rows(status != notes.EMPTY).alias("notes"),
        F.count_distinct("text_id").alias("distinct"),
        *[rows(status == s).alias(name) for s, name in STATUS_COUNTS.items()],
        rows(F.col("redactions") > 0).alias("redacted"),
    ).first()
    for name, value in (found.asDict() if found else {}).items():
        setattr(counts, name, int(value))
    counts.summaries_computed, counts.embeddings_computed = (
        fill.computed["summary"],
        fill.computed["embedding"],
    )
    counts.tokens, counts.padded_tokens = fill.tokens, fill.padded_tokens
    counts.computed = counts.summaries_computed
    counts.cache_hits = max(0, counts.distinct - counts.summaries_computed)


STATUS_COUNTS = {
    "passthrough": "passthrough",
    "ok": "summarized",
    "truncated": "truncated",
    "failed": "failed",
}


class Filler:
    """Completes the cache's maps for one text column, and counts what had to be computed."""

    def __init__(self, text: Text, cache: Cache, column: str) -> None:
        self.text, self.cache, self.column = text, cache, column
        self.computed = {"note": 0, "summary": 0, "embedding": 0}
        self.tokens = self.padded_tokens = 0

    def map(self, kind: str, items: DataFrame, compute: Compute, identity: str) -> DataFrame:
        """Return one map of the cache after adding every `key` of `items` (key, item) that it lacked."""
        spark, cache = items.sparkSession, self.cache
        missing = items.where("key is not null and item is not null").join(
            cache.stored(spark, kind, identity).select("key"), "key", "left_anti"
        )
        size = missing.agg(F.count("*"), F.sum(F.length("item"))).first()
        count, chars = (size[0], size[1] or 0) if size else (0, 0)
        if count:
            self._compute(missing, kind, identity, compute, chars // CHARS_PER_TOKEN)
        return cache.read(spark, kind, identity)

    def _compute(self, missing: DataFrame, kind: str, identity: str, compute: Compute, tokens: int) -> None:
        text, started, done = self.text, time.monotonic(), 0
        chunks = max(1, math.ceil(tokens / text.chunk_tokens))
        tasks = self._tasks(missing.sparkSession, kind, tokens // chunks)
        missing = missing.withColumn("chunk", F.pmod(F.xxhash64("key"), F.lit(chunks)))
        if chunks > 1:
            path = storage.join(self.cache.work, "staging", f"{self.column}-{kind}-missing")
            missing.select("key", "item", "chunk").write.mode("overwrite").partitionBy("chunk").parquet(path)
            missing = missing.sparkSession.read.schema("key string, item string, chunk bigint").parquet(path)
        for chunk in range(chunks):
            part = missing.where(F.col("chunk") == chunk).select("key", "item").repartition(tasks, "key")
            rows = part.mapInArrow(_in_worker(compute, text), ddl(f for f in NOTES if f.name in OUTPUT[kind]))
            tag = f"{self.column}-{kind}-{chunk:05d}"
            self.cache.commit(rows, kind, identity, tag=tag)
            done += self._count_committed(missing.sparkSession, kind, identity, tag)
            seconds = time.monotonic() - started
            left = seconds / (chunk + 1) * (chunks - chunk - 1)
            log.info(
                "step=text kind=%s column=%s chunk=%d/%d texts=%d tokens_per_s=%d seconds=%.1f left=%.0f",
                kind, self.column, chunk + 1, chunks, done,
                tokens * (chunk + 1) / chunks / max(seconds, 1e-9), seconds, left,
            )  # fmt: skip
        self.computed[kind] += done

    def _count_committed(self, spark: SparkSession, kind: str, identity: str, tag: str) -> int:
        folder = self.cache.map_folder(kind, identity)
        prefix = f"{self.cache.run_id}-{tag}-"
        files = [storage.join(folder, n) for n in storage.names(folder) if n.startswith(prefix)]
        total = (
            spark.read.schema(ddl(NOTES))
            .parquet(*files)
            .agg(F.count("*"), F.sum("tokens"), F.sum("padded_tokens"))
            .first()
        )
        count, tokens, padded = (v or 0 for v in total or (0, 0, 0))
        self.tokens, self.padded_tokens = self.tokens + tokens, self.padded_tokens + padded
        return int(count)

    def _tasks(self, spark: SparkSession, kind: str, tokens: int) -> int:
        provider = self.text.summarizer if kind == "summary" else self.text.embedder
        if kind != "note" and provider.name == "openai":
            return provider.remote.partitions
        return max(1, min(4 * slots(spark), tokens // TOKENS_PER_TASK))


MAX_DAMAGED_FILES = 20


def _set_damaged_aside(problem: Exception, cache: Cache) -> bool:
    """Move the cache file that a read failed on out of the way; False where that was not the failure."""
    named = re.search(r"(kind=\w+/identity=\w+/[^/\s'\"]+\.parquet)", str(problem))
    if not named or not storage.exists(storage.join(cache.folder, named[1])):
        return False
    aside = storage.join(cache.folder, "_damaged", named[1].replace("/", "_"))
    storage.move(storage.join(cache.folder, named[1]), aside)
    log.warning("step=text damaged_cache_file=%s action=recompute", named[1])
    return True


# -- in the worker --------------------------------------------------------------------------------------

OUTPUT = {
    "note": ("key", "text_id", "folded_id", "was_cut", "redactions"),
    "summary": ("key", "folded_id", "summary", "status"),
    "embedding": ("key", "embedding", "tokens", "padded_tokens", "chunks"),
}


def _in_worker(
    compute: Compute, text: Text
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """Apply `compute` to each batch of (key, item); an error says what kind it was, never what text."""

    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            try:
                yield compute(batch.column("key").to_pylist(), batch.column("item").to_pylist(), text)
            except ChurnError:
                raise
            except Exception as problem:
                kind = type(problem).__name__
                raise ResourceError(
                    f"the text stage failed in a worker ({kind})", fix="see error.txt"
                ) from None

    return run


def _clean_batch(keys: list[str], items: list[str], text: Text) -> pa.RecordBatch:
    cleaned = [notes.clean(item, text) for item in items]
    return pa.RecordBatch.from_pydict(
        {
            "key": keys,
            "text_id": pa.array(
                [None if c.text is None else notes.text_hash(c.text) for c in cleaned], pa.string()
            ),
            "folded_id": pa.array(
                [None if c.text is None else notes.folded_hash(c.text, text) for c in cleaned], pa.string()
            ),
            "was_cut": [c.was_cut for c in cleaned],
            "redactions": pa.array([c.redactions for c in cleaned], pa.int32()),
        }
    )


def _summarize_batch(keys: list[str], items: list[str], text: Text) -> pa.RecordBatch:
    texts = [notes.clean(item, text).text or "" for item in items]
    summaries = notes.summarize(texts, text)
    rows = [(k, s) for k, s in zip(keys, summaries, strict=True) if s.status not in ("failed", "pending")]
    return pa.RecordBatch.from_pydict(
        {
            "key": pa.array([k for k, _ in rows], pa.string()),
            "folded_id": pa.array([notes.folded_hash(s.text, text) for _, s in rows], pa.string()),
            "summary": pa.array([s.text for _, s in rows], pa.string()),
            "status": pa.array([s.status for _, s in rows], pa.string()),
        }
    )


def _embed_notes(keys: list[str], items: list[str], text: Text) -> pa.RecordBatch:
    return _embed_summaries(keys, [notes.clean(item, text).text or "" for item in items], text)


def _embed_summaries(keys: list[str], items: list[str], text: Text) -> pa.RecordBatch:
    embedded = notes.embed(items, text)
    batch = pa.RecordBatch.from_pydict(
        {
            "key": keys,
            "embedding": list_array(embedded.vectors),
            "tokens": pa.array(embedded.tokens, pa.int32()),
            "padded_tokens": pa.array(embedded.padded_tokens, pa.int32()),
            "chunks": pa.array(embedded.n_chunks, pa.int32()),
        }
    )
    answered = pa.array(~np.isnan(embedded.vectors[:, 0]))
    return batch.filter(answered)  # what failed is asked for again next time
