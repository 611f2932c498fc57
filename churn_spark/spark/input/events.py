"""Tables of dated events: many rows a customer, none of them a duplicate, each with a customer and a day."""

from __future__ import annotations

from typing import NamedTuple

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from churn_spark.contract.columns import Column, Contract
from churn_spark.errors import InputError
from churn_spark.settings.history import Events
from churn_spark.settings.sections import Input, Validation
from churn_spark.spark.input.rules import with_errors
from churn_spark.spark.input.sources import read_raw

DATE = "date"


class EventTable(NamedTuple):
    """`df`: the customer's id, `date` and the values (double); the rows that had no usable id or date are counted."""

    df: DataFrame
    rows: int
    rejected: int


def read_events(
    spark: SparkSession,
    location: str,
    events: Events,
    *,
    id_column: str,
    settings: Input,
    validation: Validation,
) -> EventTable:
    """Read a table of events, with the customer's id as `id_column`; a bad value counts as missing.

    Raises InputError where the table cannot be read, or more rows than `validation.max_reject_share` are rejected.
    """
    contract = Contract(
        (
            Column(name=id_column, role="id", source=events.customer),
            Column(name=DATE, role="snapshot", source=events.date),
            *(Column(name=value, role="numeric") for value in events.value),
        )
    )
    raw = read_raw(
        spark, location, contract=contract, settings=settings, need_label=False,
        max_row_chars=validation.max_row_chars,
    )  # fmt: skip
    checked = with_errors(raw.df, contract, settings=validation, purpose="score")
    bad = F.size("_errors") > 0
    counts = checked.agg(F.count("*").alias("rows"), F.count_if(bad).alias("rejected")).collect()[0]
    if not counts.rows:
        raise InputError("the table of events has no rows", where=location, fix="check events.raw")
    if counts.rejected > validation.max_reject_share * counts.rows:
        raise InputError(
            f"{counts.rejected:,} of {counts.rows:,} events have no usable customer or date",
            where=f"{location}, columns {events.customer} and {events.date}",
            fix="check events.customer and events.date, or raise validation.max_reject_share",
        )
    return EventTable(
        checked.where(~bad).select(id_column, DATE, *events.value), counts.rows, counts.rejected
    )
