"""Which columns history adds to a table: by name, and whose history each of them tells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

LIFETIME = 0  # a window without a beginning
LAST, CHANGE, SINCE_CHANGE, SINCE_NONZERO = "last", "change", "since_change", "since_nonzero"
DAYS_AGO, SNAPSHOTS_SEEN = "days_ago", "snapshots_seen"
DAYS_SINCE_LAST = "days_since_last"
RHYTHM = (DAYS_SINCE_LAST, "days_since_first", "mean_gap", "gap_spread", "overdue")


def history_column(source: str, part: str) -> str:
    """The name of one part of the history of a column or of a table of events."""
    return f"{source}__{part}"


@dataclass(frozen=True)
class EventPlan:
    """One table of dated events: its name, the columns to add up, the windows in days (0: lifetime), the delay."""

    name: str
    values: tuple[str, ...] = ()
    windows: tuple[int, ...] = (30, 90, 365, LIFETIME)
    delay: int = 0

    @property
    def parts(self) -> Iterator[str]:
        """What it adds, in order: count and sums by window, then how regularly the events came."""
        for window in self.windows:
            suffix = "lifetime" if window == LIFETIME else f"{window}d"
            yield from (f"count_{suffix}", *(f"sum_{value}_{suffix}" for value in self.values))
        yield from RHYTHM


@dataclass(frozen=True)
class HistoryPlan:
    """The columns whose earlier snapshots count, over windows of so many snapshots; dates; and tables of events."""

    numeric: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    windows: tuple[int, ...] = (3, 6)
    dates: tuple[str, ...] = ()
    events: tuple[EventPlan, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.reads_panel or self.dates or self.events)

    @property
    def reads_panel(self) -> bool:
        """Whether a customer's own earlier snapshots count."""
        return bool(self.numeric or self.categorical)

    @property
    def sources(self) -> dict[str, str]:
        """Every column that is added, in order, and the column or table of events whose history it tells."""
        return dict(self._sources())

    def _sources(self) -> Iterator[tuple[str, str]]:
        of_windows = [f"{part}_{w}" for w in self.windows for part in ("mean", "trend")]
        for name in self.numeric:
            for part in (LAST, CHANGE, *of_windows, SINCE_CHANGE, SINCE_NONZERO):
                yield history_column(name, part), name
        yield from ((history_column(name, SINCE_CHANGE), name) for name in self.categorical)
        if self.reads_panel:
            yield SNAPSHOTS_SEEN, SNAPSHOTS_SEEN
        yield from ((history_column(name, DAYS_AGO), name) for name in self.dates)
        for event in self.events:
            yield from ((history_column(event.name, part), event.name) for part in event.parts)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> HistoryPlan:
        events = (
            EventPlan(e["name"], tuple(e["values"]), tuple(e["windows"]), e["delay"]) for e in value["events"]
        )
        lists = {part: tuple(value[part]) for part in ("numeric", "categorical", "windows", "dates")}
        return cls(**lists, events=tuple(events))
