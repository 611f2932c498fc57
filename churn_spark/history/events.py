"""What happened before a day: how often, how much, how long ago, and how regularly, in windows of days.

Windows are half-open: an event of day d counts for a snapshot of day t in a window of w days with a delay of e where
t - e - w < d <= t - e. So nothing that is later than the snapshot, or that was not known yet, can count.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from churn_spark.contract.history import LIFETIME, REOPENED
from churn_spark.history.rows import Ints, Numbers, Places


@dataclass(frozen=True)
class Days:
    """The days on which something happened, sorted by customer and day: how often, and how much of what."""

    customer: Ints
    day: Ints
    count: Ints
    sums: dict[str, Numbers]


def event_history(
    days: Days, customer: Ints, day: Ints, *, windows: tuple[int, ...], delay: int = 0
) -> Iterator[Numbers]:
    """One kind of event's history as of each (customer, day): float64 of shape (n,), in the order of `EventPlan.parts`.

    Counts and sums by window (0 where nothing happened); days since the last and the first event; mean and standard
    deviation of the days between events, and how many mean gaps the last event lies back (all NaN where too few
    events are known). `days` holds whole customers.
    """
    begin, end = _begin(days, customer, day - delay, LIFETIME), _place(days, customer, day - delay)
    for window in windows:
        since = _begin(days, customer, day - delay, window)
        yield _sums(days.count, since, end).astype(np.float64)
        for values in days.sums.values():
            yield _sums(values, since, end).astype(np.float64)
    yield from _rhythm(days.day, begin, end, day)


def fact_history(
    days: Days, customer: Ints, day: Ints, *, fact: str, windows: tuple[int, ...], delay: int = 0
) -> Iterator[Numbers]:
    """What became known of events as of each (customer, day): by window the mean, NaN where nothing did, or a count."""
    end = _place(days, customer, day - delay)
    for window in windows:
        begin = _begin(days, customer, day - delay, window)
        count = _sums(days.count, begin, end).astype(np.float64)
        mean = _sums(days.sums[fact], begin, end) / np.where(count > 0, count, np.nan)
        yield count if fact == REOPENED else mean


def so_far(days: Days, customer: Ints, day: Ints, *, delay: int = 0) -> Numbers:
    """How often it had happened as of each (customer, day)."""
    begin, end = _begin(days, customer, day - delay, LIFETIME), _place(days, customer, day - delay)
    return _sums(days.count, begin, end).astype(np.float64)


def newest(
    days: Days, customer: Ints, day: Ints, *, count: int, within: int = LIFETIME, delay: int = 0
) -> Places:
    """The places of the last `count` days as of each (customer, day), the newest first; -1 where there is none."""
    begin, end = _begin(days, customer, day - delay, within), _place(days, customer, day - delay)
    places = end[:, None] - 1 - np.arange(count)
    return np.where(places >= begin[:, None], places, -1)


def _begin(days: Days, customer: Ints, last: Ints, window: int) -> Places:
    """How many of the sorted days lie before a window of each (customer, last day of the window)."""
    return _place(
        days, customer, last - window if window != LIFETIME else np.full(len(last), np.iinfo(np.int32).min)
    )


def _place(days: Days, customer: Ints, day: Ints) -> Places:
    """How many of the sorted days lie up to and including (customer, day)."""
    low = int(min(days.day.min(initial=0), day.min(initial=0)))
    width = int(max(days.day.max(initial=0), day.max(initial=0))) - low + 2
    known, wanted = (
        days.customer * width + days.day - low + 1,
        customer * width + np.maximum(day - low + 1, 0),
    )
    return np.searchsorted(known, wanted, side="right")


def _sums(values: Ints | Numbers, begin: Places, end: Places) -> Ints | Numbers:
    """The sum of each slice, which depends on the slice alone: no difference of running totals, whose bits vary."""
    padded = np.append(values, values.dtype.type(0))
    sums = np.add.reduceat(padded, np.column_stack([begin, end]).ravel())[::2] if len(begin) else values[:0]
    return np.where(end > begin, sums, values.dtype.type(0))


def _rhythm(days: Ints, begin: Places, end: Places, today: Ints) -> Iterator[Numbers]:
    """Days since the last and first event, mean and spread of the gaps between, and how overdue the next one is."""
    some, several = end > begin, end > begin + 1
    known = days if len(days) else np.zeros(1, np.int64)
    last, first = known[np.maximum(end - 1, 0)], known[np.minimum(begin, len(known) - 1)]
    since_last = np.where(some, today - last, np.nan)
    gaps = (end - begin - 1).astype(np.float64)
    mean = np.where(several, (last - first) / np.maximum(gaps, 1), np.nan)
    squares = _sums(np.diff(days, prepend=days[:1]) ** 2, np.minimum(begin + 1, end), end)
    spread = np.sqrt(np.maximum(squares / np.maximum(gaps, 1) - mean**2, 0))
    yield since_last
    yield np.where(some, today - first, np.nan)
    yield mean
    yield np.where(end > begin + 2, spread, np.nan)
    yield since_last / np.where(mean > 0, mean, np.nan)
