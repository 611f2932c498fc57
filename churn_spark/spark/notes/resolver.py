"""What became of each distinct note of a text column: looked up in the cache, computed where it lacks something.

A note is led through three maps, each by a key that the one before gave:

| map       | its key   | gives                                               | computed from              |
|-----------|-----------|-----------------------------------------------------|----------------------------|
| note      | note_hash | text_hash, was_cut, redacted; fold_hash of the text | note                       |
| summary   | text_hash | summary, summary_status; fold_hash of the summary   | text: the note, cleaned    |
| embedding | fold_hash | the vector                                          | summary; with source=note: text |

Of the two fold hashes the one of what is embedded is taken. With source=summary, "Mail JANE@EXAMPLE.COM!" has a
note_hash, which leads to the text_hash of "Mail [EMAIL]!", which leads to the summary "Mail [EMAIL]!" and to the
fold_hash of "mail [email]!", which leads to a vector. Where the summary is not there, nor is the fold_hash: both
`lacks_summary` and `lacks_embedding` hold, and once the summary is computed, the vector is looked up again: perhaps
it is there, since "MAIL [email]!" has the same. A note that is blank once it is clean has no text_hash in the note
map: it lacks nothing, and its status is `empty`.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from churn_spark.contract.values import EMPTY_NOTES
from churn_spark.errors import ConfigError, ResourceError
from churn_spark.notes import embedders, redaction, remote
from churn_spark.notes import prepare as notes
from churn_spark.settings.notes import Text
from churn_spark.spark import storage
from churn_spark.spark.notes import worker
from churn_spark.spark.notes.cache import Cache, CacheMap, Kind
from churn_spark.spark.notes.counts import Progress, TextCounts, computed_counts, shown
from churn_spark.spark.notes.estimate import estimated_seconds
from churn_spark.spark.session import broadcast_if_small, slots
from churn_spark.spark.tables import stored

log = logging.getLogger(__name__)

CHARS_PER_TOKEN = 4
SHORT_BYTES = 64
TOKENS_PER_TASK = 10_000
TASKS_PER_SLOT = 4
PROBE_TEXTS = 128
LEAST_PROBE = 64
STATUS_COUNTS = {
    "passthrough": "passthrough",
    "summarized": "ok",
    "truncated": "truncated",
    "failed": "failed",
}


class Lookup(NamedTuple):
    """One map of the cache: the column that is its key, what it gives, and what a missing entry is computed from."""

    kind: Kind
    key: str
    gives: Mapping[str, str]  # columns of the map -> what they are called here
    computed_from: str


def lookups(source: str) -> tuple[Lookup, ...]:
    """The maps in the order in which a note is led through them; `source` is what is embedded."""
    note = {"text_id": "text_hash", "was_cut": "was_cut", "redacted": "redacted"}
    summary = {"summary": "summary", "status": "summary_status"}
    fold = {"folded_id": "fold_hash"}
    return (
        Lookup("note", "note_hash", note | (fold if source == "note" else {}), "note"),
        Lookup("summary", "text_hash", summary | (fold if source == "summary" else {}), "text"),
        Lookup("embedding", "fold_hash", {}, "text" if source == "note" else "summary"),
    )


class Resolver:
    """Finds what became of each distinct note of one text column, and computes what the cache lacks."""

    def __init__(self, df: DataFrame, column: str, text: Text, cache: Cache, work: str) -> None:
        self.df, self.column, self.text, self.cache, self.work = df, column, text, cache, work
        self.spark, self.settings = df.sparkSession, text.of(column)
        self.lookups = lookups(self.settings.source)
        self.counts = TextCounts()
        self.identities: dict[Kind, dict[str, Any]] = {
            "note": notes.cleaning_identity(self.settings),
            "summary": notes.summary_identity(self.settings),
            "embedding": notes.embedding_identity(self.settings),
        }
        self.maps: dict[Kind, CacheMap] = {
            kind: cache.map(kind, identity) for kind, identity in self.identities.items()
        }

    def complete(self) -> DataFrame:
        """Return `resolved()`, materialised, after computing whatever could be computed."""
        resolved = self._stored(self.resolved(self.distinct()), "resolved")
        counted = self._count(resolved)
        lacking = [step for step in self.lookups if counted[f"lacks_{step.kind}"]]
        if lacking:
            is_open = F.greatest(*[F.col(f"lacks_{step.kind}") for step in self.lookups])
            filled = self._stored(self._filled(resolved.where(is_open), lacking), "filled")
            resolved = resolved.where(~is_open).unionByName(filled)
            counted = self._count(resolved)
        self._check(counted)
        return resolved

    def distinct(self) -> DataFrame:
        """Each distinct note that says something: note_hash, note, rows."""
        grouped = self.df.groupBy(F.col(self.column).alias("note")).agg(F.count("*").alias("rows"))
        return grouped.where(~is_blank(F.col("note"))).select(
            F.sha2("note", 256).alias("note_hash"), "note", "rows"
        )

    def resolved(self, distinct: DataFrame) -> DataFrame:
        """Add what the cache has: all that the maps give, `status`, and `lacks_<kind>` (boolean)."""
        df = distinct
        for step in self.lookups:
            df = df.join(self._entries(step), step.key, "left")
        has = {step.kind: F.coalesce(f"has_{step.kind}", F.lit(False)) for step in self.lookups}
        is_empty = has["note"] & F.col("text_hash").isNull()
        status = (
            F.when(is_empty, notes.EMPTY)
            .when(~(has["summary"] & has["embedding"]), "failed")
            .when(F.col("was_cut"), "truncated")
            .otherwise(F.col("summary_status"))
        )
        given = [name for step in self.lookups for name in step.gives.values()]
        lacks = [(~has[step.kind] & ~is_empty).alias(f"lacks_{step.kind}") for step in self.lookups]
        return df.select(*distinct.columns, *given, *lacks, status.alias("status"))

    def vectors(self, resolved: DataFrame) -> DataFrame:
        """The vectors of the resolved notes, materialised apart from the cache: fold_hash, embedding."""
        needed = resolved.select(F.col("fold_hash").alias("key")).where("key is not null").distinct()
        entries = self.maps["embedding"].first(self.spark).select("key", "embedding")
        chosen = entries.join(broadcast_if_small(needed, self.counts.distinct * 100), "key", "left_semi")
        vectors = self._stored(chosen, "vectors").withColumnRenamed("key", "fold_hash")
        return broadcast_if_small(vectors, storage.data_size(storage.join(self.work, "vectors")))

    def embedded(self) -> DataFrame:
        """The vectors (key, embedding) of `df`, texts as they are to be embedded (key, text)."""
        embedding = self.maps["embedding"]
        lacking = self.df.join(embedding.stored(self.spark).select("key"), "key", "left_anti")
        self._fill("embedding", self._stored(lacking, "to-embed"))
        return embedding.first(self.spark).select("key", "embedding")

    def _entries(self, step: Lookup) -> DataFrame:
        """What a map gives, under its names here, and `has_<kind>`, true."""
        entries = self.maps[step.kind].first(self.spark) if step.gives else self._keys(step.kind)
        given = [F.col(name).alias(here) for name, here in step.gives.items()]
        return entries.select(F.col("key").alias(step.key), *given, F.lit(True).alias(f"has_{step.kind}"))

    def _keys(self, kind: Kind) -> DataFrame:
        return self.maps[kind].stored(self.spark).select("key").distinct()

    def _filled(self, resolved: DataFrame, lacking: list[Lookup]) -> DataFrame:
        """The notes that lack something, resolved again after each map was filled in turn.

        Each time from the stored rows: Spark takes two scans of a folder for one, though files came in between.
        """
        kinds = [step.kind for step in lacking]
        reads_texts = any(step.computed_from != "summary" for step in lacking)
        cleaned = self._cleaned(resolved, commits="note" in kinds) if reads_texts else None
        again = resolved
        for step in lacking:
            if step.kind != "note":
                self._fill(step.kind, self._to_compute(step, again, cleaned))
            again = self.resolved(resolved.select("note_hash", "note", "rows"))
        return again

    def _cleaned(self, resolved: DataFrame, *, commits: bool) -> DataFrame:
        """The texts of the notes: text_hash, text. Cleaned once in this run, and what the cache lacks is committed."""
        total, tokens = _size(resolved, "note")
        progress = Progress("note", self.column, total, self._chunks(total, tokens, slots(self.spark)))
        if commits:
            self.cache.describe("note", self.identities["note"])
        folders = []
        for name, part in self._parts(resolved, "note_hash", progress):
            placed = part.select("note_hash", "lacks_note", "note").repartition(
                self._tasks(tokens // progress.chunks)
            )
            cleaned = self._stored(placed.mapInArrow(worker.clean(self.settings), worker.CLEANED), name)
            folders.append(storage.join(self.work, name))
            new = cleaned.where("lacks_note").withColumnRenamed("note_hash", "key")
            added = self.maps["note"].add(new, staging=self._staging(name)) if commits else []
            progress.add(added, TextCounts())
        texts = self.spark.read.schema(worker.CLEANED).parquet(*folders).where("text is not null")
        return texts.groupBy(F.col("text_id").alias("text_hash")).agg(F.min("text").alias("text"))

    def _to_compute(self, step: Lookup, resolved: DataFrame, cleaned: DataFrame | None) -> DataFrame:
        """What a map lacks: its key, and text, what to compute the entry from; materialised."""
        lacking = resolved.where(F.col(f"lacks_{step.kind}") & F.col(step.key).isNotNull())
        if step.computed_from == "text":
            assert cleaned is not None
            lacking = lacking.join(cleaned, "text_hash")
        texts = lacking.groupBy(F.col(step.key).alias("key")).agg(F.min(step.computed_from).alias("text"))
        return self._stored(texts, f"{step.kind}-texts")

    def _fill(self, kind: Kind, texts: DataFrame) -> None:
        """Compute in chunks what a map lacks (key, text), and commit each."""
        total, tokens = _size(texts, "text")
        if not total:
            return
        self._check_precision(kind, texts, total)
        self.cache.describe(kind, self.identities[kind])
        budget = self._budget(kind)
        at_once = budget.left().partitions if budget else slots(self.spark)
        about = estimated_seconds(kind, self.settings, texts=total, tokens=tokens, slots=at_once)
        progress = Progress(kind, self.column, total, self._chunks(total, tokens, at_once), about=about)
        for name, part in self._parts(texts, "key", progress):
            tasks = budget.left().partitions if budget else self._tasks(tokens // progress.chunks)
            in_even_shares = part.repartition(tasks)
            rows = worker.computed(in_even_shares, kind, self.settings, budget)
            added = self.maps[kind].add(rows, staging=self._staging(name))
            if budget:
                budget.pay(calls=sum(row.calls for row in added), tokens=sum(row.tokens for row in added))
            counts = computed_counts(kind, added, budget)
            self.counts.add(counts)
            progress.add(added, counts)
        if budget and progress.stop:
            self.counts.pending += total - progress.tried
            done = f"{progress.done} of {total} {kind} texts of {self.column} were answered"
            raise remote.problem(progress.stop, budget.limits, done=done)

    def _chunks(self, total: int, tokens: int, at_once: int) -> int:
        return min(total, max(1, math.ceil(tokens / (self.text.chunk_tokens * at_once))))

    def _parts(self, df: DataFrame, key: str, progress: Progress) -> Iterator[tuple[str, DataFrame]]:
        """A name and the rows of each chunk, until an endpoint stops the work."""
        while progress.goes_on:
            of_chunk = F.pmod(F.xxhash64(key), F.lit(progress.chunks)) == progress.chunk
            yield f"{progress.kind}-{progress.chunk:05d}", df.where(of_chunk)

    def _check_precision(self, kind: Kind, texts: DataFrame, total: int) -> None:
        """Measure int8 vectors on a probe of the texts. Raises ResourceError where they are too far from float32."""
        if kind == "embedding" and getattr(self.settings.embedder, "precision", "") == "int8":
            self.counts.int8_cosine = self._probe(texts)
            if total >= LEAST_PROBE:  # the mean of a few says little
                embedders.check_cosine(self.counts.int8_cosine)

    def _probe(self, texts: DataFrame) -> float:
        """The mean cosine of int8 to float32 vectors on a probe of these texts, measured in the workers."""
        probe = texts.orderBy("key").limit(PROBE_TEXTS).repartition(slots(self.spark)).select("text")
        measured = probe.mapInArrow(worker.cosines(self.settings), "cosine double")
        cosine, count = measured.agg(F.avg("cosine"), F.count("*")).collect()[0]
        log.info("step=text column=%s int8_cosine=%.4f texts=%d", self.column, cosine, count)
        return float(cosine)

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

    def _tasks(self, tokens: int) -> int:
        """How many partitions: by tokens, a few per slot."""
        return max(1, min(TASKS_PER_SLOT * slots(self.spark), tokens // TOKENS_PER_TASK))

    def _count(self, resolved: DataFrame) -> dict[str, Any]:
        def rows(condition: Column) -> Column:
            return F.sum(F.when(condition, F.col("rows")))

        status, redacted = F.col("status"), F.col("redacted")
        row = resolved.agg(
            *[F.count_if(F.col(f"lacks_{step.kind}")).alias(f"lacks_{step.kind}") for step in self.lookups],
            rows(status != notes.EMPTY).alias("notes"),
            F.count_distinct("text_hash").alias("distinct"),
            *[rows(status == s).alias(name) for name, s in STATUS_COUNTS.items()],
            rows(F.size(redacted) > 0).alias("redacted"),
            *[F.sum(redacted[kind] * F.col("rows")).alias(kind) for kind in redaction.KINDS],
        ).first()
        counted = {name: int(value or 0) for name, value in (row.asDict() if row else {}).items()}
        by_kind = {kind: n for kind in redaction.KINDS if (n := counted.pop(kind, 0))}
        return {**counted, "redactions": by_kind}

    def _check(self, counted: Mapping[str, Any]) -> None:
        counts = self.counts
        counts.add(TextCounts(**{n: v for n, v in counted.items() if not n.startswith("lacks_")}))
        counts.computed = max(counts.summaries_computed, counts.embeddings_computed)
        counts.cache_hits = max(0, counts.distinct - counts.computed)
        if counts.failed > self.text.max_error_share * max(counts.notes, 1):
            raise ResourceError(
                f"{counts.failed} of {counts.notes} notes could not be processed: {shown(counts.errors)}",
                where="text.max_error_share",
                fix="what was computed is kept, so a rerun goes on from there",
            )

    def _staging(self, name: str) -> str:
        return self.cache.staging(self.cache.run_id, f"{self.column}-{name}")

    def _stored(self, df: DataFrame, name: str) -> DataFrame:
        return stored(df, storage.join(self.work, name))


def is_blank(note: Column) -> Column:
    """Whether a short note says nothing, as `redaction.is_blank`, which also knows long stretches of white space."""
    said = F.lower(F.regexp_replace(note, r"^\s+|\s+$", ""))
    return (F.octet_length(note) <= SHORT_BYTES) & said.isin(*EMPTY_NOTES)


def _size(df: DataFrame, column: str) -> tuple[int, int]:
    """How many rows, and about how many tokens their texts have."""
    size = df.agg(F.count("*"), F.sum(F.length(column))).first()
    return (int(size[0]), (size[1] or 0) // CHARS_PER_TOKEN) if size else (0, 0)
