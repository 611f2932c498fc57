"""One rule for the text of an id, whatever it comes from: a CSV file, a column of floats, a Python record.

An id is its exact text, but for whole numbers that a float or a decimal has written with a fraction: those are
printed whole. A float holds whole numbers exactly below 2^53 only, so an id beyond has lost its last digits.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from decimal import Decimal

WITH_FRACTION = r"^-?(0|[1-9][0-9]*)\.0+$"  # 1000.0
AS_JAVA = r"^-?[0-9]\.[0-9]+E[0-9]{1,3}$"  # 1.23456789012345E15, as Spark writes a double
ROUNDED = r"^-?[0-9]([.,][0-9]+)?[eE]\+[0-9]+$"  # 1.23457E+15, as Excel, pandas and Python write one
EXACT_BELOW = 2**53
PREFIX = "row-"  # of an id made from a row's content


def id_text(text: str) -> tuple[str | None, str | None]:
    """Return (id, None), or (None, error name) where digits are lost or a NUL stands in the text."""
    if "\0" in text:
        return None, "id_has_nul"
    if re.fullmatch(WITH_FRACTION, text):
        return _exact(Decimal(text), text.partition(".")[0])
    if re.fullmatch(AS_JAVA, text):
        number = Decimal(text)
        return _exact(number, f"{number:.0f}") if number == number.to_integral_value() else (None, LOST)
    return (None, LOST) if re.fullmatch(ROUNDED, text) else (text, None)


LOST = "id_through_float"


def _exact(number: Decimal, whole: str) -> tuple[str | None, str | None]:
    return (whole, None) if abs(number) < EXACT_BELOW else (None, LOST)


def row_id(texts: Iterable[str | None]) -> str:
    """An id made from a row's content, for tables where no column identifies a customer; Spark makes the same."""
    content = "\x1f".join("" if text is None else text for text in texts)
    return PREFIX + hashlib.sha256(content.encode("utf-8", "replace")).hexdigest()[:16]
