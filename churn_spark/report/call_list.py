"""The call list for people: a page to work from and to print, and a workbook."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from churn_spark.report.render import render_html

Row = Mapping[str, Any]


class Customer(NamedTuple):
    """One row of the page; `shown` holds the names and values of the contract's columns."""

    id: str
    probability: str
    band: str
    expected_value: float
    reasons: list[str]
    summary: str | None
    shown: list[tuple[str, str]]


def call_list_page(rows: Sequence[Row], *, date: dt.date, labels: Mapping[str, str]) -> str:
    """The call list as one HTML file, without script and network; everything that came from data is escaped.

    `rows` are of `churn_scores`, best first; `labels` names the further columns to show, in people's words.
    """
    return render_html(
        "call_list.html",
        date=f"{date.day} {date:%B %Y}",
        customers=[_customer(row, labels) for row in rows],
        total=sum(row["expected_value"] for row in rows),
        money=_money,
    )


def _customer(row: Row, labels: Mapping[str, str]) -> Customer:
    reasons = [row[f"reason_{n}_text"] for n in (1, 2, 3)]
    return Customer(
        id=row["customer_id"],
        probability=f"{row['churn_probability']:.0%}".replace("%", " %"),
        band=row["risk_band"],
        expected_value=row["expected_value"],
        reasons=[r for r in reasons if r],
        summary=row["ticket_summary"],
        shown=[(label, _plain(row[name])) for name, label in labels.items() if row.get(name) is not None],
    )


def _money(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.2f}"


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
