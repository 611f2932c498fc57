"""Values as offices write them, by the notation that a column declares."""

import datetime as dt
from typing import Any

import pytest
from pydantic import ValidationError

from churn_spark.contract.columns import Column
from churn_spark.contract.rules import check_record, check_value


@pytest.mark.parametrize(
    ("notation", "raw", "value"),
    [
        ({"decimal": ","}, "10,5", 10.5), ({"decimal": ","}, 10.5, 10.5), ({"decimal": ","}, "1.500", None),
        ({"decimal": ",", "thousands": "."}, "1.234.567,5", 1234567.5), ({"thousands": ","}, "1,234.5", 1234.5),
        ({"thousands": ","}, "12,34", None), ({"thousands": " "}, "1\u202f234", 1234.0),
        ({}, "(12)", -12.0), ({}, "12-", -12.0), ({}, "\u22125", -5.0), ({}, "-5-", None), ({}, "12 %", None),
        ({"unit": "%"}, "12 %", 12.0), ({"unit": "$"}, "-$12", -12.0), ({"unit": "$"}, "($12)", -12.0),
        ({"unit": "€", "decimal": ",", "thousands": "."}, "1.234,50 €", 1234.5), ({"unit": "$"}, "12 €", None),
        ({"thousands": "'"}, "1\u2019234", 1234.0), ({"missing": ["-"]}, " - ", None), ({}, "#N/A", None),
    ],
)  # fmt: skip
def test_numbers_by_notation(notation: dict[str, Any], raw: Any, value: float | None) -> None:
    assert check_value(Column(role="numeric", name="x", **notation), raw)[0] == value


@pytest.mark.parametrize(
    ("form", "raw", "day"),
    [
        (None, "2026-01-31 00:00:00", 31), (None, "2026-01-31T10:30:00.5Z", 31), (None, "31.01.2026", None),
        ("dd.MM.yyyy", "31.01.2026", 31), ("dd.MM.yyyy", "31.01.2026 00:00", 31), ("dd.MM.yyyy", "2026-01-31", 31),
        ("M/d/yyyy", "1/5/2026", 5), ("yyyyMMdd", "20260131", 31), ("dd-MMM-yy", "31-JAN-26", 31),
        ("excel", "46053", 31), ("excel", "46053.75", 31), ("excel", "60", None), ("dd.MM.yyyy", "32.01.2026", None),
    ],
)  # fmt: skip
def test_dates_by_format(form: str | None, raw: str, day: int | None) -> None:
    expected = dt.date(2026, 1, day) if day else None
    assert (
        check_value(Column(role="passthrough", type="date", name="x", date_format=form), raw)[0] == expected
    )


@pytest.mark.parametrize(
    ("notation", "raw", "value"),
    [
        ({}, "1.00", True), ({}, "0.00", False), ({}, "ja", None),
        ({"true_values": ["ja"], "false_values": ["nein"]}, "Ja", True),
        ({"true_values": ["ja"], "false_values": ["nein"]}, "nein", False),
        ({"true_values": ["ja"], "false_values": ["nein"]}, "yes", None),
        ({"positive": "Churned"}, "churned", True), ({"positive": "Churned"}, "Stayed", False),
        ({"positive": 2}, "2.0", True), ({"positive": 2}, "1", False), ({"positive": False}, False, True),
    ],
)  # fmt: skip
def test_labels_by_their_words(notation: dict[str, Any], raw: Any, value: bool | None) -> None:
    assert check_value(Column(role="label", name="x", **notation), raw)[0] is value


@pytest.mark.parametrize("form", ["dd.MM", "dd.MM.yyyy EEE", "yyyy-yyyy-dd"])
def test_a_date_format_is_checked_when_it_is_declared(form: str) -> None:
    with pytest.raises(ValidationError, match="date_format"):
        Column(role="snapshot", name="x", date_format=form)


def test_a_dotted_source_is_found_inside_a_record() -> None:
    column = Column(role="numeric", name="cost", source="plan.charges.monthly")
    assert check_record({"plan": {"charges": {"monthly": 12}}}, [column])[0] == {"cost": 12.0}
    assert check_record({"plan.charges.monthly": 13}, [column])[0] == {"cost": 13.0}
    assert check_record({"plan": None}, [column])[0] == {"cost": None}
