"""What the audit has to say of windows, dates and second clocks: one case a rule, and its opposite."""

from __future__ import annotations

import pytest

from churn_spark.contract.history import EventPlan, HistoryPlan
from churn_spark.evaluation.past import history_findings

PLAN = HistoryPlan(events=(EventPlan("orders", windows=(30, 90), delay=2), EventPlan("calls", windows=(60,))))
COUNTS = {"orders": {"rows": 200, "known_late": 30}, "calls": {"rows": 10, "known_late": 0}}


@pytest.mark.parametrize(("horizon", "asks"), [(90, True), (60, False), (None, False)])
def test_a_window_as_long_as_the_horizon_on_the_label_s_own_events_is_asked_about(
    horizon: int | None, asks: bool
) -> None:
    found = history_findings(PLAN, {"events": {}, "one_day": []}, horizon=horizon)
    assert [(f.severity, f.name, f.column) for f in found] == [
        ("ask", "window_is_the_horizon", "orders")
    ] * asks


def test_dates_that_are_one_day_are_asked_about() -> None:
    (found,) = history_findings(PLAN, {"events": {}, "one_day": ["orders.date"]}, horizon=None)
    assert found.message == "all dates of orders.date are one day: is it the day of an export?"


def test_what_was_known_late_is_said() -> None:
    (found,) = history_findings(PLAN, {"events": COUNTS, "one_day": []}, horizon=None)
    assert found.message.startswith("15% of the rows of orders were known more than 2 days after their day")
