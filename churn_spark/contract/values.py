"""What counts as a value: the patterns that Spark's expressions share, and the parser of each type.

Both regex dialects read these patterns the same way. White space is spelt out, since Python's strip() and Spark's
trim() each have their own idea of it. A `Notation` says how a column's source writes its values.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal, NamedTuple

Type = Literal["string", "double", "bigint", "boolean", "date"]

SPACE = (
    " \t\n\r\x0b\x0c\x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u200b\u2028\u2029\u202f\u205f\u3000\ufeff"
)
MISSING = ("", "na", "n/a", "null", "none", "nan", "\\n", "#n/a", "(null)", "<null>", "<na>")
EMPTY_NOTES = (*MISSING, "-", "--", ".")
NUMBER = r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?$"
WHOLE = r"^[+-]?[0-9]{1,15}(\.0*)?$"  # 15 digits: exact in a double as well
LARGEST = 3.4028234663852886e38  # of float32, which the model reads
_TIME = r"([T ][0-9]{1,2}:[0-9]{2}(:[0-9]{2}([.,][0-9]*)?)?( ?(Z|UTC|[+-][0-9]{2}:?[0-9]{2}))?)?$"
DATE = r"^(?!0000)[0-9]{4}-[0-9]{2}-[0-9]{2}" + _TIME  # the day is what counts
EXCEL, EXCEL_START = "excel", dt.date(1899, 12, 30)  # days since then, from March 1900 on
EXCEL_DAY, EXCEL_DAYS = r"^[0-9]{2,7}(\.[0-9]*)?$", (61, 2_958_465)
TRUE = ("1", "true", "yes", "y", "t")
FALSE = ("0", "false", "no", "n", "f")
MINUS = r"^\((.+)\)$|^(.+)-$"  # (12) and 12-, as accountants and SAP write -12
LONG_MINUS = "\u2212"
WHOLE_WORD = r"^([+-]?[0-9]+)\.0*$"  # 1.00 is the word 1

GROUPING = {",": ",", ".": ".", " ": " \xa0\u202f", "'": "'\u2019"}  # what may stand between thousands
MONTHS = (
    "jan",
    "feb",
    "m[aäAÄ]r|mrz",
    "apr",
    "ma[yi]",
    "jun",
    "jul",
    "aug",
    "sep",
    "o[ck]t",
    "nov",
    "de[cz]",
)


@dataclass(frozen=True)
class Notation:
    """How a source writes the values of a column, where it does not write them as we do."""

    decimal: str = "."
    thousands: str | None = None
    date_format: str | None = None
    true_values: tuple[str, ...] = TRUE
    false_values: tuple[str, ...] = FALSE
    positive: str | None = None
    missing: tuple[str, ...] = ()
    unit: str | None = None

    @property
    def missing_words(self) -> tuple[str, ...]:
        return (*MISSING, *(word.strip(SPACE).lower() for word in self.missing))

    @property
    def grouped(self) -> str | None:
        """The pattern of a number whose thousands are set apart."""
        if not self.thousands:
            return None
        between, point = re.escape(GROUPING[self.thousands]), re.escape(self.decimal)
        return rf"^[+-]?[0-9]{{1,3}}([{between}][0-9]{{3}})+([{point}][0-9]*)?$"

    @property
    def date(self) -> DateFormat | None:
        """The pattern of a date in the declared format; None for ISO dates and Excel's days."""
        return None if self.date_format in (None, EXCEL) else date_format(self.date_format)


def unit_pattern(unit: str) -> str:
    """A unit before or after a number; what it leaves is group 1."""
    return rf"^([-+(]?){re.escape(unit)}[{SPACE}]*|[{SPACE}]*{re.escape(unit)}(?=\)?$)"


class DateFormat(NamedTuple):
    """A date's pattern, and the text `yyyy-M-d` that its groups make, as Spark's replacements are written."""

    pattern: str
    iso: str
    has_month_names: bool


def date_format(text: str) -> DateFormat:
    """Compile `dd.MM.yyyy`, `M/d/yyyy`, `yyyyMMdd`, `dd-MMM-yy`; a time of day may follow. Raises ValueError."""
    parts = re.findall(r"y+|M+|d+|[A-Za-z]+|[^A-Za-z]+", text)
    digits = {"yyyy": "{4}", "yy": "{2}", "MMM": "{2}", "MM": "{2}", "M": "{1,2}", "dd": "{2}", "d": "{1,2}"}
    fields = [part for part in parts if part in digits]
    if sorted(part[0] for part in fields) != ["M", "d", "y"]:
        raise ValueError(
            "date_format needs a year (yyyy), a month (MM) and a day (dd), each once, or `excel`"
        )
    strange = [part for part in parts if part not in digits and part[0].isalpha()]
    if strange:
        raise ValueError(f"date_format: {strange[0]!r} is not one of yyyy, yy, MMM, MM, M, dd, d")
    pattern = "".join(f"([0-9]{digits[p]})" if p in digits else re.escape(p) for p in parts)
    place = {part[0]: f"${1 + index}" for index, part in enumerate(fields)}
    year = place["y"] if "yyyy" in fields else f"20{place['y']}"
    return DateFormat(f"^{pattern}{_TIME}", f"{year}-{place['M']}-{place['d']}", "MMM" in fields)


PLAIN = Notation()


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
    if isinstance(raw, float):
        return _float_text(raw)
    if isinstance(raw, Decimal) and raw.is_finite():
        return re.sub(r"\.0+$", "", format(raw, "f"))
    return str(raw)


def _float_text(raw: float) -> str:
    """A whole number below 2^53 as such; others as Java writes them, since a table's values come from there."""
    if raw.is_integer() and abs(raw) < 2**53:
        return str(int(raw))
    if not math.isfinite(raw) or 1e-3 <= abs(raw) < 1e7:
        return str(float(raw))
    sign, digits, exponent = Decimal(repr(float(raw))).normalize().as_tuple()
    rest = "".join(map(str, digits[1:])) or "0"
    return f"{'-' * sign}{digits[0]}.{rest}E{int(exponent) + len(digits) - 1}"


def _plain(raw: Any, notation: Notation) -> str | None:
    """The text without the white space around it; None where it stands for a missing value."""
    text = as_text(raw).strip(SPACE)
    return None if text.lower() in notation.missing_words else text


def _string(raw: Any, notation: Notation) -> tuple[str | None, str | None]:
    return (None if _plain(raw, notation) is None else as_text(raw)), None


def _bare(text: str, unit: str | None) -> str:
    """A number's text without its unit, and with the minus in front."""
    if unit:
        text = re.sub(unit_pattern(unit), r"\1", text)
    return re.sub(MINUS, r"-\1\2", text.replace(LONG_MINUS, "-"))


def _point(raw: Any, notation: Notation) -> str | None:
    """A number's text with a decimal point and without marks between thousands."""
    text = _plain(raw, notation)
    if text is None or isinstance(raw, int | float | Decimal):
        return text
    text = _bare(text, notation.unit)
    if notation.grouped and re.fullmatch(notation.grouped, text):
        text = re.sub(f"[{re.escape(GROUPING[notation.thousands or ''])}]", "", text)
    return text.translate(str.maketrans(",.", ".,")) if notation.decimal == "," else text


def _number(raw: Any, notation: Notation) -> tuple[float | None, str | None]:
    text = _point(raw, notation)
    if text is None:
        return None, None
    value = float(text) if re.fullmatch(NUMBER, text) else math.inf
    return (value, None) if abs(value) <= LARGEST else (None, "not_a_number")


def _whole(raw: Any, notation: Notation) -> tuple[int | None, str | None]:
    value, error = _number(raw, notation)
    if value is None:
        return None, error
    return (int(value), None) if re.fullmatch(WHOLE, _point(raw, notation) or "") else (None, "not_whole")


def word(text: str) -> str:
    """A word of a label as it is compared: in lower case, 1.00 as 1."""
    return re.sub(WHOLE_WORD, r"\1", text.strip(SPACE).lower())


def _boolean(raw: Any, notation: Notation) -> tuple[bool | None, str | None]:
    text = _plain(raw, notation)
    if text is None:
        return None, None
    if notation.positive is not None:
        return word(text) == word(notation.positive), None
    if word(text) in map(word, notation.true_values):
        return True, None
    return (False, None) if word(text) in map(word, notation.false_values) else (None, "not_boolean")


def _date(raw: Any, notation: Notation) -> tuple[dt.date | None, str | None]:
    if isinstance(raw, dt.date):
        return (raw.date() if isinstance(raw, dt.datetime) else raw), None
    text = _plain(raw, notation)
    if text is None:
        return None, None
    try:
        return _day(text, notation), None
    except ValueError:
        return None, "not_a_date"


def _day(text: str, notation: Notation) -> dt.date:
    if notation.date_format == EXCEL and re.fullmatch(EXCEL_DAY, text):
        days = int(text.partition(".")[0])
        if not EXCEL_DAYS[0] <= days <= EXCEL_DAYS[1]:
            raise ValueError("not a day of Excel's")
        return EXCEL_START + dt.timedelta(days=days)
    if notation.date is not None:
        text = _month_numbers(text) if notation.date.has_month_names else text
        if match := re.fullmatch(notation.date.pattern, text):
            return dt.date(*map(int, match.expand(notation.date.iso.replace("$", "\\")).split("-")))
    if not re.fullmatch(DATE, text):
        raise ValueError("not an ISO date")
    return dt.date.fromisoformat(text[:10])


def _month_numbers(text: str) -> str:
    for number, names in enumerate(MONTHS, start=1):
        text = re.sub(rf"(?i)({names})[a-zäÄ]*\.?", f"{number:02d}", text)
    return text


Parser = Callable[[Any, Notation], tuple[Any, str | None]]
PARSERS: dict[Type, Parser] = {
    "string": _string, "double": _number, "bigint": _whole, "boolean": _boolean, "date": _date,
}  # fmt: skip
