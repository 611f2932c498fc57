"""Incremental scoring: a customer whose inputs and model did not change keeps the previous score."""

from __future__ import annotations

import json

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from churn_spark import __version__
from churn_spark.contract.columns import embedding_column, status_column, summary_column
from churn_spark.model.model import RECORD_FIELDS, ChurnModel
from churn_spark.settings.sections import Scoring
from churn_spark.spark.scoring.scores import REASON_PARTS
from churn_spark.spark.session import broadcast_if_small


def with_input_hash(live: DataFrame, model: ChurnModel, settings: Scoring) -> DataFrame:
    """Add `input_hash` (bigint): of all that a row's score and reasons depend on, model and settings included.

    What was embedded, whether it failed and the embedder's identity stand for a vector, which need not be read.
    """
    contract = model.contract
    used = [c.name for c in contract.role("numeric", "categorical")]
    for text in (t.name for t in model.spec.texts):
        used += [summary_column(text), status_column(text)]
        used += [text] if model.text.of(text).source == "note" else []
    common = {
        "model": model.model_id,
        "code": __version__,
        "scoring": settings.model_dump(exclude={"reuse"}),
        "embedding": model.manifest["embedding"],
    }
    missing = F.array(*[F.col(c).isNull() for c in used])
    known = F.lit(json.dumps(common, sort_keys=True))
    return live.withColumn("input_hash", F.xxhash64(known, missing, *used))


def carried_forward(
    live: DataFrame, scores: DataFrame, reasons: DataFrame | None, *, key: str, folder: str
) -> DataFrame | None:
    """The rows of `live` whose `input_hash` is that of their previous score, with what it said; None if none can be.

    `scores` and `reasons` are the tables of one earlier date. The columns are those of `with_scores`, and
    `recommended` knows nothing of capacity again. Written to `folder`.
    """
    if "input_hash" not in scores.columns:
        return None
    previous = scores.select(F.col("customer_id").alias(key), "input_hash", *RECORD_FIELDS).withColumn(
        "recommended", (F.col("expected_value") > 0) & ~F.col("in_holdout")
    )
    if reasons is not None:
        told = F.sort_array(F.collect_list(F.struct(*REASON_PARTS))).alias("_reasons")  # by rank
        previous = previous.join(reasons.groupBy(F.col("customer_id").alias(key)).agg(told), key)
    vectors = [c for c in live.columns if c.endswith(embedding_column(""))]
    live.drop(*vectors).join(previous, [key, "input_hash"]).write.mode("overwrite").parquet(folder)
    return live.sparkSession.read.parquet(folder)


def left_to_score(live: DataFrame, kept: DataFrame, *, key: str, folder: str) -> DataFrame:
    """The rows of `live` that are not in `kept`; where they are few, no vector of the others is read or moved."""
    live.select(key).join(kept.select(key), key, "left_anti").write.mode("overwrite").parquet(folder)
    keys = live.sparkSession.read.parquet(folder)
    return live.join(broadcast_if_small(keys, keys.count() * 100), key, "left_semi")
