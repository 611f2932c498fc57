"""The history of whole customers, from a table of their snapshots and events in the order of time.

The same function serves Spark, which streams customers through it, and a process that scores a few records.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from churn_spark.contract.history import APART, RESOLVED, EventPlan, HistoryPlan, history_column
from churn_spark.history import events, panel
from churn_spark.history.rows import Ints, Numbers, Rows

CUSTOMER, DAY, KIND = "_customer", "_day", "_kind"
SNAPSHOT = ""  # the kind of a row that is no event


def value_column(event: str, value: str) -> str:
    """Where a table of snapshots and events holds what is to be added up; and a fact's kind, and its value."""
    return history_column(event, value)


def layout(plan: HistoryPlan) -> dict[str, pa.DataType]:
    """What a table of snapshots and events holds besides CUSTOMER, DAY and KIND.

    Rows that these three do not tell apart are in the order of the others, nulls first: sums are added up, and notes
    read, in one order everywhere.
    """
    whole: dict[str, pa.DataType] = dict.fromkeys(plan.numeric, pa.float64())
    whole |= dict.fromkeys(plan.categorical, pa.string()) | dict.fromkeys(plan.dates, pa.int32())
    for event in plan.events:
        whole |= {value_column(event.name, v): pa.float64() for v in (*event.values, *event.facts)}
        whole |= {event.text: pa.string()} if event.notes else {}
    return whole


class _Timeline:
    """A table's rows by kind: whose they are, and of which day."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table
        self.customer = _codes(table.column(CUSTOMER))
        self.day = table.column(DAY).to_numpy().astype(np.int64)
        self.kind = np.asarray(table.column(KIND).combine_chunks())

    def of(self, kind: str) -> tuple[pa.Table, Ints, Ints]:
        its = self.kind == kind
        return self.table.filter(pa.array(its)), self.customer[its], self.day[its]

    def days(self, event: EventPlan, kind: str, values: Iterable[str]) -> events.Days:
        """The rows of a kind, one per customer and day, with the sums of some values of the event."""
        table, customer, day = self.of(kind)
        begins = np.flatnonzero(
            np.append(True, (customer[1:] != customer[:-1]) | (day[1:] != day[:-1]))[: len(day)]
        )
        counts = np.diff(np.append(begins, len(day)))
        columns = {v: _numbers(table.column(value_column(event.name, v))) for v in values}
        daily = {
            v: np.add.reduceat(np.nan_to_num(x), begins) if len(begins) else x for v, x in columns.items()
        }
        return events.Days(customer[begins], day[begins], counts.astype(np.int64), daily)


def history(table: pa.Table, plan: HistoryPlan) -> dict[str, Numbers]:
    """Every column of `plan.sources` for the snapshots of `table`, in their order: float64, NaN where unknown.

    `table` holds whole customers, sorted by customer and day: CUSTOMER (string), DAY (int32, days since 1970), KIND
    (string: SNAPSHOT, the name of an event, or the `value_column` of a fact), and the columns of `layout`. Each row
    depends on snapshots of its customer that lie strictly earlier, on events up to its own day less the delay, and on
    nothing else.
    """
    line = _Timeline(table)
    own, customer, day = line.of(SNAPSHOT)
    columns = _panel(own, Rows(customer, day), plan)
    columns += [_days_ago(day, _numbers(own.column(name))) for name in plan.dates]
    for event in plan.events:
        columns += _events(line, event, customer, day)
    return dict(zip(plan.sources, columns, strict=True))


def _events(line: _Timeline, event: EventPlan, customer: Ints, day: Ints) -> Iterator[Numbers]:
    """The event's history as of each (customer, day), in the order of `EventPlan.parts`."""
    days = line.days(event, event.name, event.values)
    yield from events.event_history(days, customer, day, windows=event.windows, delay=event.delay)
    known = {f: line.days(event, value_column(event.name, f), [f]) for f in event.facts}
    if RESOLVED in known:
        began, ended = (events.so_far(d, customer, day, delay=event.delay) for d in (days, known[RESOLVED]))
        yield began - ended
    for fact, dated in known.items():
        yield from events.fact_history(
            dated, customer, day, fact=fact, windows=event.windows, delay=event.delay
        )


def last_notes(table: pa.Table, plan: HistoryPlan) -> dict[str, npt.NDArray[np.object_]]:
    """Every column of `plan.notes` for the snapshots of `table`, in their order; None where there was no note."""
    line = _Timeline(table)
    _, customer, day = line.of(SNAPSHOT)
    told = {}
    for event in (e for e in plan.events if e.notes):
        own, whose, when = line.of(event.name)
        notes = own.column(event.text)
        written = np.asarray(notes.is_valid())
        days = events.Days(whose[written], when[written], np.ones(int(written.sum()), np.int64), {})
        places = events.newest(days, customer, day, count=event.notes, within=event.within, delay=event.delay)
        said = [note.replace(APART, " ") for note in notes.drop_null().to_pylist()]
        joined = [APART.join(said[place] for place in own if place >= 0) or None for own in places.tolist()]
        told[event.text] = np.array(joined, object)
    return told


def _panel(table: pa.Table, rows: Rows, plan: HistoryPlan) -> list[Numbers]:
    columns: list[Numbers] = []
    for name in plan.numeric:
        columns += panel.numeric_history(rows, _numbers(table.column(name)), plan.windows, lags=plan.lags)
    columns += [panel.category_history(rows, _codes_or_nan(table.column(name))) for name in plan.categorical]
    if not plan.reads_panel:
        return columns
    return [
        *columns,
        rows.position.astype(np.float64),
        rows.day - rows.lagged(rows.day.astype(np.float64), 1),
    ]


def _days_ago(day: Ints, date: Numbers) -> Numbers:
    """How many days a date lies back; NaN where it is not known, or lies ahead."""
    return np.where(date <= day, day - date, np.nan)


def _numbers(column: pa.ChunkedArray) -> Numbers:
    return np.asarray(column.cast(pa.float64()).to_numpy(), np.float64)


def _codes(column: pa.ChunkedArray) -> Ints:
    """A number per distinct value."""
    return np.asarray(pc.dictionary_encode(column).combine_chunks().indices, np.int64)


def _codes_or_nan(column: pa.ChunkedArray) -> Numbers:
    encoded = pc.dictionary_encode(column).combine_chunks().indices
    return np.asarray(encoded.cast(pa.float64()).to_numpy(zero_copy_only=False), np.float64)
