"""Settings of what happened before: earlier snapshots, tables of dated events, panels and labels made from them."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from churn_spark.contract.history import LIFETIME, EventPlan
from churn_spark.settings.section import Section

Days = Annotated[str, Field(pattern=r"^(\d{1,5}d|lifetime)$")]


class History(Section):
    """The columns whose earlier snapshots become inputs (all numeric and categorical ones), and over how many."""

    columns: tuple[str, ...] | None = None
    windows: tuple[Annotated[int, Field(ge=2, le=36)], ...] = (3, 6)


class Events(Section):
    """A table of dated events, many rows a customer; `raw: null` is the raw table itself."""

    raw: str | None = None
    customer: str = "customer_id"
    date: str = "date"
    value: tuple[str, ...] = ()
    windows: tuple[Days, ...] = ("30d", "90d", "365d", "lifetime")
    delay: Annotated[str, Field(pattern=r"^\d{1,5}d$")] = "0d"

    @field_validator("value", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    def plan(self, name: str) -> EventPlan:
        return EventPlan(name, self.value, tuple(map(in_days, self.windows)), in_days(self.delay))


class Label(Section):
    """A label made from what happened: no event within the horizon, which begins after the lead."""

    source: Literal["events"] = Field("events", alias="from")
    lead_days: Annotated[int, Field(ge=0)] = 0
    horizon_days: Annotated[int, Field(ge=1)] = 90


def in_days(window: str) -> int:
    """`90d` as 90, `lifetime` as LIFETIME."""
    return LIFETIME if window == "lifetime" else int(re.sub("d$", "", window))
