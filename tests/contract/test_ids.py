"""Ids keep their exact text, but for what a float or decimal did to whole numbers."""

from decimal import Decimal
from typing import Any

import pytest

from churn_spark.contract.columns import Column
from churn_spark.contract.ids import row_id
from churn_spark.contract.rules import check_record, check_value

ID = Column(role="id", name="id")


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("1000.0", "1000"), (1000.0, "1000"), (1000, "1000"), ("1.23456789012345E15", "1234567890123450"),
        (1.23456789012345e15, "1234567890123450"), (Decimal("1.0000000000"), "1"), ("1.0000000000", "1"),
        (9007199254740993, "9007199254740993"), (Decimal("9007199254740993.00"), "9007199254740993"),
        ("00123", "00123"), ("00123.0", "00123.0"), ("1e5", "1e5"), ("12E5", "12E5"), (" a ", " a "), ("1.5", "1.5"),
    ],
)  # fmt: skip
def test_an_id_is_its_text_and_whole_numbers_are_whole(raw: Any, text: str) -> None:
    assert check_value(ID, raw) == (text, None)


@pytest.mark.parametrize(
    "raw",
    [
        1.2345678901234567e17,
        "1.2345678901234567E17",
        "1.23457E+15",
        "1,23457E+15",
        "9007199254740994.0",
        12345678.5,
    ],
)
def test_an_id_that_a_float_cannot_hold_is_an_error(raw: Any) -> None:
    assert check_value(ID, raw) == (None, "id_through_float")


def test_an_id_with_a_nul_is_an_error() -> None:
    assert check_value(ID, "a\0b") == (None, "id_has_nul")


def test_a_generated_id_depends_on_the_content_alone() -> None:
    columns = (Column(role="id", name="row", generated=True), Column(role="numeric", name="age"))
    made = check_record({"age": 30.0, "other": 1}, columns)[0]["row"]
    assert made == check_record({"age": "30"}, columns)[0]["row"] == row_id(["30"])
    assert made != check_record({"age": 31}, columns)[0]["row"]
