"""Scoring a table: the model's one scoring function over Arrow batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from churn_spark.arrays import Matrix, vector_matrix
from churn_spark.contract.columns import (
    Contract,
    inputs_column,
    parts_column,
    status_column,
    summary_column,
)
from churn_spark.contract.history import APART
from churn_spark.contract.published import SCORES, Field, ddl
from churn_spark.model.model import RECORD_FIELDS, ChurnModel
from churn_spark.model.quotes import Embed, Places
from churn_spark.model.reasons import BASELINE, BASELINE_TEXT, Reasons
from churn_spark.spark.notes.vectors import read_inputs

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

    `df` has the contract's id, numeric and categorical columns, `with_texts`' summaries and `with_inputs`' columns,
    which are dropped. `keep` names the columns to carry over (default: all others). With `top` above 0 there is also
    `_reasons`, what `reasons_table` unfolds. With `quote_from` a risk band, `df` has `quotes`'s vectors.
    Python is entered once.
    """
    vectors = [inputs_column(t.name) for t in model.spec.texts]
    if quote_from != "none":
        vectors += [parts_column(t.name) for t in model.quoted_texts]
    carried = [c for c in (keep or df.columns) if not c.endswith((inputs_column(""), parts_column("")))]
    if top:
        model.lay_out()  # once here, not in each worker
    needed = [*model.contract.key, *model.contract.unit, *model.policy.columns,
              *(c.name for c in model.contract.role("numeric", "categorical"))]  # fmt: skip
    summaries = {t.name: summary_column(t.name) for t in model.spec.texts}
    source = df.select(*dict.fromkeys([*carried, *needed, *summaries.values(), *vectors]))
    schema = ", ".join([*(f"`{k}` {source.schema[k].dataType.simpleString()}" for k in carried), ddl(SCORED)])
    schema += f", _reasons {REASONS_TYPE}" if top else ""

    def score(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            matrices = {t.name: read_inputs(batch.column(inputs_column(t.name)), t) for t in model.spec.texts}
            quotes = {name: batch.column(column).to_pylist() for name, column in summaries.items() if top}
            table, reasons = model.score(
                batch, matrices, summaries=quotes, top=top, templates=templates, quote_from=quote_from,
                embed=_delivered(batch, {t.name: t.dimension for t in model.spec.texts}),
            )  # fmt: skip
            arrays = [*(batch.column(k) for k in carried), *(_array(table[f.name], f.type) for f in SCORED)]
            names = [*carried, *(f.name for f in SCORED)]
            if reasons is not None:
                arrays, names = [*arrays, _reasons_array(reasons)], [*names, "_reasons"]
            yield pa.RecordBatch.from_arrays(arrays, names=names)

    return source.mapInArrow(score, schema)


def imported() -> None:
    """Do nothing: a worker that is asked for this has all that scoring needs in memory."""


def _delivered(batch: pa.RecordBatch, dimensions: Mapping[str, int]) -> Embed:
    """Vectors that came with the rows; NaN for a row that lacks some."""

    def embed(column: str, rows: Places, texts: list[str]) -> Matrix:
        vectors = np.full((len(texts), dimensions[column]), np.nan, np.float32)
        delivered = batch.column(parts_column(column))
        for row, start, count in zip(*np.unique(rows, return_index=True, return_counts=True), strict=True):
            parts = delivered[int(row)].values
            if parts is not None and len(parts) == count:
                vectors[start : start + count] = vector_matrix(parts, vectors.shape[1])
        return vectors

    return embed


_ARROW = {"double": pa.float64(), "float": pa.float32(), "boolean": pa.bool_(), "string": pa.string()}


def _array(values: Any, kind: str) -> pa.Array:
    return pa.array(values, _ARROW[kind], from_pandas=True)


REASON_PARTS = ("rank", "reason", "value", "effect", "text")
REASONS_TYPE = "array<struct<rank:int,reason:string,value:string,effect:float,text:string>>"


def _reasons_array(reasons: Reasons) -> pa.Array:
    """All reasons of each row, strongest first, with the baseline as rank 0."""
    rows, width = reasons.effects.shape
    place = np.column_stack([np.full(rows, width - 1), reasons.order]).ravel()
    row = np.repeat(np.arange(rows), width)
    groups = np.array([*reasons.groups, BASELINE], dtype=object)
    values = np.vstack([reasons.values, np.full(rows, None)])
    texts = np.vstack([reasons.texts, np.full(rows, BASELINE_TEXT, object)])
    fields = {
        "rank": pa.array(np.tile(np.arange(width, dtype=np.int32), rows)),
        "reason": pa.array(groups[place], pa.string()),
        "value": pa.array(values[place, row], pa.string()),
        "effect": pa.array(reasons.effects[row, place], pa.float32()),
        "text": pa.array(texts[place, row], pa.string()),
    }
    structs = pa.StructArray.from_arrays(list(fields.values()), names=list(fields))
    offsets = np.arange(0, rows * width + 1, width, dtype=np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), structs)


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
            "ticket_summary": F.substring_index(summary_column(first), APART, 1)
            if first
            else F.lit(None).cast("string"),
            "text_status": F.col(status_column(first)) if first else F.lit("empty"),
            "score_status": F.when(F.col("churn_probability").isNull(), "unscorable")
            .when(F.size(details) > 0, "degraded")
            .otherwise("ok"),
            "status_detail": F.when(F.size(details) > 0, F.array_join(details, "; ")),
        }
    )
