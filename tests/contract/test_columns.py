"""The rules of a value, by hand: what is accepted as what, and what is refused under which name."""

from __future__ import annotations

import datetime as dt
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from churn_spark.contract.columns import Column, Contract
from churn_spark.contract.rules import check_record, check_value

ID = Column(role="id", name="id")
NUMBER = Column(role="numeric", name="spend")
WHOLE = Column(role="numeric", name="age", type="bigint", min=0, max=130)
LABEL = Column(role="label", name="churn")
PLAN = Column(role="categorical", name="plan")
DAY = Column(role="snapshot", name="day")
ALL = (ID, NUMBER, WHOLE, LABEL, PLAN, DAY, Column(role="text", name="note"))


@pytest.mark.parametrize(
    ("column", "raw", "value"),
    [
        (WHOLE, " 30 ", 30),
        (WHOLE, "+30", 30),
        (WHOLE, "30.0", 30),
        (WHOLE, 30.0, 30),
        (WHOLE, "\u00a030\t", 30),
        (NUMBER, "1e3", 1000.0),
        (NUMBER, ".5", 0.5),
        (NUMBER, 7, 7.0),
        (NUMBER, "NaN", None),
        (NUMBER, math.nan, None),
        (NUMBER, "n/a", None),
        (NUMBER, "", None),
        (LABEL, "Yes", True),
        (LABEL, "0.0", False),
        (LABEL, 1.0, True),
        (LABEL, True, True),
        (LABEL, None, None),
        (PLAN, "basic", "basic"),
        (PLAN, " NULL ", None),
        (ID, "00123", "00123"),
        (ID, 9007199254740993, "9007199254740993"),
        (ID, 12.0, "12"),
        (ID, "NULL", "NULL"),
        (DAY, "2024-02-29", dt.date(2024, 2, 29)),
        (DAY, dt.datetime(2024, 1, 2, 3), dt.date(2024, 1, 2)),
    ],
)
def test_check_value_accepts(column: Column, raw: Any, value: Any) -> None:
    found, error = check_value(column, raw)
    assert error is None
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("column", "raw", "error"),
    [
        (WHOLE, "thirty", "not_a_number"),
        (WHOLE, "0x1F", "not_a_number"),
        (WHOLE, "30L", "not_a_number"),
        (WHOLE, "1e3", "not_whole"),
        (WHOLE, "30.5", "not_whole"),
        (WHOLE, 30.5, "not_whole"),
        (WHOLE, "1" * 20, "not_whole"),
        (WHOLE, "-5", "below_min"),
        (WHOLE, "999", "above_max"),
        (NUMBER, "7d", "not_a_number"),
        (NUMBER, "$12", "not_a_number"),
        (NUMBER, "Infinity", "not_a_number"),
        (NUMBER, "1e400", "not_a_number"),
        (NUMBER, math.inf, "not_a_number"),
        (NUMBER, True, "not_a_number"),
        (NUMBER, "\u0663\u0660", "not_a_number"),  # Arabic digits
        (LABEL, "2", "label_invalid"),
        (LABEL, "0.7", "label_invalid"),
        (LABEL, "maybe", "label_invalid"),
        (ID, None, "id_missing"),
        (ID, " \u3000", "id_missing"),
        (ID, "x" * 257, "id_too_long"),
        (DAY, "2023-02-29", "not_a_date"),
        (DAY, "0000-01-01", "not_a_date"),
        (DAY, "01.02.2024", "not_a_date"),
        (DAY, None, "required_missing"),
        (PLAN, "\ud800", "bad_encoding"),
    ],
)
def test_check_value_refuses(column: Column, raw: Any, error: str) -> None:
    assert check_value(column, raw) == (None, error)


def test_check_value_applies_rules_in_the_columns_type() -> None:
    some = Column(role="numeric", name="n", allowed=("1", "2.50"))
    assert check_value(some, "2.5") == (2.5, None)
    assert check_value(some, "3") == (None, "not_allowed")
    code = Column(role="passthrough", name="c", pattern=r"[A-Z]\d+", required=True)
    assert check_value(code, "A12") == ("A12", None)
    assert check_value(code, "A12\n") == (None, "pattern_mismatch")
    assert check_value(code, "N/A") == (None, "required_missing")


def test_check_record_reports_every_bad_column_without_its_value() -> None:
    record = {"id": "C1", "age": "-5", "spend": "secret", "churn": "no", "day": "2024-01-01", "other": 1}
    values, problems = check_record(record, ALL)
    assert values["churn"] is False
    assert values["age"] is None
    assert {(p.name, p.columns) for p in problems} == {
        ("not_a_number", ("spend",)),
        ("below_min", ("age",)),
    }
    assert "secret" not in " ".join(p.message for p in problems)


def test_check_record_reads_a_column_by_either_name() -> None:
    column = Column(role="numeric", name="age", **{"from": "years"})
    assert check_record({"years": 5}, (column,))[0] == {"age": 5.0}
    assert check_record({"age": 6}, (column,))[0] == {"age": 6.0}
    assert check_record({}, (column,)) == ({"age": None}, [])


@settings(max_examples=50, deadline=None)
@given(st.one_of(st.text(), st.integers(), st.floats(), st.booleans(), st.none(), st.dates(), st.binary()))
def test_check_value_gives_a_value_or_an_error_never_an_exception(raw: Any) -> None:
    for column in ALL:
        value, error = check_value(column, raw)
        assert value is None or error is None


@settings(max_examples=50, deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False, width=32))
def test_check_value_reads_back_every_number_the_model_can_hold(number: float) -> None:
    assert check_value(NUMBER, repr(number)) == (number, None)


@pytest.mark.parametrize("text", ["1e39", "-1e39", "3.5e38"])
def test_check_value_takes_no_number_beyond_float32(text: str) -> None:
    assert check_value(NUMBER, text) == (None, "not_a_number")
    assert check_value(NUMBER, float(text)) == (None, "not_a_number")


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"role": "numeric", "min": 2, "max": 1}, "above max"),
        ({"role": "text", "min": 1}, "numeric type"),
        ({"role": "numeric", "allowed": ["many"]}, "allowed"),
        ({"role": "categorical", "pattern": "("}, "regular expression"),
        ({"role": "categorical", "pattern": "(?P<a>x)"}, "named groups"),
        ({"role": "label", "type": "double"}, "boolean"),
    ],
)
def test_column_refuses_rules_that_do_not_fit(spec: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Column(name="x", **spec)


def test_contract_answers_by_role() -> None:
    contract = Contract((*ALL, Column(role="ignore", name="junk")))
    assert contract.key == ("id", "day")
    assert contract.label == LABEL
    assert [c.name for c in contract.used] == [c.name for c in ALL]
    assert [c.name for c in contract.shown] == ["spend", "age", "plan"]
