"""Numbers looked up in the tables of metrics, each with its interval."""

from __future__ import annotations

import math
from typing import NamedTuple

import pandas as pd


class Measure(NamedTuple):
    """A number with its 95 % interval, measured on `n` customers; NaN where it is not known."""

    value: float = math.nan
    low: float = math.nan
    high: float = math.nan
    n: int = 0

    @property
    def known(self) -> bool:
        return math.isfinite(self.value)

    def times(self, factor: float) -> Measure:
        """The measure in another unit."""
        return Measure(self.value * factor, self.low * factor, self.high * factor, self.n)


def find(table: pd.DataFrame, **where: str) -> Measure:
    """The measure in the one row of `table` whose columns have these values; unknown where there is none."""
    if table.empty:
        return Measure()
    rows = table
    for column, wanted in where.items():
        rows = rows[rows[column] == wanted]
    if rows.empty:
        return Measure()
    row = rows.iloc[0]
    return Measure(float(row["value"]), float(row["ci_low"]), float(row["ci_high"]), int(row.get("n", 0)))


def on_test(metrics: pd.DataFrame, metric: str) -> Measure:
    """A metric over all test customers."""
    return find(metrics, split="test", slice="all", metric=metric)
