"""Who can be called: the customers of a day, without those who have left already."""

from __future__ import annotations

import datetime as dt
from typing import NamedTuple

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from churn_spark.contract.columns import Contract
from churn_spark.errors import InputError


class Live(NamedTuple):
    """One row per live customer; how many those are, and how many others have left."""

    df: DataFrame
    customers: int
    left: int


def live_customers(
    df: DataFrame,
    contract: Contract,
    day: dt.date,
    *,
    horizon: int,
    include_left: bool,
    left_on: str | None = None,
) -> Live:
    """One row per customer who is there on a day: of several snapshots, the newest up to it.

    Who has left by that row's label is not live any more, unless `include_left`. A label of a snapshot looks ahead
    `horizon` days and says nothing before they are over; where there is a date of leaving, `left_on`, it says so.
    Raises InputError where all have left.
    """
    newest = _newest(df, contract, day)
    left = F.lit(False) if include_left else _has_left(contract, day, horizon, left_on)
    counts = newest.agg(
        F.count_distinct(F.when(~left, F.col(contract.id.name))).alias("customers"),
        F.count_distinct(F.when(left, F.col(contract.id.name))).alias("left"),
    ).collect()[0]
    if counts.left and not counts.customers:
        raise InputError(
            f"all {counts.left} customers have left by the label column: there is nobody to score",
            where="columns: the label",
            fix="give a table of present customers, or --set scoring.include_left=true",
        )
    return Live(newest.where(~left), counts.customers, counts.left)


def _newest(df: DataFrame, contract: Contract, day: dt.date) -> DataFrame:
    if contract.snapshot is None:
        return df
    key, snapshot = contract.id.name, contract.snapshot.name
    past = df.where(F.col(snapshot) <= F.lit(day))
    newest = past.groupBy(key).agg(F.max(snapshot).alias(snapshot))
    return past.join(newest, [key, snapshot], "left_semi")


def _has_left(contract: Contract, day: dt.date, horizon: int, left_on: str | None) -> Column:
    if left_on is not None:
        return F.coalesce(F.col(left_on) <= F.lit(day), F.lit(False))
    if contract.label is None:
        return F.lit(False)
    label = F.coalesce(F.col(contract.label.name), F.lit(False))
    if contract.snapshot is None:
        return label
    return label & (F.col(contract.snapshot.name) <= F.lit(day - dt.timedelta(horizon)))
