"""Does history give the answer away? Suspicions about windows and dates, as those of `audit`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from churn_spark.contract.history import HistoryPlan
from churn_spark.evaluation.findings import Finding
from churn_spark.evaluation.words import percent


def history_findings(plan: HistoryPlan, counted: Mapping[str, Any], *, horizon: int | None) -> list[Finding]:
    """What history gives reason to ask.

    `counted` is what a run's record has under `past`: `events`, counts of each table's rows, and `one_day`, dates
    that name one day only. `horizon` is that of a label made of the first table of events.
    """
    return [*_windows(plan, horizon), *_dates(counted["one_day"]), *_late(plan, counted["events"])]


def _windows(plan: HistoryPlan, horizon: int | None) -> Iterator[Finding]:
    """A window as long as the horizon, on events whose absence is the label, tells the label of the period before."""
    for event in plan.events[:1]:
        if horizon in event.windows:
            says = (
                f"{event.name} are counted over {horizon} days, the horizon of the label that is made of them: does "
                "the model know more than whether there were any in the period before?"
            )
            yield Finding("ask", "window_is_the_horizon", says, event.name)


def _dates(one_day: Iterable[str]) -> Iterator[Finding]:
    for name in one_day:
        says = f"all dates of {name} are one day: is it the day of an export?"
        yield Finding("ask", "dates_of_one_day", says, name)


def _late(plan: HistoryPlan, events: Mapping[str, Mapping[str, int]]) -> Iterator[Finding]:
    """Events that were known later than the delay allows for: they count from `known_at` on."""
    for event in plan.events:
        counts = events.get(event.name, {})
        if counts.get("known_late"):
            says = (
                f"{percent(counts['known_late'] / counts['rows'])} of the rows of {event.name} were known more than "
                f"{event.delay} days after their day: they count from known_at on"
            )
            yield Finding("ok", "known_late", says, event.name)
