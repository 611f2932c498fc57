"""Which rows a model may learn from: train, validation or test, by hash of the customer or by time."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from churn_spark.columns import Contract
from churn_spark.config import Split
from churn_spark.errors import InputError

BUCKETS = 10_000


def with_split(df: DataFrame, contract: Contract, *, split: Split) -> DataFrame:
    """Add `split`: train, validation or test; null for a row that must not be used (time splits only).

    `hash` puts a customer on one side by a salted hash of the id, whatever the partitioning or the other
    rows. `time` orders snapshots as train < gap < validation < gap < test, the gap being the horizon in
    which a label forms, so that the test is a forecast; rows in a gap are null. `group_time` also keeps
    each customer on one side. Raises InputError where there are too few snapshots for that.
    """
    mode = resolve_mode(contract, split=split)
    by_hash = _by_hash(contract.id.name, split)
    if mode == "hash" or contract.snapshot is None:
        return df.withColumn("split", by_hash)
    by_time = _by_time(df, contract.snapshot.name, split)
    if mode == "time":
        return df.withColumn("split", by_time)
    return df.withColumn("split", F.when(by_time == by_hash, by_time))


def resolve_mode(contract: Contract, *, split: Split) -> str:
    """The split mode that `auto` stands for. Raises InputError for a time split without a snapshot."""
    if split.mode == "auto":
        return "time" if contract.snapshot else "hash"
    if split.mode != "hash" and contract.snapshot is None:
        raise InputError(
            f"split.mode {split.mode} needs a column with role snapshot",
            where="split.mode",
            fix="declare one, or use split.mode: hash",
        )
    return split.mode


def _by_hash(key: str, split: Split) -> Column:
    bucket = F.pmod(F.xxhash64(F.lit(f"churn_spark:{split.seed}"), F.col(key)), F.lit(BUCKETS))
    test, validation = round(split.test * BUCKETS), round(split.validation * BUCKETS)
    return F.when(bucket < test, "test").when(bucket < test + validation, "validation").otherwise("train")


def _by_time(df: DataFrame, snapshot: str, split: Split) -> Column:
    counts = df.groupBy(snapshot).count().orderBy(snapshot).collect()
    dates, rows = [r[0] for r in counts], [r[1] for r in counts]
    test = _cut(rows, split.test)
    validation = _cut(rows[:test], split.validation / (1 - split.test))
    if validation < 1:
        raise InputError(
            f"{len(dates)} snapshot dates are too few for a split by time",
            where="split.mode",
            fix="give at least three dates, or use split.mode: hash",
        )
    day, gap = F.col(snapshot), split.horizon_days
    starts = F.lit(dates[validation]), F.lit(dates[test])
    return (
        F.when(day >= starts[1], "test")
        .when((day >= starts[0]) & (day <= F.date_sub(starts[1], gap)), "validation")
        .when(day <= F.date_sub(starts[0], gap), "train")
    )


def _cut(rows: list[int], share: float) -> int:
    """The first date of the last `share` of the rows: at least one date, as close to the share as it gets."""
    total, taken = sum(rows), 0
    for index in range(len(rows) - 1, -1, -1):
        taken += rows[index]
        if taken >= share * total:
            return index
    return 0
