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
    """What was published of earlier dates; `reasons` is None where none are wanted, `newest` the last of the dates."""

    scores: DataFrame
    reasons: DataFrame | None
    newest: dt.date | None

    def of_newest(self) -> Previous:
        """The newest date alone."""
        of_newest = F.col("score_date") == F.lit(self.newest)
        reasons = None if self.reasons is None else self.reasons.where(of_newest)
        return Previous(self.scores.where(of_newest), reasons, self.newest)


def read_before(
    tables: Tables, spark: SparkSession, day: dt.date, *, with_reasons: bool, without: frozenset[str]
) -> Previous | None:
    """What was published of the dates before `day`, apart from partitions `without`; None where there is nothing."""
    scores = tables.read(spark, "churn_scores", without=without)
    reasons = tables.read(spark, "churn_reasons", without=without) if with_reasons else None
    if scores is None:
        return None
    earlier = F.col("score_date") < F.lit(day)
    scores = scores.where(earlier)
    newest = scores.agg(F.max("score_date")).collect()[0][0]
    return Previous(scores, None if reasons is None else reasons.where(earlier), newest)


def newest_of(earlier: Previous | None, *, with_reasons: bool) -> Previous | None:
    """The newest date of earlier ones; None where there is none, or none that scores can be taken from."""
    if earlier is None or earlier.newest is None or (with_reasons and earlier.reasons is None):
        return None
    needed = {"input_hash", *RECORD_FIELDS}
    return earlier.of_newest() if needed <= {*earlier.scores.columns} else None


class Carried(NamedTuple):
    """Scores of the newest date that hold, and the published reasons of those customers.

    With `is_all` the date had no other customers, so that ranks hold as well, should there be no others now.
    """

    scores: DataFrame
    reasons: DataFrame | None
    customers: int
    is_all: bool


def carried_forward(live: DataFrame, previous: Previous | None, *, key: str, folder: str) -> Carried | None:
    """The rows of `live` whose `input_hash` is that of their previous score, with what it said; None without one.

    The columns are those of `with_scores`, `score_reused` and the ranks; `recommended` knows nothing of capacity
    again. Written to `folder`.
    """
    if previous is None:
        return None
    told = ["input_hash", *RECORD_FIELDS, *RANKS]
    scores = previous.scores.select(F.col("customer_id").alias(key), *told).withColumn(
        "recommended", (F.col("expected_value") > 0) & ~F.col("in_holdout")
    )
    reasons = previous.reasons
    if reasons is not None:
        has_reasons = reasons.where("rank = 0").select(F.col("customer_id").alias(key))
        scores = scores.join(has_reasons, key, "left_semi")
    ids = [c for c in live.columns if c.endswith(vector_column(""))]
    carried = stored(live.drop(*ids).join(scores, [key, "input_hash"]), folder)
    customers = carried.count()
    is_all = customers == previous.scores.count()
    if reasons is not None and not is_all:
        keys = carried.select(F.col(key).alias("customer_id"))
        reasons = reasons.join(broadcast_if_small(keys, customers * 100), "customer_id", "left_semi")
    return Carried(carried.withColumn("score_reused", F.lit(True)), reasons, customers, is_all)


RANKS = ("risk_rank", "risk_decile")


def left_to_score(live: DataFrame, carried: DataFrame, *, key: str, folder: str) -> DataFrame:
    """The rows of `live` that are not in `carried`; where they are few, no vector of the others is read or moved."""
    keys = stored(live.select(key).join(carried.select(key), key, "left_anti"), folder)
    return live.join(broadcast_if_small(keys, keys.count() * 100), key, "left_semi")
