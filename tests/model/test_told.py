"""A customer's history as the subject of a sentence."""

from __future__ import annotations

import datetime as dt

from churn_spark.contract.columns import Column, Contract
from churn_spark.contract.history import EventPlan, HistoryPlan
from churn_spark.model.reasons import Wording
from churn_spark.model.told import Subjects, history_in_words

EVENTS = (EventPlan("tickets", windows=(90, 30, 0)), EventPlan("calls", windows=(0,)))
FRAME = {
    "month": [dt.date(2026, 4, 30)] * 4,
    "days_since_snapshot": [31.0, 31.0, 400.0, None],
    "orders": [0.0, 2.5, 4.0, 1.0],
    "orders__last": [3.0, 2.5, 1.0, None],
    "signed__days_ago": [45.0, None, 1.0, 0.0],
    "tickets__count_30d": [4.0, 1.0, 0.0, 0.0],
    "tickets__days_since_last": [2.0, 3.0, 75.0, None],
    "calls__count_lifetime": [0.0, 1.0, 2.0, 2.0],
    "calls__days_since_last": [None, 1.0, 1.0, 1.0],
}


def told(plan: HistoryPlan, **wording: Wording) -> Subjects:
    columns = (Column(name="id", role="id"), Column(name="month", role="snapshot"))
    return history_in_words(FRAME, Contract(columns, plan), wording=wording)


def test_what_moved_and_since_when_is_said_in_words() -> None:
    assert told(HistoryPlan(numeric=("orders",))) == {
        "orders": [
            "Orders fell from 3 to 0 since March",
            None,
            "Orders rose from 1 to 4 since March 2025",
            None,
        ],
    }


def test_how_often_something_happened_is_said_in_words() -> None:
    usual = {"tickets__count_30d": Wording(typical=0.5), "calls__count_lifetime": Wording(typical=2.0)}
    assert told(HistoryPlan(events=EVENTS), **usual) == {
        "tickets": [
            "4 tickets in the last 30 days, 0.5 is usual",
            "1 ticket in the last 30 days, 0.5 is usual",
            "No tickets in the last 30 days, the last one 75 days ago",
            "No tickets so far",
        ],
        "calls": ["No calls so far", "1 call so far, 2 is usual", "2 calls so far", "2 calls so far"],
    }


def test_a_column_s_description_is_its_name() -> None:
    plan = HistoryPlan(numeric=("orders",), dates=("signed",))
    found = told(plan, orders=Wording(description="orders a month"), signed=Wording(description="contract"))
    assert found["orders"][0] == "Orders a month fell from 3 to 0 since March"
    assert found["signed"] == ["Contract 45 days ago", None, "Contract 1 day ago", "Contract 0 days ago"]
