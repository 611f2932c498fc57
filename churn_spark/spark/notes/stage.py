"""The text stage on Spark: each distinct text is paid for once, ever.

The distinct notes of a table are resolved by three maps of the text cache, see `resolver`. What a map lacks is
computed in Python and committed in chunks; when none lacks anything, no Python worker starts.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from churn_spark.contract.columns import embedding_column, status_column, summary_column, vector_column
from churn_spark.contract.history import APART
from churn_spark.errors import ResourceError
from churn_spark.notes import prepare as notes
from churn_spark.settings.notes import Text
from churn_spark.spark import storage
from churn_spark.spark.notes.cache import Cache
from churn_spark.spark.notes.counts import TextCounts
from churn_spark.spark.notes.resolver import Resolver
from churn_spark.spark.notes.vectors import Vectors
from churn_spark.spark.session import broadcast_if_small
from churn_spark.spark.tables import stored

log = logging.getLogger(__name__)

MAX_DAMAGED_FILES = 20
IDS_APART = ","


class Noted(NamedTuple):
    """Rows with what became of their notes and the ids of their vectors, and the vectors of each text column."""

    df: DataFrame
    vectors: Mapping[str, Vectors]

    def joined(self) -> DataFrame:
        """The rows with their vectors, `<column>__embedding` (float32 as binary), instead of the ids."""
        df = self.df
        for column, vectors in self.vectors.items():
            df = df.join(vectors.df, vector_column(column), "left")
        return df.drop(*map(vector_column, self.vectors))


def with_texts(
    df: DataFrame,
    columns: Sequence[str],
    *,
    text: Text,
    cache: Cache,
    work: str,
    counts: TextCounts,
    several: Collection[str] = (),
) -> Noted:
    """Add for each text column `<column>__summary`, `__status` and `__vector`, the id of its vector (strings).

    Columns in `several` hold notes APART from one another: their summaries are APART, too, their status is that of
    the first, `failed` where one failed, and their vector an array of vectors, of the notes that have a summary.

    Rows and vectors are materialised in the folder `work`, each distinct vector once. A
    blank note gets status `empty` and nulls, one that could not be processed `failed`. A damaged cache file
    is set aside and its texts are computed again. What was done is added to `counts`, also where this raises.
    Raises ResourceError when more than `text.max_error_share` of the notes failed, int8 vectors are too far
    from float32, or a remote endpoint or its budget stops the work, after what was answered is committed.
    """
    for _ in range(MAX_DAMAGED_FILES):
        attempt = TextCounts()
        try:
            return _with_texts(df, columns, text, cache, work, attempt, several)
        except Exception as problem:
            if not _mended(problem, cache):
                raise
            attempt = TextCounts(calls=attempt.calls, billed_tokens=attempt.billed_tokens)
        finally:
            counts.add(attempt)
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
    several: Collection[str],
) -> Noted:
    if not columns:
        return Noted(df, {})
    vectors = {}
    rows = df
    for column in columns:
        folder = storage.join(work, "text", column)
        each = notes_of(df, column) if column in several else df
        resolver = Resolver(each, column, text, cache, folder)
        try:
            resolved = resolver.complete()
        finally:
            total.add(resolver.counts)
        outcome, by_id = _outcome(resolved, column), resolver.vectors(resolved)
        if column in several:
            outcome = stored(_told_together(df, column, outcome), storage.join(folder, "together"))
            by_id = stored(_brought_together(outcome, column, by_id), storage.join(folder, "brought"))
        rows = _with_outcome(rows, column, outcome, resolver.counts)
        named = by_id.select(
            F.col("fold_hash").alias(vector_column(column)),
            F.col("embedding").alias(embedding_column(column)),
        )
        vectors[column] = Vectors(named, None if column in several else resolver.counts.distinct)
    return Noted(stored(rows, storage.join(work, "prepared")), vectors)


def notes_of(df: DataFrame, column: str) -> DataFrame:
    """A row for each note of a column that holds several."""
    return df.select(F.explode(F.split(column, APART)).alias(column))


def _outcome(resolved: DataFrame, column: str) -> DataFrame:
    """What became of each distinct note: its hash, and the text stage's columns for it."""
    return resolved.select(
        F.col("note_hash").alias(_key(column)),
        F.col("summary").alias(summary_column(column)),
        F.col("status").alias(status_column(column)),
        F.col("fold_hash").alias(vector_column(column)),
    )


def _told_together(df: DataFrame, column: str, outcome: DataFrame) -> DataFrame:
    """The same for each distinct value of a column that holds several notes; ids of vectors are IDS_APART."""
    values = df.select(column).where(F.col(column).isNotNull()).distinct()
    notes_in = values.select(F.sha2(column, 256).alias("_whole"), F.posexplode(F.split(column, APART)))
    found = notes_in.withColumn(_key(column), F.sha2("col", 256)).join(outcome, _key(column))
    summary, status, vector = (F.col(f(column)) for f in (summary_column, status_column, vector_column))
    entry = F.struct(
        "pos", status.alias("status"), F.coalesce(summary, F.lit("")).alias("summary"), vector.alias("id")
    )
    entries = F.sort_array(F.collect_list(entry))
    with_vector = F.filter("entries", lambda e: e["id"].isNotNull())
    one_failed = F.exists("entries", lambda e: e["status"] == "failed")
    return found.groupBy("_whole").agg(entries.alias("entries")).select(
        F.col("_whole").alias(_key(column)),
        F.array_join(F.transform(with_vector, lambda e: e["summary"]), APART).alias(summary_column(column)),
        F.when(one_failed, "failed").otherwise(F.col("entries")[0]["status"]).alias(status_column(column)),
        F.nullif(F.array_join(F.transform(with_vector, lambda e: e["id"]), IDS_APART), F.lit("")).alias(
            vector_column(column)
        ),
    )  # fmt: skip


def _brought_together(outcome: DataFrame, column: str, vectors: DataFrame) -> DataFrame:
    """The vectors of each distinct list of ids: fold_hash (the list), embedding (array)."""
    lists = outcome.select(F.col(vector_column(column)).alias("ids")).where("ids is not null").distinct()
    places = lists.select("ids", F.posexplode(F.split("ids", IDS_APART)).alias("pos", "fold_hash"))
    ordered = F.sort_array(F.collect_list(F.struct("pos", "embedding")))
    return places.join(vectors, "fold_hash").groupBy(F.col("ids").alias("fold_hash")).agg(
        F.transform(ordered, lambda e: e["embedding"]).alias("embedding")
    )  # fmt: skip


def _with_outcome(df: DataFrame, column: str, outcome: DataFrame, counts: TextCounts) -> DataFrame:
    """Join what became of the notes back to the rows that have them."""
    joined = df.withColumn(_key(column), F.sha2(column, 256)).join(
        broadcast_if_small(outcome, counts.distinct * 1_000), _key(column), "left"
    )
    return joined.drop(_key(column)).fillna(notes.EMPTY, [status_column(column)])


def _key(column: str) -> str:
    return f"{column}__key"


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
