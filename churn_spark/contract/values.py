"""What counts as a value: the patterns that Spark's expressions share, and the parser of each type.

Both regex dialects read these patterns the same way. White space is spelt out, since Python's strip() and Spark's
trim() each have their own idea of it.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Callable
from typing import Any, Literal

Type = Literal["string", "double", "bigint", "boolean", "date"]

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


def is_missing(raw: Any) -> bool:
    return raw is None or (not isinstance(raw, str) and str(raw) in ("nan", "NaT", "<NA>"))


def is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def as_text(raw: Any) -> str:
    """The value as text, as `sources` writes a typed column's values: 30.0 is `30`, True is `true`."""
    if isinstance(raw, bool):
        return str(raw).lower()
    if isinstance(raw, float) and raw.is_integer() and abs(raw) < 1e15:
        return str(int(raw))
    return str(raw)


def _plain(raw: Any) -> str | None:
    """The text without the white space around it; None where it stands for a missing value."""
    text = as_text(raw).strip(SPACE)
    return None if text.lower() in MISSING else text


def _string(raw: Any) -> tuple[str | None, str | None]:
    return (None if _plain(raw) is None else as_text(raw)), None


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


PARSERS: dict[Type, Callable[[Any], tuple[Any, str | None]]] = {
    "string": _string, "double": _number, "bigint": _whole, "boolean": _boolean, "date": _date,
}  # fmt: skip
