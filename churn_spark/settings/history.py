"""Settings of what happened before: earlier snapshots, tables of dated events, panels and labels made from them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from churn_spark.contract.columns import Column
from churn_spark.contract.history import DATE, FACTS, KNOWN_AT, LIFETIME, SATISFACTION, TEXT, EventPlan
from churn_spark.settings.section import Section

Days = Annotated[str, Field(pattern=r"^(\d{1,5}d|lifetime)$")]
EVENTS = "events"
LABEL = "churn"  # the name of a label that is made and not declared


class History(Section):
    """The columns whose earlier snapshots count (all numeric and categorical ones), which, and over how many."""

    columns: tuple[str, ...] | None = None
    lags: tuple[Annotated[int, Field(ge=1, le=36)], ...] = (1,)
    windows: tuple[Annotated[int, Field(ge=2, le=36)], ...] = (3, 6)

    @property
    def beyond_last(self) -> tuple[int, ...]:
        """The lags that are inputs besides the first, which always is."""
        return tuple(sorted({*self.lags} - {1}))


class Events(Section):
    """A table of dated events, many rows a customer; `raw: null` is the raw table itself.

    `filter` names columns and the values that count; `known_at` the day from which on an event was known.
    """

    raw: str | None = None
    customer: str = "customer_id"
    date: str = DATE
    value: tuple[str, ...] = ()
    windows: tuple[Days, ...] = ("30d", "90d", "365d", "lifetime")
    delay: Annotated[str, Field(pattern=r"^\d{1,5}d$")] = "0d"
    known_at: str | None = None
    filter: dict[str, tuple[str, ...]] = {}

    @field_validator("value", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("filter", mode="before")
    @classmethod
    def _one_value_or_several(cls, value: Any) -> Any:
        several = (list, tuple)
        return {k: v if isinstance(v, several) else (v,) for k, v in (value or {}).items()}

    @model_validator(mode="after")
    def _names_differ(self) -> Events:
        names = [column.name for column in self.declared("")]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise ValueError(
                f"two columns are called {twice}; {DATE}, {KNOWN_AT}, {TEXT} and {[*FACTS]} are taken"
            )
        return self

    def declared(self, id_column: str) -> tuple[Column, ...]:
        """The columns that are read of it, the customer's id under that name."""
        known_at = Column(name=KNOWN_AT, role="passthrough", type="date", source=self.known_at)
        return (
            Column(name=id_column, role="id", source=self.customer),
            Column(name=DATE, role="snapshot", source=self.date),
            *(Column(name=value, role="numeric") for value in self.value),
            *((known_at,) if self.known_at else ()),
            *(Column(name=n, role="categorical", allowed=v, required=True) for n, v in self.filter.items()),
        )

    def plan(self, name: str) -> EventPlan:
        return EventPlan(name, self.value, tuple(map(in_days, self.windows)), in_days(self.delay))


class TicketColumns(Section):
    """The columns of a table of tickets that tell what became of them, and when: days, and a number."""

    resolved: str | None = None
    first_response: str | None = None
    reopened: str | None = None
    satisfaction: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _a_status_has_no_day(cls, value: Any) -> Any:
        if isinstance(value, Mapping) and value.get("status"):
            raise ValueError(
                "status is that of the day of the export, which no earlier snapshot knew; give `resolved`, the column "
                "with the day on which a ticket was closed: open and closed follow from it"
            )
        return value

    @model_validator(mode="after")
    def _satisfaction_has_a_day(self) -> TicketColumns:
        if self.satisfaction and not self.resolved:
            raise ValueError("satisfaction needs `resolved`, the day from which on it is known")
        return self

    @property
    def given(self) -> dict[str, str]:
        """The column for each of FACTS that there is one for."""
        return {fact: source for fact in FACTS if (source := getattr(self, fact))}


class Tickets(Events):
    """Tickets as help desks export them: events, what became of them, and the `last` notes `within` so many days."""

    windows: tuple[Days, ...] = ("7d", "30d", "90d", "lifetime")
    text: str | None = None
    columns: TicketColumns = TicketColumns()
    last: Annotated[int, Field(ge=1, le=50)] = 5
    within: Days = "90d"

    def declared(self, id_column: str) -> tuple[Column, ...]:
        given = self.columns.given
        days = {n: s for n, s in given.items() if n != SATISFACTION}
        satisfaction = Column(name=SATISFACTION, role="numeric", source=given.get(SATISFACTION))
        return (
            *super().declared(id_column),
            *((Column(name=TEXT, role="text", source=self.text),) if self.text else ()),
            *(Column(name=n, role="passthrough", type="date", source=s) for n, s in days.items()),
            *((satisfaction,) if SATISFACTION in given else ()),
        )

    def plan(self, name: str) -> EventPlan:
        plan, notes = super().plan(name), self.last if self.text else 0
        return EventPlan(
            plan.name,
            plan.values,
            plan.windows,
            plan.delay,
            tuple(self.columns.given),
            notes,
            in_days(self.within),
        )


class Label(Section):
    """A label made from what happened, within the horizon, which begins after the lead.

    `source`: no event any more, or the day that a column with the date of leaving names.
    """

    source: str = Field(EVENTS, alias="from")
    lead_days: Annotated[int, Field(ge=0)] = 0
    horizon_days: Annotated[int, Field(ge=1)] = 90

    @property
    def date(self) -> str | None:
        """The column with the day on which customers left, where the label is made from one."""
        return None if self.source == EVENTS else self.source


def with_horizon_of_label(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """Settings whose label is made: its horizon is what is not known of a snapshot yet, and what a split leaves out."""
    label = Label.model_validate(settings.get("label") or {})
    if not (settings.get("snapshots") or label.date):
        return settings
    horizon = {"horizon_days": label.lead_days + label.horizon_days}
    return {**settings, "split": {**(settings.get("split") or {}), **horizon}}


def in_days(window: str) -> int:
    """`90d` as 90, `lifetime` as LIFETIME."""
    return LIFETIME if window == "lifetime" else int(re.sub("d$", "", window))
