"""The text stage on Spark: each distinct text is paid for once, ever.

The distinct notes of a table are resolved by three maps of the text cache, see `resolver`. What a map lacks is
computed in Python and committed in chunks; when none lacks anything, no Python worker starts.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from churn_spark.contract.columns import embedding_column, status_column, summary_column, vector_column
from churn_spark.errors import ResourceError
from churn_spark.notes import prepare as notes
from churn_spark.settings.notes import Text
from churn_spark.spark import storage
from churn_spark.spark.notes.cache import Cache
from churn_spark.spark.notes.counts import TextCounts
from churn_spark.spark.notes.resolver import Resolver
from churn_spark.spark.session import broadcast_if_small
from churn_spark.spark.tables import stored

log = logging.getLogger(__name__)

MAX_DAMAGED_FILES = 20


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
        attempt = TextCounts()
        try:
            return _with_texts(df, columns, text, cache, work, attempt)
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
        vectors[column] = resolver.vectors(resolved).select(
            F.col("fold_hash").alias(vector_column(column)),
            F.col("embedding").alias(embedding_column(column)),
        )
    result = stored(rows, storage.join(work, "prepared"))
    for column, of_column in vectors.items():
        result = result.join(of_column, vector_column(column), "left")
    added = [f(c) for c in columns for f in (summary_column, status_column, embedding_column)]
    return result.select(*df.columns, *added)


def _with_resolved(df: DataFrame, column: str, resolved: DataFrame, counts: TextCounts) -> DataFrame:
    """Join what became of each distinct note back to the rows that have it."""
    note_hash = f"{column}__key"
    outcome = resolved.select(
        F.col("note_hash").alias(note_hash),
        F.col("summary").alias(summary_column(column)),
        F.col("status").alias(status_column(column)),
        F.col("fold_hash").alias(vector_column(column)),
    )
    joined = df.withColumn(note_hash, F.sha2(column, 256)).join(
        broadcast_if_small(outcome, counts.distinct * 1_000), note_hash, "left"
    )
    return joined.drop(note_hash).fillna(notes.EMPTY, [status_column(column)])


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
