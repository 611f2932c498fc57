"""Tables of dated events: many rows a customer, none of them a duplicate, each with a customer and a day."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import NamedTuple

from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from churn_spark.contract.columns import Column, Contract
from churn_spark.contract.history import DATE, KNOWN_AT
from churn_spark.errors import InputError
from churn_spark.settings.sections import Input, Validation
from churn_spark.spark.input.files import quoted
from churn_spark.spark.input.rules import with_errors
from churn_spark.spark.input.sources import read_raw
from churn_spark.spark.tables import stored


class EventTable(NamedTuple):
    """`df`: the declared columns of events, typed; and rows by what became of them.

    `left_out` are those of a filter, `degraded` events with a bad value, which counts as missing, `known_late` those
    known more than the delay after their day; `one_day` date columns that name one day only.
    """

    df: DataFrame
    rows: int
    rejected: int
    left_out: int
    degraded: int
    known_late: int
    one_day: tuple[str, ...]


def read_events(
    spark: SparkSession,
    location: str,
    columns: Sequence[Column],
    *,
    settings: Input,
    validation: Validation,
    delay: int,
    folder: str,
) -> EventTable:
    """Read and check a table of events once, into the folder; a bad value counts as missing.

    Of `columns` those that are required say which rows count. Raises InputError where the table cannot be read, or
    more rows than `validation.max_reject_share` have no usable customer or date, or a bad value.
    """
    contract = Contract(tuple(columns))
    raw = read_raw(
        spark, location, contract=contract, settings=settings, need_label=False,
        max_row_chars=validation.max_row_chars,
    )  # fmt: skip
    checked = with_errors(raw.df, contract, settings=validation, purpose="score")
    counts_as_one = reduce(
        SparkColumn.__and__, (F.col(quoted(c.name)).isNotNull() for c in columns if c.required), F.lit(True)
    )
    is_bad = F.size("_warnings") > 0
    fate = (
        F.when(F.size("_errors") > 0, "rejected")
        .when(~counts_as_one, "left_out")
        .otherwise(F.when(is_bad, "degraded").otherwise("good"))
    )
    names = [quoted(c.name) for c in columns if not c.required]
    rows = stored(checked.select(*names, fate.alias("_fate")), folder)
    counts = {row["_fate"]: row["count"] for row in rows.groupBy("_fate").count().collect()}
    total = sum(counts.values())
    rejected, left_out, degraded = (counts.get(name, 0) for name in ("rejected", "left_out", "degraded"))
    if not total:
        raise InputError("the table of events has no rows", where=location, fix="check events.raw")
    _check_shares(
        columns,
        location,
        total=total,
        rejected=rejected,
        degraded=degraded,
        limit=validation.max_reject_share,
    )
    events = rows.where("_fate in ('good', 'degraded')").drop("_fate")
    late, one_day = _days(events, [c for c in columns if c.kind == "date"], delay)
    return EventTable(events, total, rejected, left_out, degraded, late, one_day)


def _check_shares(
    columns: Sequence[Column], location: str, *, total: int, rejected: int, degraded: int, limit: float
) -> None:
    """Raise InputError where too many events cannot be used, or not wholly."""
    if rejected > limit * total:
        who, when = (c.raw_name for c in columns[:2])
        raise InputError(
            f"{rejected:,} of {total:,} events have no usable customer or date",
            where=f"{location}, columns {who} and {when}",
            fix="check their `customer` and `date`, or raise validation.max_reject_share",
        )
    if degraded > limit * total:
        others = ", ".join(c.raw_name for c in columns[2:] if not c.required)
        raise InputError(
            f"{degraded:,} of {total:,} events have a value that cannot be read",
            where=f"{location}, columns {others}",
            fix="say how they are written (input.decimal, input.thousands, input.date_format), correct the columns' "
            "names, or raise validation.max_reject_share",
        )


def _days(events: DataFrame, dates: Sequence[Column], delay: int) -> tuple[int, tuple[str, ...]]:
    """How many events were known more than `delay` days late, and the date columns (of the table) with one day only."""
    is_late = F.col(KNOWN_AT) > F.date_add(DATE, delay) if KNOWN_AT in events.columns else F.lit(False)
    spans = [(F.min(c.name) == F.max(c.name)).alias(c.raw_name) for c in dates]
    found = events.agg(F.count("*").alias("_rows"), F.count_if(is_late).alias("_late"), *spans).collect()[0]
    several = found["_rows"] > 1
    return found["_late"], tuple(c.raw_name for c in dates if several and found[c.raw_name])
