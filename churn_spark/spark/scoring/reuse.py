"""Incremental scoring: a customer whose inputs and model did not change keeps the previous score."""

from __future__ import annotations

import datetime as dt
import json
from typing import NamedTuple

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from churn_spark import __version__
from churn_spark.contract.columns import status_column, summary_column, vector_column
from churn_spark.model.model import RECORD_FIELDS, ChurnModel
from churn_spark.settings.sections import Scoring
from churn_spark.spark.scoring.scores import REASON_PARTS
from churn_spark.spark.session import broadcast_if_small
from churn_spark.spark.tables import Tables, stored


def with_input_hash(live: DataFrame, model: ChurnModel, settings: Scoring) -> DataFrame:
    """Add `input_hash` (bigint): of all that a row's score and reasons depend on, model and settings included.

    What was embedded, whether it failed and the embedder's identity stand for a vector, which need not be read.
    """
    contract = model.contract
    used = [
        *dict.fromkeys(
            [
                *(c.name for c in contract.role("numeric", "categorical")),
                *model.policy.columns,
                *model.contract.unit,
            ]
        )
    ]
    for text in (t.name for t in model.spec.texts):
        used += [summary_column(text), status_column(text)]
        used += [text] if model.text.of(text).source == "note" else []
    common = {
        "model": model.model_id,
        "code": __version__,
        "scoring": settings.model_dump(exclude={"reuse", "include_left"}),
        "embedding": model.manifest["embedding"],
    }
    missing = F.array(*[F.col(c).isNull() for c in used])
    same_for_all = F.lit(json.dumps(common, sort_keys=True))
    return live.withColumn("input_hash", F.xxhash64(same_for_all, missing, *used))


class Previous(NamedTuple):
    """What was published of earlier dates; `reasons` is None where none are wanted."""

    scores: DataFrame
    reasons: DataFrame | None


def read_before(
    tables: Tables, spark: SparkSession, day: dt.date, *, with_reasons: bool, without: frozenset[str]
) -> Previous | None:
    """What was published of the dates before `day`, apart from partitions `without`; None where there is nothing."""
    scores = tables.read(spark, "churn_scores", without=without)
    reasons = tables.read(spark, "churn_reasons", without=without) if with_reasons else None
    if scores is None:
        return None
    earlier = F.col("score_date") < F.lit(day)
    return Previous(scores.where(earlier), None if reasons is None else reasons.where(earlier))


def newest_of(earlier: Previous | None, *, with_reasons: bool) -> Previous | None:
    """The newest date of earlier ones; None where there is none, or none that scores can be taken from."""
    if earlier is None or (with_reasons and earlier.reasons is None):
        return None
    scores, reasons = earlier
    newest = scores.agg(F.max("score_date")).collect()[0][0]
    if newest is None or not {"input_hash", *RECORD_FIELDS} <= {*scores.columns}:
        return None
    of_newest = F.col("score_date") == F.lit(newest)
    return Previous(scores.where(of_newest), None if reasons is None else reasons.where(of_newest))


def carried_forward(live: DataFrame, previous: Previous | None, *, key: str, folder: str) -> DataFrame | None:
    """The rows of `live` whose `input_hash` is that of their previous score, with what it said; None without one.

    The columns are those of `with_scores` and `score_reused`; `recommended` knows nothing of capacity again.
    Written to `folder`.
    """
    if previous is None:
        return None
    scores = previous.scores.select(F.col("customer_id").alias(key), "input_hash", *RECORD_FIELDS).withColumn(
        "recommended", (F.col("expected_value") > 0) & ~F.col("in_holdout")
    )
    if previous.reasons is not None:
        by_rank = F.sort_array(F.collect_list(F.struct(*REASON_PARTS))).alias("_reasons")
        scores = scores.join(previous.reasons.groupBy(F.col("customer_id").alias(key)).agg(by_rank), key)
    ids = [c for c in live.columns if c.endswith(vector_column(""))]
    carried = stored(live.drop(*ids).join(scores, [key, "input_hash"]), folder)
    return carried.withColumn("score_reused", F.lit(True))


def left_to_score(live: DataFrame, carried: DataFrame, *, key: str, folder: str) -> DataFrame:
    """The rows of `live` that are not in `carried`; where they are few, no vector of the others is read or moved."""
    keys = stored(live.select(key).join(carried.select(key), key, "left_anti"), folder)
    return live.join(broadcast_if_small(keys, keys.count() * 100), key, "left_semi")
