"""The table contract: what a raw customer table must look like, column by column.

One declaration serves three readers: `validation` turns it into Spark expressions, `check_record` applies
it to one Python record, and the schemas of the tables are derived from it.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

SPLITS = ("train", "validation", "calibration", "test")
FOLDS = 5  # parts of the learning customers, by hash
Role = Literal["id", "snapshot", "label", "numeric", "categorical", "text", "passthrough", "ignore"]
Type = Literal["string", "double", "bigint", "boolean", "date"]

DEFAULT_TYPES: dict[str, Type] = {
    "id": "string", "snapshot": "date", "label": "boolean", "numeric": "double", "categorical": "string",
    "text": "string", "passthrough": "string", "ignore": "string",
}  # fmt: skip

# What counts as a value, shared with the Spark expressions. Both regex dialects read these the same way, and
# white space is spelt out, since Python's strip() and Spark's trim() each have their own idea of it.
SPACE = (
    " \t\n\r\x0b\x0c\x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u200b\u2028\u2029\u202f\u205f\u3000\ufeff"
)
MISSING = ("", "na", "n/a", "null", "none", "nan")
EMPTY_NOTES = (*MISSING, "-", "--", ".")
NUMBER = r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?$"
WHOLE = r"^[+-]?[0-9]{1,15}(\.0*)?$"  # 15 digits: exact in a double as well
DATE = r"^(?!0000)[0-9]{4}-[0-9]{2}-[0-9]{2}$"
TRUE = ("1", "1.0", "true", "yes", "y", "t")
FALSE = ("0", "0.0", "false", "no", "n", "f")

RESERVED = ("_errors", "_warnings", "_corrupt_record", "_row_error", "score_date")
INNER = ("split", "_fold", "_unseen", "margin", "features", "is_validation")  # names of the jobs' own columns


class Column(BaseModel):
    """One declared column: its role, where it comes from and the rules its values keep."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    role: Role = Field(description="what the column is for")
    name: str = Field("", description="set from the key it is declared under", exclude=True)
    source: str | None = Field(None, alias="from", description="its name in the raw table, if another")
    type: Type | None = Field(None, description="its type; each role has a default")
    min: float | None = Field(None, description="smallest value accepted")
    max: float | None = Field(None, description="largest value accepted")
    allowed: tuple[str, ...] | None = Field(None, description="the only values accepted")
    required: bool = Field(False, description="a missing value rejects the row")
    pattern: str | None = Field(None, description="regular expression the whole value must match")
    description: str | None = Field(None, description="comment on the column in every table")

    @field_validator("allowed", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        return tuple(str(v) for v in value) if isinstance(value, list | tuple) else value

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                re.compile(value)
            except re.error as problem:
                raise ValueError(f"is not a regular expression: {problem}") from None
            if re.search(r"\(\?(P|\()", value):
                raise ValueError("named groups and conditions are not read alike by Python and Spark")
        return value

    @model_validator(mode="after")
    def _rules_fit(self) -> Column:
        if self.role == "numeric" and self.type not in (None, "double", "bigint"):
            raise ValueError(f"type {self.type} does not fit role numeric (double or bigint)")
        if self.role in ("id", "categorical", "text") and self.type not in (None, "string"):
            raise ValueError(f"role {self.role} is always a string")
        if self.role == "label" and self.type not in (None, "boolean"):
            raise ValueError("role label is always boolean (0/1, true/false, yes/no)")
        if (self.min is not None or self.max is not None) and self.kind not in ("double", "bigint"):
            raise ValueError("min and max need a numeric type")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}")
        if self.allowed and None in self.allowed_values:
            raise ValueError(f"allowed: a value that no {self.kind} can have")
        return self

    @property
    def kind(self) -> Type:
        """The column's type, declared or by role."""
        return self.type or DEFAULT_TYPES[self.role]

    @property
    def raw_name(self) -> str:
        """The column's name in the raw table."""
        return self.source or self.name

    @property
    def allowed_values(self) -> tuple[Any, ...]:
        """The allowed values in the column's type."""
        return tuple(_PARSERS[self.kind](text)[0] for text in self.allowed or ())


@dataclass(frozen=True)
class Contract:
    """The declared columns, in order, and the few questions everybody asks of them."""

    columns: tuple[Column, ...]

    def role(self, *roles: Role) -> tuple[Column, ...]:
        """The columns with one of these roles, in declared order."""
        return tuple(c for c in self.columns if c.role in roles)

    @property
    def used(self) -> tuple[Column, ...]:
        """Every column that is read, i.e. all but those with role `ignore`."""
        return tuple(c for c in self.columns if c.role != "ignore")

    @property
    def id(self) -> Column:
        return self.role("id")[0]

    @property
    def label(self) -> Column | None:
        return next(iter(self.role("label")), None)

    @property
    def snapshot(self) -> Column | None:
        return next(iter(self.role("snapshot")), None)

    @property
    def texts(self) -> tuple[Column, ...]:
        return self.role("text")

    @property
    def key(self) -> tuple[str, ...]:
        """The columns that identify a row: the id, and the snapshot date where there is one."""
        return (self.id.name, self.snapshot.name) if self.snapshot else (self.id.name,)

    @property
    def label_basis(self) -> str:
        """panel where labels were observed after a snapshot, else cross_section."""
        return "panel" if self.snapshot else "cross_section"

    @property
    def shown(self) -> tuple[Column, ...]:
        """The columns copied to `churn_scores` for slicing: all but keys, label and free text."""
        return self.role("numeric", "categorical", "passthrough")


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
        "label_missing": "the label is missing",
        "label_invalid": "the label is not one of 0/1, true/false, yes/no",
        "not_a_number": "not a finite number",
        "not_whole": "not a whole number of at most 15 digits",
        "not_a_date": "not a date YYYY-MM-DD",
        "not_boolean": "not one of 0/1, true/false, yes/no",
        "below_min": f"below the minimum {column.min}",
        "above_max": f"above the maximum {column.max}",
        "not_allowed": "not one of the allowed values",
        "pattern_mismatch": "does not match the declared pattern",
        "required_missing": "required, but missing",
        "bad_encoding": "bytes that are not UTF-8",
    }[name]
    return f"{column.name}: {rule}"


def check_value(column: Column, raw: Any, *, max_id_chars: int = 256) -> tuple[Any, str | None]:
    """Parse one raw value by its column's type and rules.

    Returns (value, None) when it is good, where a missing value is None, and (None, error name) when not.
    Ids and text keep their exact characters; numbers, labels and dates come back as float, int, bool, date.
    """
    if _is_missing(raw):
        raw = None
    elif isinstance(raw, str) and not _is_encodable(raw):
        return None, "bad_encoding"
    if column.role == "id":
        return _check_id(raw, max_id_chars)
    value, error = _PARSERS[column.kind](raw) if raw is not None else (None, None)
    if error:
        return None, "label_invalid" if column.role == "label" else error
    if value is None:
        return None, "required_missing" if column.required or column.role == "snapshot" else None
    error = _broken_rule(column, value, _text(raw))
    return (None, error) if error else (value, None)


def check_record(
    record: Mapping[str, Any], columns: Iterable[Column], *, max_id_chars: int = 256
) -> tuple[dict[str, Any], list[Problem]]:
    """Check one record against the contract, as `validation.with_errors` does for a row.

    Keys are the declared names (or the raw names they come from); absent keys are missing values, others
    are ignored. Returns the typed values, None where missing or bad, and the list of problems.
    """
    values: dict[str, Any] = {}
    problems: list[Problem] = []
    for column in columns:
        raw = record.get(column.name, record.get(column.raw_name))
        values[column.name], error = check_value(column, raw, max_id_chars=max_id_chars)
        if error:
            problems.append(Problem(error, problem_message(error, column), (column.name,)))
    return values, problems


def _check_id(raw: Any, max_chars: int) -> tuple[str | None, str | None]:
    text = "" if raw is None else _text(raw)
    if not text.strip(SPACE):
        return None, "id_missing"
    return (None, "id_too_long") if len(text) > max_chars else (text, None)


def _is_missing(raw: Any) -> bool:
    return raw is None or (not isinstance(raw, str) and str(raw) in ("nan", "NaT", "<NA>"))


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _text(raw: Any) -> str:
    """The value as text, as `sources` writes a typed column's values: 30.0 is `30`, True is `true`."""
    if isinstance(raw, bool):
        return str(raw).lower()
    if isinstance(raw, float) and raw.is_integer() and abs(raw) < 1e15:
        return str(int(raw))
    return str(raw)


def _plain(raw: Any) -> str | None:
    """The text without the white space around it; None where it stands for a missing value."""
    text = _text(raw).strip(SPACE)
    return None if text.lower() in MISSING else text


def _string(raw: Any) -> tuple[str | None, str | None]:
    return (None if _plain(raw) is None else _text(raw)), None


def _number(raw: Any) -> tuple[float | None, str | None]:
    text = _plain(raw)
    if text is None:
        return None, None
    value = float(text) if re.fullmatch(NUMBER, text) else math.inf
    return (value, None) if math.isfinite(value) else (None, "not_a_number")


def _whole(raw: Any) -> tuple[int | None, str | None]:
    value, error = _number(raw)
    if value is None:
        return None, error
    return (int(value), None) if re.fullmatch(WHOLE, _plain(raw) or "") else (None, "not_whole")


def _boolean(raw: Any) -> tuple[bool | None, str | None]:
    text = _plain(raw)
    if text is None:
        return None, None
    return (text.lower() in TRUE, None) if text.lower() in TRUE + FALSE else (None, "not_boolean")


def _date(raw: Any) -> tuple[dt.date | None, str | None]:
    if isinstance(raw, dt.date):
        return (raw.date() if isinstance(raw, dt.datetime) else raw), None
    text = _plain(raw)
    if text is None:
        return None, None
    try:
        return (dt.date.fromisoformat(text), None) if re.fullmatch(DATE, text) else (None, "not_a_date")
    except ValueError:
        return None, "not_a_date"


_PARSERS: dict[Type, Callable[[Any], tuple[Any, str | None]]] = {
    "string": _string, "double": _number, "bigint": _whole, "boolean": _boolean, "date": _date,
}  # fmt: skip


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
