"""What a table that nobody has described tells of time: a panel of snapshots, a log of events, or tickets."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from churn_spark.contract.history import DATE
from churn_spark.evaluation.audit import sounds_after_the_event
from churn_spark.guessing.content import Content
from churn_spark.guessing.words import CODE, CUSTOMER, ID, SNAPSHOT

MOST_SNAPSHOTS = 120  # distinct dates of a panel: ten years of months
HORIZON_DAYS = 90
OPENED = re.compile(r"open|creat|report|submit|received|date|_at$|_on$|datum", re.I)
TOLD = {  # what became of a ticket
    "resolved": re.compile(r"resol|clos|solved|complet|erledigt", re.I),
    "first_response": re.compile(r"respon|answer|replied|reply", re.I),
    "reopened": re.compile(r"re_?open", re.I),
}
SATISFACTION = re.compile(r"satisf|csat|rating|stars|nps", re.I)


class Log(NamedTuple):
    """A log of events: whose, when, and the numbers to add up."""

    customer: Content
    date: Content
    values: tuple[Content, ...]


def panel_date(contents: Sequence[Content], frame: pd.DataFrame) -> Content | None:
    """The column with the days of a panel's snapshots: called so, or few days with many customers once each."""
    dates = [c for c in contents if c.distinct > 1 and c.date() is not None]
    named = next((c for c in dates if SNAPSHOT.search(c.name)), None)
    if named is not None:
        return named
    several = [c for c in contents if ID.search(c.name) and not c.identifies and c.distinct > MOST_SNAPSHOTS]
    for date in (c for c in dates if c.distinct <= min(MOST_SNAPSHOTS, c.rows // 10)):
        for customer in several:
            pairs = frame[[customer.source, date.source]].dropna().drop_duplicates()
            if len(pairs) >= 0.99 * date.rows and not sounds_after_the_event(date.name):
                return date
    return None


def leaving_date(contents: Sequence[Content]) -> Content | None:
    """The column with the day on which customers left, which not all have."""
    return next(
        (
            c
            for c in contents
            if sounds_after_the_event(c.name) and 0 < len(c.values) < c.rows and c.date() is not None
        ),
        None,
    )


def event_log(contents: Sequence[Content], numbers: Mapping[str, Any]) -> Log | None:
    """Whether a table is a log: customers who come again, days, and nothing that says who left."""
    has_key = any(ID.search(c.name) and c.identifies for c in contents)
    again = [
        c for c in contents
        if ID.search(c.name) and c.distinct > 1 and not c.identifies and not CODE.search(c.name)
        and (CUSTOMER.search(c.name) or not has_key)
    ]  # fmt: skip
    customer = max(again, key=lambda c: bool(CUSTOMER.search(c.name)), default=None)
    date = next((c for c in contents if c.distinct > 1 and c.date() is not None), None)
    if customer is None or date is None or customer is date:
        return None
    values = [c for c in contents if c not in (customer, date) and not ID.search(c.name) and c.distinct > 1]
    return Log(customer, date, tuple(v for v in values if v.number(numbers) is not None))


def log_layer(log: Log) -> dict[str, Any]:
    """The sections of a layer that makes a panel, its history and its label from a log."""
    events = {
        "customer": log.customer.source,
        "date": log.date.source,
        "value": [v.source for v in log.values],
    }
    return {
        "events": {log_name(log): events},
        "snapshots": "monthly",
        "label": {"horizon_days": HORIZON_DAYS},
    }


def log_name(log: Log) -> str:
    return "events" if any(v.name == "orders" for v in log.values) else "orders"


def ticket_layer(frame: pd.DataFrame, names: Sequence[str], *, ids: pd.Series, raw: str) -> dict[str, Any]:
    """The section `tickets` for a table of strings, whose customers are among `ids`; only what was found in it."""
    contents = [Content.of(str(s), n, frame[s]) for s, n in zip(frame, names, strict=True)]
    known = set(ids.dropna().astype(str).str.strip())
    customer = max(contents, key=lambda c: c.values.isin(known).mean() if len(c.values) else 0.0)
    dates = [c for c in contents if c.distinct > 1 and c.date() is not None]
    told = {fact: c.source for fact, word in TOLD.items() for c in dates if word.search(c.name)}
    opened = [c for c in dates if c.source not in told.values()]
    stars = [c for c in contents if SATISFACTION.search(c.name) and c.number({}) is not None]
    if stars and "resolved" in told:
        told["satisfaction"] = stars[0].source
    texts = [c for c in contents if c.is_text]
    section: dict[str, Any] = {"raw": raw, "customer": customer.source}
    if opened:
        section[DATE] = max(opened, key=lambda c: (bool(OPENED.search(c.name)), len(c.values))).source
    if texts:
        section["text"] = max(texts, key=lambda c: c.values.str.len().mean()).source
    return {"tickets": {**section, **({"columns": told} if told else {})}}
