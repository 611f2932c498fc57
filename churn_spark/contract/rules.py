"""A value or a record against the contract: what it is typed, or which rule it breaks, in one wording.

`spark.input.validation` applies the same rules to a table; a test holds the two together.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from churn_spark.contract.columns import Column, Role
from churn_spark.contract.ids import id_text, row_id
from churn_spark.contract.values import PARSERS, SPACE, as_text, is_encodable, is_missing


@dataclass(frozen=True)
class Problem:
    """One broken rule: its name, a message without any value, and the columns concerned."""

    name: str
    message: str
    columns: tuple[str, ...]


def problem_message(name: str, column: Column) -> str:
    """The one wording of a broken rule, for Spark rows and Python records alike."""
    rule = {
        "id_missing": "the id is null or blank",
        "id_too_long": "the id is longer than the limit",
        "id_through_float": "the id went through a float and has lost digits",
        "id_has_nul": "the id holds a NUL character",
        "label_missing": "the label is missing",
        "label_invalid": f"the label is not one of {_words(column)}",
        "not_a_number": "not a number, or one beyond float32",
        "not_whole": "not a whole number of at most 15 digits",
        "not_a_date": f"not a date {column.date_format or 'YYYY-MM-DD'}",
        "not_boolean": f"not one of {_words(column)}",
        "below_min": f"below the minimum {column.min}",
        "above_max": f"above the maximum {column.max}",
        "not_allowed": "not one of the allowed values",
        "pattern_mismatch": "does not match the declared pattern",
        "required_missing": "required, but missing",
        "bad_encoding": "bytes that are not UTF-8",
    }[name]
    return f"{column.name}: {rule}"


def _words(column: Column) -> str:
    is_declared = column.true_values is not None or column.false_values is not None
    return "true_values and false_values" if is_declared else "0/1, true/false, yes/no"


def check_value(column: Column, raw: Any, *, max_id_chars: int = 256) -> tuple[Any, str | None]:
    """Parse one raw value by its column's type and rules.

    Returns (value, None) when it is good, where a missing value is None, and (None, error name) when not.
    Ids and text keep their exact characters; numbers, labels and dates come back as float, int, bool, date.
    """
    if is_missing(raw):
        raw = None
    elif isinstance(raw, str) and not is_encodable(raw):
        return None, "bad_encoding"
    if column.role == "id":
        return _check_id(raw, max_id_chars)
    value, error = PARSERS[column.kind](raw, column.notation) if raw is not None else (None, None)
    if error:
        return None, "label_invalid" if column.role == "label" else error
    if value is None:
        return None, "required_missing" if column.required or column.role == "snapshot" else None
    error = _broken_rule(column, value, as_text(raw))
    return (None, error) if error else (value, None)


def check_record(
    record: Mapping[str, Any], columns: Iterable[Column], *, max_id_chars: int = 256
) -> tuple[dict[str, Any], list[Problem]]:
    """Check one record against the contract, as `validation.with_errors` does for a row.

    Keys are the declared names (or the raw names they come from, where `a.b` may be `b` inside `a`); absent keys
    are missing values, others are ignored. Returns the typed values, None where missing or bad, and the list of
    problems.
    """
    values: dict[str, Any] = {}
    problems: list[Problem] = []
    columns = tuple(columns)
    for column in columns:
        raw = _row_id(record, columns) if column.generated else _raw(record, column)
        values[column.name], error = check_value(column, raw, max_id_chars=max_id_chars)
        if error:
            problems.append(Problem(error, problem_message(error, column), (column.name,)))
    return values, problems


def _raw(record: Mapping[str, Any], column: Column) -> Any:
    for name in (column.name, column.raw_name):
        if name in record:
            return record[name]
    value: Any = record
    for part in column.raw_name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _row_id(record: Mapping[str, Any], columns: Iterable[Column]) -> str:
    raw = [_raw(record, c) for c in columns if c.role in CONTENT]
    return row_id(None if is_missing(value) else as_text(value) for value in raw)


CONTENT: tuple[Role, ...] = (
    "numeric",
    "categorical",
    "text",
    "passthrough",
)  # what a generated id is made from


def _check_id(raw: Any, max_chars: int) -> tuple[str | None, str | None]:
    text = "" if raw is None else as_text(raw)
    if not text.strip(SPACE):
        return None, "id_missing"
    return (None, "id_too_long") if len(text) > max_chars else id_text(text)


def _broken_rule(column: Column, value: Any, text: str) -> str | None:
    if column.min is not None and value < column.min:
        return "below_min"
    if column.max is not None and value > column.max:
        return "above_max"
    if column.allowed is not None and value not in column.allowed_values:
        return "not_allowed"
    # ASCII classes, as in Spark's regular expressions; numbers and dates match without white space around.
    exact = text if column.kind == "string" else text.strip(SPACE)
    if column.pattern is not None and not re.fullmatch(column.pattern, exact, re.ASCII):
        return "pattern_mismatch"
    return None
