"""How a CSV file is written, told from some of its lines: encoding, separator, lines above the header."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from typing import Any

SEPARATORS = ",;\t|"
MOST_TITLES = 20


def guess_form(first: Sequence[bytes], others: Sequence[bytes] = ()) -> dict[str, Any]:
    """The settings of `input` that differ from the default, from the first lines and lines from anywhere."""
    encoding = "utf-8" if all(map(_is_utf8, (*first, *others))) else "windows-1252"
    lines = [line.decode(encoding, "replace").rstrip("\r") for line in first]
    widths = {separator: [len(_fields(line, separator)) for line in lines] for separator in SEPARATORS}
    separator = max(SEPARATORS, key=lambda s: _regularity(widths[s]))
    width = Counter(n for n, line in zip(widths[separator], lines, strict=True) if line.strip()).most_common(
        1
    )
    header = next((i for i, n in enumerate(widths[separator]) if width and n == width[0][0]), 0)
    is_directive = bool(lines) and lines[0].lower().strip('\ufeff"').startswith("sep=")
    settings = {
        "encoding": encoding if encoding != "utf-8" else None,
        "separator": separator if separator != "," and _regularity(widths[separator])[0] > 0 else None,
        "skip_lines": header if 0 < header <= MOST_TITLES and not is_directive else None,
    }
    return {key: value for key, value in settings.items() if value is not None}


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _fields(line: str, separator: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=separator), [])
    except csv.Error:
        return []


def _regularity(widths: Sequence[int]) -> tuple[float, int]:
    """The share of lines that have the most frequent number of fields, if that is more than one; and that number."""
    counts = Counter(n for n in widths if n > 1)
    width, number = counts.most_common(1)[0] if counts else (0, 0)
    return number / max(1, len(widths)), width
