"""Which rows a model may learn from, and for what: by hash of the customer, or by time.

`train` grows the trees and `validation` stops them, `calibration` fits calibrator and threshold, and nothing
at all is fitted on `test`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from churn_spark.contract.columns import FOLDS, SPLITS, Contract
from churn_spark.errors import InputError
from churn_spark.settings.sections import Split

BUCKETS = 10_000
UNUSED = ("gap", "censored", "other_side")


def with_split(df: DataFrame, contract: Contract, *, split: Split) -> DataFrame:
    """Add `split`: one of SPLITS, or of UNUSED for a row that must not be used (time splits only).

    `hash` puts a customer on one side by a salted hash of the id, whatever the partitioning or the other
    rows. `time` orders snapshots as train < gap < validation and calibration < gap < test, the gap being the
    horizon in which a label forms, so that the test is a forecast; a period's snapshots are used together.
    Validation and calibration divide the customers of one period by hash: a second one would cost another
    gap, and both should see what is newest. `group_time` also keeps each customer on one side; their rows on
    the others are `other_side`. A row is `censored`, whatever the mode, where its outcome could not be known
    yet: its snapshot lies less than the horizon before `split.observed_until`, by default the newest
    snapshot, since a table says nothing of the time after it. Raises InputError where too few are left.
    """
    mode = resolve_mode(contract, split=split)
    side = _side(contract.id.name, split)
    if contract.snapshot is None:
        return df.withColumn("split", side)
    day = contract.snapshot.name
    counts = {r[0]: r[1] for r in df.groupBy(day).count().orderBy(day).collect()}
    last = (split.observed_until or max(counts)) - dt.timedelta(split.horizon_days)
    if mode == "hash":
        chosen = side
    else:
        held_from, test_from = _periods({d: n for d, n in counts.items() if d <= last}, split)
        period = _period(F.col(day), held_from, test_from, gap=split.horizon_days)
        half = bucket(contract.id.name, f"{split.seed}:half") * (split.validation + split.calibration)
        held = F.when(half < split.validation * BUCKETS, "validation").otherwise("calibration")
        chosen = F.when(period == "held", held).otherwise(period)
        if mode == "group_time":
            same = (period == side) | ((period == "held") & side.isin("validation", "calibration"))
            chosen = F.when(same, side).when(period == "gap", period).otherwise("other_side")
    return df.withColumn("split", F.when(F.col(day) > F.lit(last), "censored").otherwise(chosen))


def fold_of(key: str, split: Split) -> Column:
    """A number from 0 to FOLDS - 1 by another hash of the customer."""
    return F.pmod(bucket(key, f"{split.seed}:fold"), F.lit(FOLDS)).cast("int")


def bucket(key: str, salt: str) -> Column:
    """A number from 0 to BUCKETS - 1 by hash of the salt and a column, wherever the row is."""
    return F.pmod(F.xxhash64(F.lit(f"churn_spark:{salt}"), F.col(key)), F.lit(BUCKETS))


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
                fix="give more rows, or another split.seed or share",
            )
    return {name: found[name][0] for name in (*SPLITS, *UNUSED) if name in found}


def _side(key: str, split: Split) -> Column:
    """test, validation, calibration or train, by a salted hash of the customer."""
    place = bucket(key, str(split.seed))
    validation, calibration = split.test + split.validation, split.test + split.validation + split.calibration
    return (
        F.when(place < round(split.test * BUCKETS), "test")
        .when(place < round(validation * BUCKETS), "validation")
        .when(place < round(calibration * BUCKETS), "calibration")
        .otherwise("train")
    )


def _periods(rows: Mapping[dt.date, int], split: Split) -> tuple[dt.date, dt.date]:
    """The first day of the held period and of the test, given rows per usable snapshot, oldest first."""
    gap = dt.timedelta(max(1, split.horizon_days))
    days = list(rows)
    held_least = next((d for d in days if d >= days[0] + gap), dt.date.max)
    test_least = next((d for d in days if d - gap >= held_least), None)
    if test_least is None:
        raise InputError(
            f"{len(days)} snapshot dates with known outcomes are too few for a split by time with gaps of "
            f"{split.horizon_days} days",
            where="split",
            fix="give more dates, say in split.observed_until up to when outcomes are known, "
            "or use split.mode: hash",
        )
    test = max(test_least, _cut(rows, split.test))
    earlier = {d: n for d, n in rows.items() if d <= test - gap}
    held = max(held_least, _cut(earlier, (split.validation + split.calibration) / (1 - split.test)))
    return held, test


def _period(day: Column, held_from: dt.date, test_from: dt.date, *, gap: int) -> Column:
    return (
        F.when(day >= F.lit(test_from), "test")
        .when(day > F.date_sub(F.lit(test_from), gap), "gap")
        .when(day >= F.lit(held_from), "held")
        .when(day > F.date_sub(F.lit(held_from), gap), "gap")
        .otherwise("train")
    )


def _cut(rows: Mapping[dt.date, int], share: float) -> dt.date:
    """The first day of the last `share` of the rows: at least one day, as close to the share as it gets."""
    total, taken = sum(rows.values()), 0
    for day in sorted(rows, reverse=True):
        taken += rows[day]
        if taken >= share * total:
            break
    return day
