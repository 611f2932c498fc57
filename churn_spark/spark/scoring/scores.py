"""Scoring a table: the model's one scoring function over Arrow batches, then ranks and recommendations."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from churn_spark.arrays import Matrix, vector_matrix
from churn_spark.contract.columns import (
    Contract,
    embedding_column,
    parts_column,
    status_column,
    summary_column,
)
from churn_spark.contract.published import REASONS, SCORES, Field, ddl, scores_schema
from churn_spark.errors import GateError
from churn_spark.model.model import RECORD_FIELDS, ChurnModel
from churn_spark.model.quotes import Embed, Places
from churn_spark.model.reasons import BASELINE, BASELINE_TEXT, Reasons
from churn_spark.spark.tables import small_table, with_comments

CUSTOMERS_PER_FILE = 250_000  # some 50 MB

SCORED: tuple[Field, ...] = tuple(f for f in SCORES if f.name in RECORD_FIELDS)


def with_scores(
    df: DataFrame,
    model: ChurnModel,
    *,
    top: int,
    templates: Mapping[str, str],
    keep: tuple[str, ...] | None = None,
    quote_from: str = "none",
) -> DataFrame:
    """Add what `ChurnModel.score` gives, one row per row.

    `df` has the contract's id, numeric and categorical columns and `with_texts`' columns; the vectors are
    dropped. `keep` names the columns to carry over (default: all others). With `top` above 0 there is also
    `_reasons`, what `reasons_table` unfolds. With `quote_from` a risk band, `df` has `requoting`'s vectors.
    Python is entered once.
    """
    vectors = [embedding_column(t.name) for t in model.spec.texts]
    if quote_from != "none":
        vectors += [parts_column(t.name) for t in model.quoted_texts]
    kept = [c for c in (keep or df.columns) if not c.endswith((embedding_column(""), parts_column("")))]
    if top:
        model.tables  # noqa: B018 - laid out once here, not in each worker
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
            quotes = {name: batch.column(column).to_pylist() for name, column in summaries.items() if top}
            table, reasons = model.score(
                batch, matrices, summaries=quotes, top=top, templates=templates, quote_from=quote_from,
                embed=_delivered(batch, {t.name: t.dimension for t in model.spec.texts}),
            )  # fmt: skip
            arrays = [*(batch.column(k) for k in kept), *(_array(table[f.name], f.type) for f in SCORED)]
            names = [*kept, *(f.name for f in SCORED)]
            if reasons is not None:
                arrays, names = [*arrays, _reasons_array(reasons)], [*names, "_reasons"]
            yield pa.RecordBatch.from_arrays(arrays, names=names)

    return source.mapInArrow(score, schema)


def _delivered(batch: pa.RecordBatch, dimensions: Mapping[str, int]) -> Embed:
    """Vectors that came with the rows; NaN for a row that lacks some."""

    def embed(column: str, rows: Places, texts: list[str]) -> Matrix:
        found = np.full((len(texts), dimensions[column]), np.nan, np.float32)
        given = batch.column(parts_column(column))
        for row, start, count in zip(*np.unique(rows, return_index=True, return_counts=True), strict=True):
            parts = given[int(row)].values
            if parts is not None and len(parts) == count:
                found[start : start + count] = vector_matrix(parts, found.shape[1])
        return found

    return embed


_ARROW = {"double": pa.float64(), "float": pa.float32(), "boolean": pa.bool_(), "string": pa.string()}


def _array(values: Any, kind: str) -> pa.Array:
    return pa.array(values, _ARROW[kind], from_pandas=True)


REASON_PARTS = ("rank", "reason", "value", "effect", "text")
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


def reasons_table(
    scored: DataFrame, contract: Contract, *, label_basis: str, run_id: str, customers: int
) -> DataFrame:
    """`churn_reasons`: one row per customer and column, rank 0 the baseline; effects add up to the margin.

    Without `_reasons` there are no rows, so that a date never shows the reasons of an earlier run.
    """
    if "_reasons" not in scored.columns:
        return small_table(scored.sparkSession, [], REASONS)
    key = F.col(contract.id.name).alias("customer_id")
    placed = _sorted(scored.select(key, "_reasons"), customers=customers)
    unfolded = placed.select("customer_id", F.explode("_reasons").alias("r")).select("customer_id", "r.*")
    same = {"label_basis": F.lit(label_basis), "run_id": F.lit(run_id)}
    return with_comments(unfolded.withColumns(same), REASONS)


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


def with_ranks(df: DataFrame, *, key: str, folder: str) -> DataFrame:
    """Add `risk_rank` (1 = highest churn_probability; ties by key) and `risk_decile`; null where unscorable."""
    ranks = _ranks(df.where("churn_probability is not null"), "churn_probability", key=key, folder=folder)
    decile = F.ceil(F.col("_rank") * 10 / F.col("_total")).cast("int")
    return df.join(
        ranks.select(key, F.col("_rank").alias("risk_rank"), decile.alias("risk_decile")), key, "left"
    )


def within_capacity(df: DataFrame, *, key: str, capacity: int | None, folder: str) -> DataFrame:
    """Keep `recommended` only for the `capacity` customers with the highest expected value."""
    if capacity is None:
        return df
    ranks = _ranks(df.where("recommended"), "expected_value", key=key, folder=folder)
    chosen = ranks.where(F.col("_rank") <= capacity).select(key, F.lit(True).alias("_chosen"))
    return df.join(chosen, key, "left").withColumn(
        "recommended", F.coalesce("_chosen", F.lit(False))
    ).drop("_chosen")  # fmt: skip


def _ranks(df: DataFrame, value: str, *, key: str, folder: str) -> DataFrame:
    """`_rank` of each key by value, highest first, ties by key, and `_total`; no partition holds the table.

    Rows are put in order across partitions, of which only the sizes are added up. A key belongs to the order, so
    that a value that many share is spread as well. Where the partitions begin is sampled anew each time they are
    made: they are written to `folder` once and read from there.
    """
    order = [F.desc(value), F.col(key)]
    placed = df.select(key, value).repartitionByRange(*order).withColumn("_part", F.spark_partition_id())
    placed.write.mode("overwrite").parquet(folder)
    stored = df.sparkSession.read.schema(placed.schema).parquet(folder)
    before = Window.orderBy("_part").rowsBetween(Window.unboundedPreceding, -1)
    sizes = stored.groupBy("_part").count()
    offsets = sizes.select(
        "_part",
        F.coalesce(F.sum("count").over(before), F.lit(0)).alias("_offset"),
        F.sum("count").over(Window.partitionBy()).alias("_total"),
    )
    place = F.row_number().over(Window.partitionBy("_part").orderBy(*order))
    ranked = stored.withColumn("_place", place).join(F.broadcast(offsets), "_part")
    return ranked.select(key, (F.col("_offset") + F.col("_place")).alias("_rank"), "_total")


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


def as_published(df: DataFrame, contract: Contract, *, customers: int) -> DataFrame:
    """Select `churn_scores`' columns with their types and comments, sorted by customer."""
    named = df.withColumn("customer_id", F.col(contract.id.name))
    return with_comments(_sorted(named, customers=customers), scores_schema(contract))


def _sorted(df: DataFrame, *, customers: int) -> DataFrame:
    """Sorted by customer across files, for readers that look for one."""
    files = max(1, -(-customers // CUSTOMERS_PER_FILE))
    placed = df.repartitionByRange(files, "customer_id") if files > 1 else df.coalesce(1)
    return placed.sortWithinPartitions("customer_id")


def check_scores(
    staged: DataFrame, earlier: DataFrame | None, *, customers: int, max_mean_shift: float | None
) -> int:
    """Look at the rows as they were written, before anybody else can; returns how many there are.

    Every live customer has one row, with a probability wherever the status is ok, and the mean probability is
    within `max_mean_shift` of the previous date's in `earlier`, chance (three standard errors) aside. Raises
    GateError.
    """
    bad = (F.col("score_status") == "ok") & F.col("churn_probability").isNull()
    found = staged.agg(
        F.count("*").alias("rows"),
        F.count_distinct("customer_id").alias("keys"),
        F.count_if(bad).alias("bad"),
    ).collect()[0]
    if not found.rows == found["keys"] == customers or found.bad:
        raise GateError(
            f"{found.rows} scored rows with {found['keys']} ids for {customers} customers, {found.bad} without a "
            "probability: not published",
            fix="see error.txt; this should not happen, please report it",
        )
    if max_mean_shift is not None and earlier is not None:
        date = earlier.agg(F.max("score_date")).collect()[0][0]
        now, before = _mean(staged), _mean(earlier.where(F.col("score_date") == F.lit(date)))
        chance = 3 * math.sqrt(now.variance_of_mean + before.variance_of_mean)
        if abs(now.mean - before.mean) > max_mean_shift + chance:
            raise GateError(
                f"the mean churn probability is {now.mean:.3f}; on {date} it was {before.mean:.3f}: not published",
                where=f"scoring.max_mean_shift {max_mean_shift}",
                fix="look for a change in input or model; to accept it: --set scoring.max_mean_shift=null",
            )
    return int(found.rows)


class _Mean(NamedTuple):
    mean: float
    variance_of_mean: float


def _mean(scores: DataFrame) -> _Mean:
    """Of churn_probability; nan where there is none, which no comparison holds for."""
    p = F.col("churn_probability")
    found = scores.agg(
        F.avg(p).alias("mean"), F.var_samp(p).alias("variance"), F.count(p).alias("n")
    ).collect()[0]
    if not found.n:
        return _Mean(math.nan, math.nan)
    return _Mean(found.mean, (found.variance or 0.0) / found.n)
