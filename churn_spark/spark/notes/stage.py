"""The text stage on Spark: each distinct text is paid for once, ever.

The distinct notes of a table are resolved by three maps of the text cache: note -> hashes of the cleaned text,
cleaned text -> summary, folded text -> vector. What a map lacks is computed in Python and committed in chunks;
when none lacks anything, no Python worker starts.
"""

from __future__ import annotations

import logging
import math
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import pyarrow as pa
from pyspark.sql import Column, DataFrame, Row
from pyspark.sql import functions as F

from churn_spark.arrays import vector_array
from churn_spark.contract.columns import embedding_column, status_column, summary_column, vector_column
from churn_spark.contract.values import EMPTY_NOTES
from churn_spark.errors import ChurnError, ConfigError, ResourceError
from churn_spark.notes import embedders, redaction, remote
from churn_spark.notes import prepare as notes
from churn_spark.settings.sections import NoteSettings, Remote, Text
from churn_spark.spark import storage
from churn_spark.spark.notes.cache import COLUMNS, Cache, CacheMap, Kind, schema
from churn_spark.spark.session import broadcast_if_small, slots

log = logging.getLogger(__name__)

CHARS_PER_TOKEN = 4
SHORT_BYTES = 64
TOKENS_PER_TASK = 10_000
TASKS_PER_SLOT = 4
PROBE_TEXTS = 128
LEAST_PROBE = 64
Compute = Callable[[list[str], list[str], NoteSettings], pa.RecordBatch]


@dataclass
class TextCounts:
    """What the text stage found and did; rows for notes and statuses, distinct texts for the others.

    `tokens` were embedded, `padded_tokens` is what the model computed on for them, `padding` their ratio;
    `chunked` texts were longer than the model's window; `int8_cosine` is the lowest that a probe found. `calls`
    and `billed_tokens` are what remote endpoints were asked and charge for; `errors` are texts that got no
    summary or vector, by error code, and `pending` those that were not asked for yet. `redactions` is by kind.
    """

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
    chunked: int = 0
    tokens: int = 0
    padded_tokens: int = 0
    padding: float | None = None
    int8_cosine: float | None = None
    calls: int = 0
    billed_tokens: int = 0
    pending: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    redactions: dict[str, int] = field(default_factory=dict)

    def add(self, other: TextCounts) -> None:
        """Add another column's counts."""
        cosines = [c for c in (self.int8_cosine, other.int8_cosine) if c is not None]
        for name in (f.name for f in fields(self) if f.type == "int"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.errors = dict(Counter(self.errors) + Counter(other.errors))
        self.redactions = dict(Counter(self.redactions) + Counter(other.redactions))
        self.int8_cosine = min(cosines, default=None)
        self.padding = round(self.padded_tokens / self.tokens, 3) if self.tokens else None


# -- the stage ------------------------------------------------------------------------------------------


def with_texts(
    df: DataFrame, columns: Sequence[str], *, text: Text, cache: Cache, work: str, counts: TextCounts
) -> DataFrame:
    """Add for each text column `<column>__summary`, `__status` (string) and `__embedding` (float32 as binary).

    The result is materialised in the folder `work`, each distinct vector once: rows find theirs by a join. A
    blank note gets status `empty` and nulls, one that could not be processed `failed`. A damaged cache file
    is set aside and its texts are computed again. What was done is added to `counts`, also where this raises.
    Raises ResourceError when more than `text.max_error_share` of the notes failed, int8 vectors are too far
    from float32, or a remote endpoint or its budget stops the work, after what was answered is committed.
    """
    for _ in range(MAX_DAMAGED_FILES):
        found = TextCounts()
        try:
            return _with_texts(df, columns, text, cache, work, found)
        except Exception as problem:
            if not _mended(problem, cache):
                raise
            found = TextCounts(calls=found.calls, billed_tokens=found.billed_tokens)
        finally:
            counts.add(found)
            storage.remove(cache.staging(cache.run_id))
    raise ResourceError(
        f"more than {MAX_DAMAGED_FILES} files of the text cache are damaged",
        where=cache.folder,
        fix="delete the cache; the next run computes it again",
    )


def _with_texts(
    df: DataFrame,
    columns: Sequence[str],
    text: Text,
    cache: Cache,
    work: str,
    total: TextCounts,
) -> DataFrame:
    if not columns:
        return df
    vectors = {}
    rows = df
    for column in columns:
        resolver = Resolver(df, column, text, cache, storage.join(work, "text", column))
        try:
            resolved = resolver.complete()
        finally:
            total.add(resolver.counts)
        rows = _with_resolved(rows, column, resolved, resolver.counts)
        vectors[column] = resolver.vectors(resolved)
    prepared = storage.join(work, "prepared")
    rows.write.mode("overwrite").parquet(prepared)
    result = df.sparkSession.read.parquet(prepared)
    for column, found in vectors.items():
        result = result.join(found, vector_column(column), "left").drop(vector_column(column))
    added = [f(c) for c in columns for f in (summary_column, status_column, embedding_column)]
    return result.select(*df.columns, *added)


def _with_resolved(df: DataFrame, column: str, resolved: DataFrame, counts: TextCounts) -> DataFrame:
    """Join what became of each distinct note back to the rows that have it."""
    key = f"{column}__key"
    found = resolved.select(
        F.col("key").alias(key),
        F.col("summary").alias(summary_column(column)),
        F.col("status").alias(status_column(column)),
        F.col("embed_id").alias(vector_column(column)),
    )
    joined = df.withColumn(key, F.sha2(column, 256)).join(
        broadcast_if_small(found, counts.distinct * 1_000), key, "left"
    )
    return joined.drop(key).fillna(notes.EMPTY, [status_column(column)])


def is_blank(note: Column) -> Column:
    """Whether a short note says nothing, as `redaction.is_blank`, which also knows long stretches of white space."""
    said = F.lower(F.regexp_replace(note, r"^\s+|\s+$", ""))
    return (F.octet_length(note) <= SHORT_BYTES) & said.isin(*EMPTY_NOTES)


def _computed(kind: Kind, added: Sequence[Row], budget: remote.Budget | None) -> TextCounts:
    """The counts of what was added to a map of the cache."""
    answers = {"summary": "summaries_computed", "embedding": "embeddings_computed"}
    counts = TextCounts()
    for row in added:
        if row.error is not None:
            counts.add(TextCounts(errors={row.error: row.rows}))
        elif kind in answers:
            counts.add(TextCounts(chunked=row.chunked, **{answers[kind]: row.rows}))
        if kind == "embedding":
            counts.add(TextCounts(tokens=row.tokens, padded_tokens=row.padded_tokens))
        if budget:
            counts.add(TextCounts(calls=row.calls, billed_tokens=row.tokens))
    return counts


class _Progress:
    """How far a map of the cache has been filled, in distinct texts: a log line per chunk."""

    def __init__(self, kind: Kind, column: str, total: int, chunks: int) -> None:
        self.kind, self.column, self.total, self.chunks = kind, column, total, chunks
        self.chunk = self.done = self.tried = self.tokens = 0
        self.stop = ""  # the error that ends it before the last chunk
        self.started = time.monotonic()

    @property
    def goes_on(self) -> bool:
        return self.chunk < self.chunks and not self.stop

    def add(self, added: Sequence[Row], counts: TextCounts) -> None:
        self.chunk += 1
        self.done += sum(row.rows for row in added if row.error is None)
        self.tried += sum(row.rows for row in added if row.status != "pending")
        self.tokens += counts.tokens
        self.stop = next((row.error for row in added if row.status == "pending"), "")
        seconds = time.monotonic() - self.started
        unit, amount = ("tokens", self.tokens) if self.kind == "embedding" else ("texts", self.done)
        log.info(
            "step=text kind=%s column=%s chunk=%d/%d texts=%d/%d %s_per_s=%d seconds=%.1f left=%.0f",
            self.kind, self.column, self.chunk, self.chunks, self.done, self.total, unit, amount / seconds,
            seconds, seconds / self.chunk * (self.chunks - self.chunk),
        )  # fmt: skip
        if counts.errors:
            log.warning(
                "step=text kind=%s column=%s errors: %s", self.kind, self.column, _shown(counts.errors)
            )


def _shown(errors: Mapping[str, int]) -> str:
    return ", ".join(f"{code} {n}" for code, n in sorted(errors.items())) or "no error code"


# -- one column -----------------------------------------------------------------------------------------

STATUS_COUNTS = {
    "passthrough": "passthrough",
    "summarized": "ok",
    "truncated": "truncated",
    "failed": "failed",
}


class Resolver:
    """Finds what became of each distinct note of one text column, and computes what the cache lacks."""

    def __init__(self, df: DataFrame, column: str, text: Text, cache: Cache, work: str) -> None:
        self.df, self.column, self.text, self.cache, self.work = df, column, text, cache, work
        self.spark, self.settings = df.sparkSession, text.of(column)
        self.counts = TextCounts()
        self.identities = {
            "note": notes.cleaning_identity(self.settings),
            "summary": notes.summary_identity(self.settings),
            "embedding": notes.embedding_identity(self.settings),
        }
        self.maps: dict[Kind, CacheMap] = {kind: cache.map(kind, self.identities[kind]) for kind in COLUMNS}

    def complete(self) -> DataFrame:
        """Return `resolved()`, materialised, after filling whatever could be filled."""
        resolved = self._written(self.resolved(self.distinct()), "resolved")
        found = self._count(resolved)
        lacks = [kind for kind in COLUMNS if found[f"lacks_{kind}"]]
        if lacks:
            lacking = F.greatest(*[F.col(f"lacks_{kind}") for kind in COLUMNS])
            open_notes = resolved.where(lacking)
            for kind in lacks:
                self._fill(kind, self._items(kind, open_notes))
                open_notes = self.resolved(resolved.where(lacking).select("key", "item", "rows"))
            again = self._written(open_notes, "resolved-again")
            resolved = resolved.where(~lacking).unionByName(again)
            found = self._count(resolved)
        self._check(found)
        return resolved

    def distinct(self) -> DataFrame:
        """Each distinct note that says something: key (its hash), item (itself), rows."""
        grouped = self.df.groupBy(F.col(self.column).alias("item")).agg(F.count("*").alias("rows"))
        return grouped.where(~is_blank(F.col("item"))).select(
            F.sha2("item", 256).alias("key"), "item", "rows"
        )

    def resolved(self, distinct: DataFrame) -> DataFrame:
        """Add what the cache knows: text_id, summary, status, embed_id, ...; and `lacks_<kind>` (boolean)."""
        known = self.maps["note"].first(self.spark).withColumn("is_known", F.lit(True))
        summaries = self.maps["summary"].first(self.spark).select(
            F.col("key").alias("text_id"), F.col("folded_id").alias("summary_id"), "summary", "status"
        )  # fmt: skip
        vectors = self.maps["embedding"].stored(self.spark).select(F.col("key").alias("embed_id")).distinct()
        embed_id = "summary_id" if self.settings.source == "summary" else "folded_id"
        joined = distinct.join(known, "key", "left").join(summaries, "text_id", "left")
        joined = joined.withColumn("embed_id", F.col(embed_id)).join(
            vectors.withColumn("has_vector", F.lit(True)), "embed_id", "left"
        )
        lacks = {
            "lacks_note": F.col("is_known").isNull(),
            "lacks_summary": F.col("is_known").isNull()
            | (F.col("text_id").isNotNull() & F.col("status").isNull()),
            "lacks_embedding": F.col("has_vector").isNull()
            & (F.col("is_known").isNull() | F.col("text_id").isNotNull()),
        }
        status = (
            F.when(F.col("is_known") & F.col("text_id").isNull(), notes.EMPTY)
            .when(F.col("status").isNull() | F.col("has_vector").isNull(), "failed")
            .when(F.col("was_cut"), "truncated")
            .otherwise(F.col("status"))
        )
        return joined.withColumns(lacks).withColumn("status", status).drop("is_known", "has_vector")

    def vectors(self, resolved: DataFrame) -> DataFrame:
        """The vectors of the resolved notes, materialised apart from the cache: vector id, embedding."""
        needed = resolved.select(F.col("embed_id").alias("key")).where("key is not null").distinct()
        found = self.maps["embedding"].first(self.spark).select("key", "embedding")
        found = found.join(broadcast_if_small(needed, self.counts.distinct * 100), "key", "left_semi")
        written = self._written(found, "vectors").select(
            F.col("key").alias(vector_column(self.column)),
            F.col("embedding").alias(embedding_column(self.column)),
        )
        return broadcast_if_small(written, storage.data_size(storage.join(self.work, "vectors")))

    def embedded(self) -> DataFrame:
        """The vectors (key, embedding) of `df`, texts as they are to be embedded (key, item)."""
        stored = self.maps["embedding"]
        lacking = self.df.join(stored.stored(self.spark).select("key"), "key", "left_anti")
        self._fill("embedding", self._written(lacking, "embedding-items"))
        return stored.first(self.spark).select("key", "embedding")

    def _fill(self, kind: Kind, items: DataFrame) -> None:
        """Compute in chunks what a map lacks (key, item), and commit each."""
        size = items.agg(F.count("*"), F.sum(F.length("item"))).first()
        total, tokens = (int(size[0]), (size[1] or 0) // CHARS_PER_TOKEN) if size else (0, 0)
        if not total:
            return
        if kind == "embedding" and getattr(self.settings.embedder, "precision", "") == "int8":
            self.counts.int8_cosine = self._probe(items)
            if total >= LEAST_PROBE:  # the mean of a few says little
                embedders.check_cosine(self.counts.int8_cosine)
        self.cache.describe(kind, self.identities[kind])
        budget = self._budget(kind)
        at_once = budget.left().partitions if budget else slots(self.spark)
        chunks = min(total, max(1, math.ceil(tokens / (self.text.chunk_tokens * at_once))))
        compute = _in_worker(COMPUTE[kind], self.settings, budget)
        progress = _Progress(kind, self.column, total, chunks)
        while progress.goes_on:
            part = items.where(F.pmod(F.xxhash64("key"), F.lit(chunks)) == progress.chunk)
            tasks = budget.left().partitions if budget else self._tasks(tokens // chunks)
            rows = part.repartition(tasks).mapInArrow(compute, schema(kind))  # in even shares
            name = f"{self.column}-{kind}-{progress.chunk:05d}"
            added = self.maps[kind].add(rows, staging=self.cache.staging(self.cache.run_id, name))
            if budget:
                budget.pay(calls=sum(row.calls for row in added), tokens=sum(row.tokens for row in added))
            counts = _computed(kind, added, budget)
            self.counts.add(counts)
            progress.add(added, counts)
        if budget and progress.stop:
            self.counts.pending += total - progress.tried
            told = f"{progress.done} of {total} {kind} texts of {self.column} were answered"
            raise remote.problem(progress.stop, budget.limits, done=told)

    def _budget(self, kind: Kind) -> remote.Budget | None:
        """The run's budget at the endpoint that computes this kind; None where none does."""
        summarizer, embedder = self.settings.summarizer, self.settings.embedder
        limits = {
            ("summary", summarizer.name): summarizer.remote,
            ("embedding", embedder.name): embedder.remote,
        }.get((kind, "openai"))
        if limits is None:
            return None
        remote.check(limits)
        if self.spark.conf.get("spark.speculation", "false") == "true":
            raise ConfigError(
                "with speculation a remote call could be made and paid for twice",
                where="spark.speculation",
                fix="start the session with spark.speculation=false",
            )
        return self.cache.budgets.setdefault((kind, limits), remote.Budget(limits))

    def _items(self, kind: Kind, resolved: DataFrame) -> DataFrame:
        """What a map lacks: key, and item, the text to compute it from; materialised."""
        by_summary = kind == "embedding" and self.settings.source == "summary"
        key = {"note": "key", "summary": "text_id", "embedding": "embed_id"}[kind]
        item = "summary" if by_summary else "item"
        lacking = resolved.where(F.col(f"lacks_{kind}") & F.col(key).isNotNull() & F.col(item).isNotNull())
        items = lacking.groupBy(F.col(key).alias("key")).agg(F.min(item).alias("item"))
        return self._written(items, f"{kind}-items")

    def _probe(self, items: DataFrame) -> float:
        """The mean cosine of int8 to float32 vectors on a probe of these texts, measured in the workers."""
        probe = items.orderBy("key").limit(PROBE_TEXTS).repartition(slots(self.spark))
        measured = probe.mapInArrow(_in_worker(_cosines, self.settings), "cosine double")
        cosine, texts = measured.agg(F.avg("cosine"), F.count("*")).collect()[0]
        log.info("step=text column=%s int8_cosine=%.4f texts=%d", self.column, cosine, texts)
        return float(cosine)

    def _tasks(self, tokens: int) -> int:
        """How many partitions: by tokens, a few per slot."""
        return max(1, min(TASKS_PER_SLOT * slots(self.spark), tokens // TOKENS_PER_TASK))

    def _count(self, resolved: DataFrame) -> dict[str, Any]:
        def rows(condition: Column) -> Column:
            return F.sum(F.when(condition, F.col("rows")))

        status, redacted = F.col("status"), F.col("redacted")
        row = resolved.agg(
            *[F.count_if(F.col(f"lacks_{kind}")).alias(f"lacks_{kind}") for kind in COLUMNS],
            rows(status != notes.EMPTY).alias("notes"),
            F.count_distinct("text_id").alias("distinct"),
            *[rows(status == s).alias(name) for name, s in STATUS_COUNTS.items()],
            rows(F.size(redacted) > 0).alias("redacted"),
            *[F.sum(redacted[kind] * F.col("rows")).alias(kind) for kind in redaction.KINDS],
        ).first()
        found = {name: int(value or 0) for name, value in (row.asDict() if row else {}).items()}
        by_kind = {kind: n for kind in redaction.KINDS if (n := found.pop(kind, 0))}
        return {**found, "redactions": by_kind}

    def _check(self, found: Mapping[str, Any]) -> None:
        counts = self.counts
        counts.add(TextCounts(**{n: v for n, v in found.items() if not n.startswith("lacks_")}))
        counts.computed = max(counts.summaries_computed, counts.embeddings_computed)
        counts.cache_hits = max(0, counts.distinct - counts.computed)
        if counts.failed > self.text.max_error_share * max(counts.notes, 1):
            raise ResourceError(
                f"{counts.failed} of {counts.notes} notes could not be processed: {_shown(counts.errors)}",
                where="text.max_error_share",
                fix="what was computed is kept, so a rerun goes on from there",
            )

    def _written(self, df: DataFrame, name: str) -> DataFrame:
        path = storage.join(self.work, name)
        df.write.mode("overwrite").parquet(path)
        return self.spark.read.schema(df.schema).parquet(path)


MAX_DAMAGED_FILES = 20


def _mended(problem: Exception, cache: Cache) -> bool:
    """Whether the stage may try again: a cache file was compacted away meanwhile, or was damaged.

    A damaged one is moved out of the way.
    """
    named = re.search(r"(kind=\w+/identity=\w+/[^/\s'\"]+\.parquet)", str(problem))
    if not named:
        return False
    if not storage.exists(storage.join(cache.folder, named[1])):
        log.info("step=text cache_file=%s gone=true action=look_again", named[1])
        return True
    cache.set_aside(named[1])
    log.warning("step=text damaged_cache_file=%s action=recompute", named[1])
    return True


# -- in the worker --------------------------------------------------------------------------------------


def _in_worker(
    compute: Compute, settings: NoteSettings, budget: remote.Budget | None = None
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """Apply `compute` to each batch of (key, item); an error says what kind it was, never what text.

    Of a remote endpoint's budget a task gets its share of what is left when it starts.
    """

    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        remote.begin_task()
        mine = _within(settings, budget.limits, budget.left()) if budget else settings
        for batch in batches:
            try:
                yield compute(batch.column("key").to_pylist(), batch.column("item").to_pylist(), mine)
            except ChurnError:
                raise
            except Exception as problem:
                kind = type(problem).__name__
                raise ResourceError(
                    f"the text stage failed in a worker ({kind})", fix="see error.txt"
                ) from None

    return run


def _within(settings: NoteSettings, limits: Remote, left: Remote) -> NoteSettings:
    """The settings with what is left of these limits in their place."""
    changes: dict[str, Any] = {}
    if settings.summarizer.remote == limits:
        changes["summarizer"] = settings.summarizer.model_copy(update={"remote": left})
    if settings.embedder.remote == limits:
        changes["embedder"] = settings.embedder.model_copy(update={"remote": left})
    return settings.model_copy(update=changes)


REDACTED = pa.map_(pa.string(), pa.int32())


def _clean(keys: list[str], items: list[str], settings: NoteSettings) -> pa.RecordBatch:
    cleaned = [notes.clean(item, settings) for item in items]
    return pa.RecordBatch.from_pydict(
        {
            "key": keys,
            "text_id": pa.array(
                [None if c.text is None else notes.text_hash(c.text) for c in cleaned], pa.string()
            ),
            "folded_id": pa.array(
                [None if c.text is None else notes.folded_hash(c.text, settings) for c in cleaned],
                pa.string(),
            ),
            "was_cut": [c.was_cut for c in cleaned],
            "redacted": pa.array([list(c.redacted.items()) for c in cleaned], REDACTED),
        }
    )


def _summarize(keys: list[str], items: list[str], settings: NoteSettings) -> pa.RecordBatch:
    texts = [notes.clean(item, settings).text or "" for item in items]
    summaries = notes.summarize(texts, settings)
    answers = [None if s.status in ("failed", "pending") else s for s in summaries]
    errors = [None if a else s.error for a, s in zip(answers, summaries, strict=True)]
    return pa.RecordBatch.from_pydict(
        {
            "key": pa.array(keys, pa.string()),
            "folded_id": pa.array([a and notes.folded_hash(a.text, settings) for a in answers], pa.string()),
            "summary": pa.array([a and a.text for a in answers], pa.string()),
            "status": pa.array([s.status for s in summaries], pa.string()),
            "error": pa.array(errors, pa.string()),
            "calls": pa.array([s.calls for s in summaries], pa.int32()),
            "tokens": pa.array([s.tokens for s in summaries], pa.int32()),
        }
    )


def _texts(items: list[str], settings: NoteSettings) -> list[str]:
    """What is embedded: summaries as they are, notes cleaned."""
    if settings.source == "summary":
        return items
    return [notes.clean(item, settings).text or "" for item in items]


def _embed(keys: list[str], items: list[str], settings: NoteSettings) -> pa.RecordBatch:
    embedded = notes.embed(_texts(items, settings), settings)
    results = embedded.results or [remote.Result(None, "ok")] * len(keys)
    return pa.RecordBatch.from_pydict(
        {
            "key": keys,
            "status": pa.array([r.status for r in results], pa.string()),
            "error": pa.array([r.error or None for r in results], pa.string()),
            "embedding": vector_array(embedded.vectors),
            "calls": pa.array([r.calls for r in results], pa.int32()),
            "tokens": pa.array(embedded.tokens, pa.int32()),
            "padded_tokens": pa.array(embedded.padded_tokens, pa.int32()),
            "chunks": pa.array(embedded.n_chunks, pa.int32()),
        }
    )


def _cosines(keys: list[str], items: list[str], settings: NoteSettings) -> pa.RecordBatch:
    exact = settings.model_copy(
        update={"embedder": settings.embedder.model_copy(update={"precision": "float32"})}
    )
    texts = [notes.fold(t, settings) for t in _texts(items, settings)]
    found = embedders.cosines(texts, notes.load_embedder(settings), reference=notes.load_embedder(exact))
    return pa.RecordBatch.from_pydict({"cosine": found.astype(float)})


COMPUTE: dict[Kind, Compute] = {"note": _clean, "summary": _summarize, "embedding": _embed}
