"""The sentence that moved a score most, on Spark: `model.quotes` with vectors from the text cache."""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce

import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from churn_spark.contract.columns import parts_column, summary_column
from churn_spark.model import quotes as quoting
from churn_spark.model.model import ChurnModel
from churn_spark.notes import prepare as notes
from churn_spark.settings.sections import Scoring
from churn_spark.spark.notes.cache import Cache
from churn_spark.spark.notes.resolver import Resolver
from churn_spark.spark.scoring.scores import with_scores
from churn_spark.spark.tables import stored

PART_TYPES = (pa.string(), pa.int32(), pa.string(), pa.string())


def with_quotes(
    scored: DataFrame, live: DataFrame, model: ChurnModel, *, settings: Scoring, cache: Cache, folder: str
) -> DataFrame:
    """Score those from the risk band `quote_from` on again, quoting the sentence that moved the score most.

    `scored` is what `with_scores` made of `live`, materialised. A vector is computed for each text that the
    cache does not know yet, and kept there; what was scored again is written to `folder`.
    """
    cut = quoting.cut_off(model.policy, settings.quote_from)
    risky = scored.where(F.col("churn_probability") >= cut)
    if not settings.reasons or not model.quoted_texts or risky.isEmpty():
        return scored
    key = model.contract.id.name
    again = live.join(risky.select(key), key, "left_semi")
    for text in model.quoted_texts:
        parts = _parts(risky, text.name, model, cache, f"{folder}-{text.name}")
        again = again.join(parts, summary_column(text.name), "left")
    some: Column = reduce(
        Column.__or__, [F.col(parts_column(t.name)).isNotNull() for t in model.quoted_texts]
    )
    quoted = with_scores(
        again.where(some), model, top=settings.reasons, templates=settings.templates,
        quote_from=settings.quote_from, keep=tuple(c for c in scored.columns if c in live.columns),
    )  # fmt: skip
    quoted = stored(quoted, folder)
    return scored.join(quoted.select(key), key, "left_anti").unionByName(quoted)


def _parts(risky: DataFrame, column: str, model: ChurnModel, cache: Cache, work: str) -> DataFrame:
    """Per summary with several sentences: the vectors of what remains without each, one after the other."""
    summary, settings = summary_column(column), model.text.of(column)
    split = risky.select(summary).where(F.col(summary).isNotNull()).distinct()

    def leave_out(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            rows = [
                (whole, place, notes.folded_hash(part, settings), part)
                for whole in batch.column(0).to_pylist()
                for place, part in enumerate(quoting.left_out(whole).values())
            ]
            columns = list(zip(*rows, strict=True)) if rows else [()] * 4
            arrays = [pa.array(c, t) for c, t in zip(columns, PART_TYPES, strict=True)]
            yield pa.RecordBatch.from_arrays(arrays, names=[summary, "place", "key", "text"])

    parts = split.mapInArrow(leave_out, f"`{summary}` string, place int, key string, text string")
    texts = parts.groupBy("key").agg(F.min("text").alias("text"))
    vectors = Resolver(texts, column, model.text, cache, work).embedded()
    ordered = F.sort_array(F.collect_list(F.struct("place", "embedding")))
    return (
        parts.join(vectors.select("key", "embedding"), "key")
        .groupBy(summary)
        .agg(F.transform(ordered, lambda p: p["embedding"]).alias(parts_column(column)))
    )
