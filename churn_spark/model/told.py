"""What a reason says of a customer's history: how a column moved, how often something happened and when it last did."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from churn_spark.arrays import Columns, Floats, arrow_array, python_values
from churn_spark.contract.columns import Contract
from churn_spark.contract.history import (
    DAYS_AGO,
    DAYS_SINCE_LAST,
    DAYS_SINCE_SNAPSHOT,
    LAST,
    LIFETIME,
    EventPlan,
    HistoryPlan,
    history_column,
)
from churn_spark.model.reasons import Wording, capital, format_value

Subjects = dict[
    str, list[str | None]
]  # by source, of each row; None where there is nothing of its history to say
LONG_AGO = 330  # days, from which on a month needs its year
EPOCH = dt.date(1970, 1, 1)


def history_in_words(frame: Columns, contract: Contract, *, wording: Mapping[str, Wording]) -> Subjects:
    """The subject of a sentence for each source with a history; `frame` has its columns, and that of the snapshot."""
    plan, snapshot, told = contract.history, contract.snapshot, dict[str, list[str | None]]()
    if plan.numeric and snapshot is not None:
        days = arrow_array(frame[snapshot.name], pa.date32()).cast(pa.int32()).to_numpy(zero_copy_only=False)
        since = [_month(day, ago) for day, ago in zip(days, _floats(frame, DAYS_SINCE_SNAPSHOT), strict=True)]
        told |= {name: _moved(frame, name, since, wording.get(name, Wording())) for name in plan.numeric}
    for date in plan.dates:
        spoken = capital(wording.get(date, Wording()).spoken_of(date))
        ago = _floats(frame, history_column(date, DAYS_AGO))
        told[date] = [f"{spoken} {_days_ago(days)}" if days == days else None for days in ago]
    return told | {event.name: list(_happened(frame, event, wording)) for event in plan.events}


def values_of(plan: HistoryPlan) -> dict[str, str]:
    """The column that holds the value of each date and table of events."""
    dates = {date: history_column(date, DAYS_AGO) for date in plan.dates}
    return dates | {event.name: counted_in(event)[0] for event in plan.events}


def _moved(frame: Columns, name: str, since: list[str | None], wording: Wording) -> list[str | None]:
    """`Orders fell from 3 to 0 since March`; None where nothing moved."""
    spoken = capital(wording.spoken_of(name))
    pairs = zip(_floats(frame, history_column(name, LAST)), _floats(frame, name), since, strict=True)
    return [
        f"{spoken} {'fell' if now < last else 'rose'} from {format_value(last)} to {format_value(now)} since {month}"
        if month and (now < last or now > last)
        else None
        for last, now, month in pairs
    ]


def counted_in(event: EventPlan) -> tuple[str, int]:
    """The column that says how often it happened in the shortest window that ends, and its days; else ever."""
    window = min((w for w in event.windows if w != LIFETIME), default=LIFETIME)
    suffix = f"{window}d" if window else "lifetime"
    return history_column(event.name, f"count_{suffix}"), window


def _happened(frame: Columns, event: EventPlan, wording: Mapping[str, Wording]) -> Iterator[str | None]:
    """`4 tickets in the last 30 days, 0.5 is usual`; `No orders in the last 30 days, the last one 75 days ago`."""
    column, window = counted_in(event)
    what, when = event.name.replace("_", " ").strip(), f" in the last {window} days" if window else " so far"
    usual = wording.get(column, Wording()).typical
    ago = _floats(frame, history_column(event.name, DAYS_SINCE_LAST))
    for count, days in zip(_floats(frame, column), ago, strict=True):
        if count:
            spoken = what.removesuffix("s") if count == 1 else what
            compared = f", {usual:g} is usual" if usual not in (None, count) else ""
            yield f"{format_value(count)} {spoken}{when}{compared}"
        else:
            yield (
                f"No {what}{when}, the last one {_days_ago(days)}" if days == days else f"No {what} so far"
            )


def _days_ago(days: float) -> str:
    return f"{days:.0f} day ago" if days == 1 else f"{days:.0f} days ago"


def _month(day: Any, ago: float) -> str | None:
    """The month in which a day lies back from another one."""
    if ago != ago:
        return None
    date = EPOCH + dt.timedelta(int(day) - int(ago))
    return f"{date:%B %Y}" if ago > LONG_AGO else f"{date:%B}"


def _floats(frame: Columns, name: str) -> Floats:
    return np.array([np.nan if v is None else v for v in python_values(frame[name])], np.float64)
