"""Scoring a table: the model's one scoring function over Arrow batches, then ranks and recommendations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from churn_spark.arrow import vector_matrix
from churn_spark.columns import Contract
from churn_spark.model import RECORD_FIELDS, ChurnModel
from churn_spark.reasons import BASELINE, BASELINE_TEXT, Reasons
from churn_spark.schemas import REASONS, SCORES, Field, ddl, scores_schema
from churn_spark.tables import with_comments
from churn_spark.text import embedding_column, status_column, summary_column

RANK_BUCKETS = 100_000
ROWS_PER_FILE = 1_000_000

SCORED: tuple[Field, ...] = tuple(f for f in SCORES if f.name in RECORD_FIELDS)


def with_scores(
    df: DataFrame,
    model: ChurnModel,
    *,
    top: int,
    templates: Mapping[str, str],
    keep: tuple[str, ...] | None = None,
) -> DataFrame:
    """Add what `ChurnModel.score` gives, one row per row.

    `df` has the contract's id, numeric and categorical columns and `with_texts`' columns; the vectors are
    dropped. `keep` names the columns to carry over (default: all others). With `top` above 0 there is also
    `_reasons`, what `reasons_table` unfolds. Python is entered once.
    """
    vectors = [embedding_column(t.name) for t in model.spec.texts]
    kept = [c for c in (keep or df.columns) if c not in vectors]
    needed = [model.contract.id.name, *(c.name for c in model.contract.role("numeric", "categorical"))]
    summaries = {t.name: summary_column(t.name) for t in model.spec.texts}
    source = df.select(*dict.fromkeys([*kept, *needed, *summaries.values(), *vectors]))
    schema = ", ".join([*(f"`{k}` {source.schema[k].dataType.simpleString()}" for k in kept), ddl(SCORED)])
    schema += f", _reasons {REASONS_TYPE}" if top else ""

    def score(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            matrices = {
                t.name: vector_matrix(batch.column(embedding_column(t.name)), t.dimension)
                for t in model.spec.texts
            }
            quotes = {name: batch.column(column).to_pylist() for name, column in summaries.items()}
            table, reasons = model.score(batch, matrices, summaries=quotes, top=top, templates=templates)
            arrays = [*(batch.column(k) for k in kept), *(_array(table[f.name], f.type) for f in SCORED)]
            names = [*kept, *(f.name for f in SCORED)]
            if reasons is not None:
                arrays, names = [*arrays, _reasons_array(reasons)], [*names, "_reasons"]
            yield pa.RecordBatch.from_arrays(arrays, names=names)

    return source.mapInArrow(score, schema)


_ARROW = {"double": pa.float64(), "float": pa.float32(), "boolean": pa.bool_(), "string": pa.string()}


def _array(values: Any, kind: str) -> pa.Array:
    return pa.array(values, _ARROW[kind], from_pandas=True)


REASONS_TYPE = "array<struct<rank:int,reason:string,value:string,effect:float,text:string>>"


def _reasons_array(told: Reasons) -> pa.Array:
    """All reasons of each row, strongest first, with the baseline as rank 0."""
    rows, width = told.effects.shape
    place = np.column_stack([np.full(rows, width - 1), told.order]).ravel()
    row = np.repeat(np.arange(rows), width)
    groups = np.array([*told.groups, BASELINE], dtype=object)
    values = np.array([*told.values, [None] * rows], dtype=object)
    texts = np.array([*told.texts, [BASELINE_TEXT] * rows], dtype=object)
    fields = {
        "rank": pa.array(np.tile(np.arange(width, dtype=np.int32), rows)),
        "reason": pa.array(groups[place], pa.string()),
        "value": pa.array(values[place, row], pa.string()),
        "effect": pa.array(told.effects[row, place], pa.float32()),
        "text": pa.array(texts[place, row], pa.string()),
    }
    structs = pa.StructArray.from_arrays(list(fields.values()), names=list(fields))
    offsets = np.arange(0, rows * width + 1, width, dtype=np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), structs)


def reasons_table(scored: DataFrame, contract: Contract, *, run_id: str) -> DataFrame:
    """`churn_reasons`: one row per customer and column, rank 0 the baseline; effects add up to the margin."""
    key = F.col(contract.id.name).alias("customer_id")
    unfolded = scored.select(key, F.explode("_reasons").alias("r")).select("customer_id", "r.*")
    return with_comments(unfolded.withColumn("run_id", F.lit(run_id)), REASONS)


def with_status(df: DataFrame, contract: Contract) -> DataFrame:
    """Add `ticket_summary`, `text_status`, `score_status` and `status_detail`.

    Reads `_warnings` and the text columns. A row whose value was bad, or whose note failed, is `degraded`.
    """
    first = contract.texts[0].name if contract.texts else None
    failed = [F.when(F.col(status_column(t.name)) == "failed", F.lit(f"{t.name}: the note could not be processed"))
              for t in contract.texts]  # fmt: skip
    details = F.concat(F.transform("_warnings", lambda w: w["message"]), F.array_compact(F.array(*failed)))
    return df.withColumns(
        {
            "ticket_summary": F.col(summary_column(first)) if first else F.lit(None).cast("string"),
            "text_status": F.col(status_column(first)) if first else F.lit("empty"),
            "score_status": F.when(F.col("churn_probability").isNull(), "unscorable")
            .when(F.size(details) > 0, "degraded")
            .otherwise("ok"),
            "status_detail": F.when(F.size(details) > 0, F.array_join(details, "; ")),
        }
    )


def with_ranks(df: DataFrame, *, key: str) -> DataFrame:
    """Add `risk_rank` (1 = highest churn_probability; ties by key) and `risk_decile`.

    Rows are counted per bucket of probability first, so that no partition holds the whole table.
    """
    bucket = F.floor(F.col("churn_probability") * RANK_BUCKETS)
    bucketed = df.withColumn("_bucket", bucket)
    sizes = bucketed.groupBy("_bucket").count().where("_bucket is not null")
    higher = Window.orderBy(F.desc("_bucket")).rowsBetween(Window.unboundedPreceding, -1)
    offsets = sizes.select(
        "_bucket",
        F.coalesce(F.sum("count").over(higher), F.lit(0)).alias("_offset"),
        F.sum("count").over(Window.partitionBy()).alias("_total"),
    )
    within = F.row_number().over(Window.partitionBy("_bucket").orderBy(F.desc("churn_probability"), key))
    rank = F.when(F.col("_bucket").isNotNull(), F.col("_offset") + within)
    return (
        bucketed.join(F.broadcast(offsets), "_bucket", "left")
        .withColumn("risk_rank", rank)
        .withColumn("risk_decile", F.ceil(F.col("risk_rank") * 10 / F.col("_total")).cast("int"))
        .drop("_bucket", "_offset", "_total")
    )


def within_capacity(df: DataFrame, *, key: str, capacity: int | None) -> DataFrame:
    """Keep `recommended` only for the `capacity` customers with the highest expected value."""
    if capacity is None:
        return df
    chosen = df.where("recommended").orderBy(F.desc("expected_value"), key).limit(capacity)
    return df.join(chosen.select(key, F.lit(True).alias("_chosen")), key, "left").withColumn(
        "recommended", F.coalesce("_chosen", F.lit(False))
    ).drop("_chosen")  # fmt: skip


def with_previous(df: DataFrame, history: DataFrame | None, *, key: str, before: Column) -> DataFrame:
    """Add `previous_probability` (the customer's newest earlier score) and `probability_change`.

    `history` is the published `churn_scores`, `before` the score date of this run.
    """
    previous = F.lit(None).cast("double")
    if history is not None:
        earlier = history.where(F.col("score_date") < before).groupBy(F.col("customer_id").alias(key))
        newest = earlier.agg(F.max_by("churn_probability", "score_date").alias("previous_probability"))
        df, previous = df.join(newest, key, "left"), F.col("previous_probability")
    return df.withColumns(
        {"previous_probability": previous, "probability_change": F.col("churn_probability") - previous}
    )


def as_published(df: DataFrame, contract: Contract, *, rows: int) -> DataFrame:
    """Select `churn_scores`' columns with their types and comments, sorted by customer in files of a million."""
    named = df.withColumn("customer_id", F.col(contract.id.name))
    files = max(1, -(-rows // ROWS_PER_FILE))
    placed = named.repartitionByRange(files, "customer_id") if files > 1 else named.coalesce(1)
    return with_comments(placed.sortWithinPartitions("customer_id"), scores_schema(contract))
