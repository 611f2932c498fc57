"""The history of whole customers, from a table of their snapshots and events in the order of time.

The same function serves Spark, which streams customers through it, and a process that scores a few records.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from churn_spark.contract.history import EventPlan, HistoryPlan, history_column
from churn_spark.history import events, panel
from churn_spark.history.rows import Ints, Numbers, Rows

CUSTOMER, DAY, KIND = "_customer", "_day", "_kind"
SNAPSHOT = ""  # the kind of a row that is no event


def value_column(event: str, value: str) -> str:
    """Where a table of snapshots and events holds what is to be added up."""
    return history_column(event, value)


def history(table: pa.Table, plan: HistoryPlan) -> dict[str, Numbers]:
    """Every column of `plan.sources` for the snapshots of `table`, in their order: float64, NaN where unknown.

    `table` holds whole customers, sorted by customer and day: CUSTOMER (string), DAY (int32, days since 1970), KIND
    (string, SNAPSHOT or the name of an event), for snapshots the plan's numeric (double), categorical (string) and
    date (int32, days since 1970) columns, for events the `value_column`s (double). Each row depends on snapshots of
    its customer that lie strictly earlier, on events up to its own day less the delay, and on nothing else.
    """
    customer = _codes(table.column(CUSTOMER))
    day = table.column(DAY).to_numpy().astype(np.int64)
    kind = np.asarray(table.column(KIND).combine_chunks())
    snapshots = kind == SNAPSHOT
    rows = Rows(customer[snapshots], day[snapshots])
    own = table.filter(pa.array(snapshots))
    columns = _panel(own, rows, plan)
    columns += [_days_ago(rows.day, _numbers(own.column(name))) for name in plan.dates]
    for event in plan.events:
        its = kind == event.name
        days = _days(table.filter(pa.array(its)), customer[its], day[its], event)
        columns += events.event_history(
            days, rows.customer, rows.day, windows=event.windows, delay=event.delay
        )
    return dict(zip(plan.sources, columns, strict=True))


def _panel(table: pa.Table, rows: Rows, plan: HistoryPlan) -> list[Numbers]:
    columns: list[Numbers] = []
    for name in plan.numeric:
        columns += panel.numeric_history(rows, _numbers(table.column(name)), plan.windows)
    columns += [panel.category_history(rows, _codes_or_nan(table.column(name))) for name in plan.categorical]
    return [*columns, rows.position.astype(np.float64)] if plan.reads_panel else columns


def _days_ago(day: Ints, date: Numbers) -> Numbers:
    """How many days a date lies back; NaN where it is not known, or lies ahead."""
    return np.where(date <= day, day - date, np.nan)


def _days(table: pa.Table, customer: Ints, day: Ints, event: EventPlan) -> events.Days:
    """The event's rows, one per customer and day."""
    begins = np.flatnonzero(
        np.append(True, (customer[1:] != customer[:-1]) | (day[1:] != day[:-1]))[: len(day)]
    )
    counts = np.diff(np.append(begins, len(day)))
    values = {v: _numbers(table.column(value_column(event.name, v))) for v in event.values}
    daily = {v: np.add.reduceat(np.nan_to_num(x), begins) if len(begins) else x for v, x in values.items()}
    return events.Days(customer[begins], day[begins], counts.astype(np.int64), daily)


def _numbers(column: pa.ChunkedArray) -> Numbers:
    return np.asarray(column.cast(pa.float64()).to_numpy(), np.float64)


def _codes(column: pa.ChunkedArray) -> Ints:
    """A number per distinct value."""
    return np.asarray(pc.dictionary_encode(column).combine_chunks().indices, np.int64)


def _codes_or_nan(column: pa.ChunkedArray) -> Numbers:
    encoded = pc.dictionary_encode(column).combine_chunks().indices
    return np.asarray(encoded.cast(pa.float64()).to_numpy(zero_copy_only=False), np.float64)
