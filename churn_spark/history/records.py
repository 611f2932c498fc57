"""The history of a few records in a process, as a job would make it from tables."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from churn_spark.contract.columns import Column, Contract
from churn_spark.contract.history import EventPlan
from churn_spark.contract.rules import Problem, check_record
from churn_spark.history.rows import Numbers
from churn_spark.history.table import CUSTOMER, DAY, KIND, SNAPSHOT, history, value_column

EPOCH = dt.date(1970, 1, 1)
Record = Mapping[str, Any]


@dataclass(frozen=True)
class Past:
    """What a process knows of earlier days: raw rows of earlier snapshots, raw rows of each table of events.

    Rows of an event name the customer as the contract's id, the day as `date`, and the values by their names.
    """

    snapshots: Iterable[Record] | None = None
    events: Mapping[str, Iterable[Record]] = field(default_factory=dict)

    def missing(self, contract: Contract) -> list[Problem]:
        """What the contract's history reads and was not given."""
        plan = contract.history
        absent = ["earlier snapshots"] if plan.reads_panel and self.snapshots is None else []
        absent += [f"the table {event.name}" for event in plan.events if event.name not in self.events]
        return [Problem("history_missing", f"{what} were not given", ()) for what in absent]


def records_history(
    rows: Sequence[Record], contract: Contract, past: Past, *, as_of: dt.date
) -> dict[str, Numbers]:
    """Every column of the contract's history for checked rows, in their order.

    A row is looked at on the day of its snapshot, or on `as_of` where it names none. Rows do not see one another.
    """
    plan = contract.history
    earlier = _by_customer(past.snapshots or (), contract.used, contract)
    happened = {
        e.name: _by_customer(past.events.get(e.name, ()), _columns(e, contract), contract)
        for e in plan.events
    }
    table = [
        line
        for place, row in enumerate(rows)
        for line in _lines(place, row, contract, earlier, happened, as_of)
    ]
    strings = {
        CUSTOMER: pa.int64(),
        DAY: pa.int32(),
        KIND: pa.string(),
        **dict.fromkeys(plan.categorical, pa.string()),
    }
    whole = {**strings, **dict.fromkeys(plan.dates, pa.int32()), **dict.fromkeys(plan.numeric, pa.float64())}
    names = [*whole, *(value_column(e.name, v) for e in plan.events for v in e.values)]
    columns = {n: pa.array([line.get(n) for line in table], whole.get(n, pa.float64())) for n in names}
    order = [(n, "ascending") for n in (CUSTOMER, DAY, KIND, *sorted(set(names) - {CUSTOMER, DAY, KIND}))]
    ordered = pa.table({**columns, "_asked": [line["_asked"] for line in table]}).sort_by(order)
    asked = ordered.filter(pa.compute.equal(ordered.column(KIND), SNAPSHOT)).column("_asked").to_numpy()
    return {name: values[asked] for name, values in history(ordered, plan).items()}


def _lines(
    place: int,
    row: Record,
    contract: Contract,
    earlier: Mapping[str, Sequence[Record]],
    happened: Mapping[str, Mapping[str, Sequence[Record]]],
    as_of: dt.date,
) -> Iterator[dict[str, Any]]:
    """The lines of one record in the table of snapshots and events: its customer's past, and itself."""
    key, snapshot = row[contract.id.name], contract.snapshot
    today = (row.get(snapshot.name) if snapshot else None) or as_of
    before = [r for r in earlier.get(key, ()) if snapshot and r[snapshot.name] < today]
    for known, day in ((row, today), *((r, r[snapshot.name]) for r in before if snapshot)):
        plan = contract.history
        values = {n: known.get(n) for n in (*plan.numeric, *plan.categorical)}
        dates = {n: _day(known[n]) for n in plan.dates if known.get(n) is not None}
        yield {CUSTOMER: place, DAY: _day(day), KIND: SNAPSHOT, "_asked": known is row, **values, **dates}
    for event in contract.history.events:
        for line in happened[event.name].get(key, ()):
            sums = {value_column(event.name, v): line[v] for v in event.values}
            yield {CUSTOMER: place, DAY: _day(line["date"]), KIND: event.name, "_asked": False, **sums}


def _by_customer(
    records: Iterable[Record], columns: Sequence[Column], contract: Contract
) -> dict[str, list[dict[str, Any]]]:
    """Checked records by customer; one without a usable customer or day is left out, as a job would."""
    rows: dict[str, list[dict[str, Any]]] = {}
    days = [c.name for c in columns if c.role == "snapshot"]
    for record in records:
        values, _ = check_record(record, columns)
        if all(values.get(name) is not None for name in (contract.id.name, *days)):
            rows.setdefault(values[contract.id.name], []).append(values)
    return rows


def _columns(event: EventPlan, contract: Contract) -> tuple[Column, ...]:
    day = Column(name="date", role="snapshot")
    return (contract.id, day, *(Column(name=value, role="numeric") for value in event.values))


def _day(date: dt.date) -> int:
    return (date - EPOCH).days
