"""The history of a few records in a process, as a job would make it from tables."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from churn_spark.contract.columns import Column, Contract
from churn_spark.contract.history import DATE, KNOWN_AT, RESOLVED, SATISFACTION, TEXT, EventPlan
from churn_spark.contract.rules import Problem, check_record
from churn_spark.history.table import CUSTOMER, DAY, KIND, SNAPSHOT, history, last_notes, layout, value_column

EPOCH = dt.date(1970, 1, 1)
Record = Mapping[str, Any]
ASKED = "_asked"  # whether a row of the table is one that is to be scored


@dataclass(frozen=True)
class Past:
    """What a process knows of earlier days: raw rows of earlier snapshots, raw rows of each table of events.

    Rows have the columns of the raw tables, under their names there or under those of the contract.
    """

    snapshots: Iterable[Record] | None = None
    events: Mapping[str, Iterable[Record]] = field(default_factory=dict)

    def missing(self, contract: Contract) -> list[Problem]:
        """What the contract's history reads and was not given."""
        plan = contract.history
        absent = ["earlier snapshots were"] if plan.reads_panel and self.snapshots is None else []
        absent += [f"the table {event.name} was" for event in plan.events if event.name not in self.events]
        return [Problem("history_missing", f"{what} not given", ()) for what in absent]


def records_history(
    rows: Sequence[Record], contract: Contract, past: Past, *, as_of: dt.date
) -> dict[str, Any]:
    """Every column of the contract's history for checked rows, in their order: numbers, and notes as `last_notes`.

    A row is looked at on the day of its snapshot, or on `as_of` where it names none. Rows do not see one another.
    """
    plan, key = contract.history, contract.id.name
    earlier = _by_customer(past.snapshots or (), contract.used, key, needed=contract.key)
    happened = {}
    for event in plan.events:
        columns = contract.tables[event.name]
        counts = [c.name for c in columns if c.name in (key, DATE) or c.required]
        happened[event.name] = _by_customer(past.events.get(event.name, ()), columns, key, needed=counts)
    lines = [
        line
        for place, row in enumerate(rows)
        for line in _lines(place, row, contract, earlier, happened, as_of)
    ]
    types = {CUSTOMER: pa.int64(), DAY: pa.int32(), KIND: pa.string(), **layout(plan), ASKED: pa.bool_()}
    lines.sort(key=lambda line: [(line.get(n) is not None, line.get(n)) for n in types if n != ASKED])
    ordered = pa.table({n: pa.array([line.get(n) for line in lines], t) for n, t in types.items()})
    asked = ordered.filter(pc.equal(ordered.column(KIND), SNAPSHOT)).column(ASKED).to_numpy()
    told = {**history(ordered, plan), **last_notes(ordered, plan)}
    return {name: values[asked] for name, values in told.items()}


def _lines(
    place: int,
    row: Record,
    contract: Contract,
    earlier: Mapping[str, Sequence[Record]],
    happened: Mapping[str, Mapping[str, Sequence[Record]]],
    as_of: dt.date,
) -> Iterator[dict[str, Any]]:
    """The lines of one record in the table of snapshots and events: its customer's past, and itself."""
    key, snapshot, plan = row[contract.id.name], contract.snapshot, contract.history
    today = (row.get(snapshot.name) if snapshot else None) or as_of
    before = (
        [(r, r[snapshot.name]) for r in earlier.get(key, ()) if r[snapshot.name] < today] if snapshot else []
    )
    for known, day in ((row, today), *before):
        values = {n: known.get(n) for n in (*plan.numeric, *plan.categorical)}
        dates = {n: _day(known[n]) for n in plan.dates if known.get(n) is not None}
        yield {CUSTOMER: place, DAY: _day(day), KIND: SNAPSHOT, ASKED: known is row, **values, **dates}
    for event in plan.events:
        for happening in happened[event.name].get(key, ()):
            for line in dated_facts(happening, event):
                yield {CUSTOMER: place, ASKED: False, **line}


def dated_facts(row: Record, event: EventPlan) -> Iterator[dict[str, Any]]:
    """An event, and what became known of it, each on the day from which on it was known; none before the event."""

    def on(day: dt.date, kind: str, **values: Any) -> dict[str, Any]:
        return {DAY: _day(max(day, row.get(KNOWN_AT) or day)), KIND: kind, **values}

    values = {value_column(event.name, v): row[v] for v in event.values}
    yield on(row[DATE], event.name, **values, **({event.text: row[TEXT]} if event.notes else {}))
    for fact in event.facts:
        day = row[RESOLVED if fact == SATISFACTION else fact]
        if day is not None and day >= row[DATE] and row[fact] is not None:
            name = value_column(event.name, fact)
            yield on(day, name, **{name: row[fact] if fact == SATISFACTION else (day - row[DATE]).days})


def _by_customer(
    records: Iterable[Record], columns: Sequence[Column], key: str, *, needed: Sequence[str]
) -> dict[str, list[dict[str, Any]]]:
    """Checked records by customer; one without what is needed of it is left out, as a job would."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        values, _ = check_record(record, columns)
        if all(values[name] is not None for name in needed):
            rows.setdefault(values[key], []).append(values)
    return rows


def _day(date: dt.date) -> int:
    return (date - EPOCH).days
