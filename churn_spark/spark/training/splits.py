"""Which rows a model may learn from: by hash of the customer, or by time.

All is learnt from `learn`, by cross-fitting over folds of the customers, and nothing at all from `test`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from churn_spark.contract.columns import SPLITS, Contract
from churn_spark.contract.folds import DIGITS, FOLDS, fold_salt
from churn_spark.errors import InputError
from churn_spark.settings.sections import Split

BUCKETS = 10_000
UNUSED = ("gap", "censored", "other_side")


def with_split(df: DataFrame, contract: Contract, *, split: Split) -> DataFrame:
    """Add `split`: one of SPLITS, or of UNUSED for a row that must not be used (time splits only).

    `hash` puts a customer, or with groups a group, on one side by a salted hash, whatever the partitioning or the
    other rows. `time` orders snapshots as learn < gap < test, the gap being the horizon in which a label forms, so that
    the test is a forecast; a snapshot's rows are used together. `group_time` also keeps each customer on one side;
    their rows on the other are `other_side`. A row is `censored`, whatever the mode, where its outcome could not be
    known yet: its snapshot lies less than the horizon before `split.observed_until`, by default the newest
    snapshot, since a table says nothing of the time after it. Raises InputError where too few are left.
    """
    mode = resolve_mode(contract, split=split)
    is_test = bucket(unit_of(contract), str(split.seed)) < round(split.test * BUCKETS)
    side = F.when(is_test, "test").otherwise("learn")
    if contract.snapshot is None:
        return df.withColumn("split", side)
    day = contract.snapshot.name
    counts = {r[0]: r[1] for r in df.groupBy(day).count().orderBy(day).collect()}
    last = (split.observed_until or max(counts)) - dt.timedelta(split.horizon_days)
    if mode == "hash":
        chosen = side
    else:
        test_from = _test_from({d: n for d, n in counts.items() if d <= last}, split)
        chosen = period = _period(F.col(day), test_from, gap=split.horizon_days)
        if mode == "group_time":
            other = F.when(period == "gap", period).otherwise("other_side")
            chosen = F.when(period == side, side).otherwise(other)
    return df.withColumn("split", F.when(F.col(day) > F.lit(last), "censored").otherwise(chosen))


def unit_of(contract: Contract) -> Column:
    """What stays together: the group, or the customer where there is none."""
    customer = F.col(contract.id.name)
    return F.coalesce(F.col(contract.group), customer) if contract.group else customer


def fold_of(contract: Contract, split: Split) -> Column:
    """A number from 0 to FOLDS - 1 by another hash: `contract.folds.fold_of`."""
    digest = F.sha2(F.concat(F.lit(fold_salt(split.seed)), unit_of(contract)), 256)
    number = F.conv(F.substring(digest, 1, DIGITS), 16, 10).cast("bigint")
    return F.pmod(number, F.lit(FOLDS)).cast("int")


def bucket(unit: Column, salt: str) -> Column:
    """A number from 0 to BUCKETS - 1 by hash of the salt and the unit, wherever the row is."""
    return F.pmod(F.xxhash64(F.lit(f"churn_spark:{salt}"), unit), F.lit(BUCKETS))


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


def count_splits(df: DataFrame, label: str) -> dict[str, int]:
    """Rows per value of `split`. Raises InputError where one of SPLITS lacks churners, or others."""
    counts = df.groupBy("split").agg(F.count("*"), F.sum(F.col(label).cast("int"))).collect()
    found = {name: (rows, churners) for name, rows, churners in counts}
    for name in SPLITS:
        rows, churners = found.get(name, (0, 0))
        if not 0 < churners < rows:
            raise InputError(
                f"the {name} split has {churners} churners in {rows} rows; it needs both kinds",
                where="split",
                fix="give more rows, or another split.seed or split.test",
            )
    return {name: found[name][0] for name in (*SPLITS, *UNUSED) if name in found}


def _test_from(rows: Mapping[dt.date, int], split: Split) -> dt.date:
    """The first day of the test, given rows per usable snapshot, oldest first."""
    gap = dt.timedelta(max(1, split.horizon_days))
    least = next((day for day in rows if day - gap >= min(rows)), None)
    if least is None:
        raise InputError(
            f"{len(rows)} snapshot dates with known outcomes are too few for a split by time with a gap of "
            f"{split.horizon_days} days",
            where="split",
            fix="give more dates, say in split.observed_until up to when outcomes are known, "
            "or use split.mode: hash",
        )
    return max(least, _cut(rows, split.test))


def _period(day: Column, test_from: dt.date, *, gap: int) -> Column:
    return (
        F.when(day >= F.lit(test_from), "test")
        .when(day > F.date_sub(F.lit(test_from), gap), "gap")
        .otherwise("learn")
    )


def _cut(rows: Mapping[dt.date, int], share: float) -> dt.date:
    """The first day of the last `share` of the rows: at least one day, as close to the share as it gets."""
    total, taken = sum(rows.values()), 0
    for day in sorted(rows, reverse=True):
        taken += rows[day]
        if taken >= share * total:
            break
    return day
