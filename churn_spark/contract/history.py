"""Which columns history adds to a table: by name, and whose history each of them tells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

TICKETS = "tickets"  # the table of events whose notes are read
LIFETIME = 0  # a window without a beginning
LAST, CHANGE, SINCE_CHANGE, SINCE_NONZERO = "last", "change", "since_change", "since_nonzero"
DAYS_AGO, SNAPSHOTS_SEEN, DAYS_SINCE_SNAPSHOT = "days_ago", "snapshots_seen", "days_since_snapshot"
DAYS_SINCE_LAST, OPEN, NOTES = "days_since_last", "open", "notes"
RHYTHM = (DAYS_SINCE_LAST, "days_since_first", "mean_gap", "gap_spread", "overdue")
# What becomes known of a ticket on a day of its own, and the columns that tell of it. All but `reopened`, which is
# counted, are means over the window.
RESOLVED, REOPENED, SATISFACTION = "resolved", "reopened", "satisfaction"
FACTS = {
    RESOLVED: "days_to_resolve",
    "first_response": "days_to_first_response",
    REOPENED: "times_reopened",
    SATISFACTION: SATISFACTION,
}
DATE, KNOWN_AT, TEXT = "date", "known_at", "text"  # columns of every table of events, under these names
APART = "\x1e"  # stands between the notes of a column that holds several; no cleaned note has it


def history_column(source: str, part: str) -> str:
    """The name of one part of the history of a column or of a table of events."""
    return f"{source}__{part}"


@dataclass(frozen=True)
class EventPlan:
    """One table of dated events: its name, the columns to add up, the windows in days (0: lifetime), the delay.

    `facts` are what becomes known later of an event (see FACTS), `notes` how many of the last `within` days (0: ever)
    are read.
    """

    name: str
    values: tuple[str, ...] = ()
    windows: tuple[int, ...] = (30, 90, 365, LIFETIME)
    delay: int = 0
    facts: tuple[str, ...] = ()
    notes: int = 0
    within: int = LIFETIME

    @property
    def parts(self) -> Iterator[str]:
        """What it adds, in order: count and sums by window, how regularly events came, what became known of them."""
        suffixes = ["lifetime" if window == LIFETIME else f"{window}d" for window in self.windows]
        for suffix in suffixes:
            yield from (f"count_{suffix}", *(f"sum_{value}_{suffix}" for value in self.values))
        yield from RHYTHM
        if RESOLVED in self.facts:
            yield OPEN
        yield from (f"{FACTS[fact]}_{suffix}" for fact in self.facts for suffix in suffixes)

    @property
    def text(self) -> str:
        """The column that holds its last notes, the newest first, APART from one another."""
        return history_column(self.name, NOTES)


@dataclass(frozen=True)
class HistoryPlan:
    """The columns whose earlier snapshots count, over windows of so many snapshots; dates; and tables of events.

    `lags` are the snapshots before the last one whose values are inputs themselves, counted back from the present.
    """

    numeric: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    windows: tuple[int, ...] = (3, 6)
    dates: tuple[str, ...] = ()
    events: tuple[EventPlan, ...] = ()
    lags: tuple[int, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.reads_panel or self.dates or self.events)

    @property
    def reads_panel(self) -> bool:
        """Whether a customer's own earlier snapshots count."""
        return bool(self.numeric or self.categorical)

    @property
    def notes(self) -> dict[str, int]:
        """The text columns that it adds, and how many notes each of them holds at most."""
        return {event.text: event.notes for event in self.events if event.notes}

    @property
    def sources(self) -> dict[str, str]:
        """Every number that is added, in order, and the column or table of events whose history it tells."""
        return dict(self._sources())

    def _sources(self) -> Iterator[tuple[str, str]]:
        of_lags = [f"lag_{lag}" for lag in self.lags]
        of_windows = [f"{part}_{w}" for w in self.windows for part in ("mean", "trend")]
        for name in self.numeric:
            for part in (LAST, CHANGE, *of_lags, *of_windows, SINCE_CHANGE, SINCE_NONZERO):
                yield history_column(name, part), name
        yield from ((history_column(name, SINCE_CHANGE), name) for name in self.categorical)
        if self.reads_panel:
            yield from ((name, SNAPSHOTS_SEEN) for name in (SNAPSHOTS_SEEN, DAYS_SINCE_SNAPSHOT))
        yield from ((history_column(name, DAYS_AGO), name) for name in self.dates)
        for event in self.events:
            yield from ((history_column(event.name, part), event.name) for part in event.parts)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> HistoryPlan:
        events = (EventPlan(**{k: _tuple(v) for k, v in event.items()}) for event in value["events"])
        return cls(**{**{k: _tuple(v) for k, v in value.items()}, "events": tuple(events)})


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
