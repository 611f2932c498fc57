"""What a customer's earlier snapshots say: how each column was, how it moves, since when it stands still."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from churn_spark.history.rows import Numbers, Rows, equal


def numeric_history(
    rows: Rows, values: Numbers, windows: tuple[int, ...], *, lags: tuple[int, ...] = ()
) -> Iterator[Numbers]:
    """One column's history: float64 arrays of shape (n,), NaN where there is nothing to tell.

    The value in the snapshot before and the change since; the values of the `lags`-th snapshots before; for each
    window of w snapshots the mean of the w earlier ones and the slope of the least-squares line through the last w,
    the present one included; for how many snapshots the value has been the same, and how many ago it was last
    neither missing nor zero.
    """
    back = [values, *(rows.lagged(values, k) for k in range(1, max((1, *windows, *lags)) + 1))]
    yield back[1]
    yield values - back[1]
    yield from (back[lag] for lag in lags)
    for window in windows:
        yield _mean(back[1 : window + 1])
        yield _slope(back[:window])
    yield rows.since(rows.begins | ~equal(values, back[1]))
    yield rows.since(~np.isnan(values) & (values != 0))


def category_history(rows: Rows, codes: Numbers) -> Numbers:
    """For how many snapshots a category has been the same; `codes` are any numbers, NaN for a missing one."""
    return rows.since(rows.begins | ~equal(codes, rows.lagged(codes, 1)))


def _mean(values: list[Numbers]) -> Numbers:
    """The mean of what is known, added up in the order given."""
    count, total = np.zeros(len(values[0])), np.zeros(len(values[0]))
    for value in values:
        count += ~np.isnan(value)
        total += np.nan_to_num(value)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _slope(values: list[Numbers]) -> Numbers:
    """The least-squares slope per snapshot of what is known, `values` running from the newest back; NaN below two."""
    known = [~np.isnan(v) for v in values]
    count = np.sum(known, axis=0, dtype=float)
    middle = sum(-k * there for k, there in enumerate(known)) / np.maximum(count, 1)
    mean = _mean(values)
    above, below = np.zeros(len(mean)), np.zeros(len(mean))
    for k, (value, there) in enumerate(zip(values, known, strict=True)):
        away = np.where(there, -k - middle, 0.0)
        above += away * np.where(there, value - mean, 0.0)
        below += away * away
    return np.where(count >= 2, above / np.where(below > 0, below, 1), np.nan)
