"""Which columns history adds to a table: by name, and whose history each of them tells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from churn_spark.history import events, panel


@dataclass(frozen=True)
class EventPlan:
    """One table of dated events: its name, the columns to add up, the windows in days (0: lifetime), the delay."""

    name: str
    values: tuple[str, ...] = ()
    windows: tuple[int, ...] = (30, 90, 365, events.LIFETIME)
    delay: int = 0

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of what it adds, in the order of `events.event_history`."""
        return tuple(f"{self.name}__{part}" for part in events.names(self.windows, self.values))


@dataclass(frozen=True)
class Plan:
    """The columns of a panel whose earlier snapshots count, over windows of so many snapshots; and its events."""

    numeric: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    windows: tuple[int, ...] = (3, 6)
    events: tuple[EventPlan, ...] = ()

    @property
    def reads_panel(self) -> bool:
        """Whether a customer's own earlier snapshots count."""
        return bool(self.numeric or self.categorical)

    @property
    def sources(self) -> dict[str, str]:
        """Every column that is added, in order, and the column or table of events whose history it tells."""
        return dict(self._sources())

    def _sources(self) -> Iterator[tuple[str, str]]:
        for name in self.numeric:
            yield from ((f"{name}__{part}", name) for part in panel.numeric_names(self.windows))
        yield from ((f"{name}__{panel.SINCE_CHANGE}", name) for name in self.categorical)
        if self.reads_panel:
            yield panel.SEEN, panel.SEEN
        for event in self.events:
            yield from ((column, event.name) for column in event.columns)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Plan:
        plans = (
            EventPlan(e["name"], tuple(e["values"]), tuple(e["windows"]), e["delay"]) for e in value["events"]
        )
        lists = {part: tuple(value[part]) for part in ("numeric", "categorical", "windows")}
        return cls(**lists, events=tuple(plans))
