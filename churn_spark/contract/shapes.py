"""The shapes of values as offices and databases write them, and the setting that reads each."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from churn_spark.contract.columns import Column
from churn_spark.contract.values import SPACE


class Shape(NamedTuple):
    """Values of one shape, the rules they break, and what to set (a column's settings as YAML)."""

    name: str
    pattern: str
    rules: tuple[str, ...]
    settings: Mapping[str, str]


NUMBERS, DATES = ("not_a_number", "not_whole"), ("not_a_date",)
WORDS = ("label_invalid", "not_boolean")
SHAPES = (
    Shape("thousands in points, decimal comma", r"^[+-]?[0-9]{1,3}(\.[0-9]{3})+,[0-9]+$", NUMBERS,
          {"decimal": "','", "thousands": "'.'"}),
    Shape("thousands in spaces, decimal comma", r"^[+-]?[0-9]{1,3}([ \u00a0\u202f][0-9]{3})+,[0-9]+$", NUMBERS,
          {"decimal": "','", "thousands": "' '"}),
    Shape("thousands in commas", r"^[+-]?[0-9]{1,3}(,[0-9]{3})+(\.[0-9]*)?$", NUMBERS, {"thousands": "','"}),
    Shape("thousands in apostrophes", r"^[+-]?[0-9]{1,3}(['\u2019][0-9]{3})+(\.[0-9]*)?$", NUMBERS,
          {"thousands": '"\'"'}),
    Shape("thousands in spaces", r"^[+-]?[0-9]{1,3}([ \u00a0\u202f][0-9]{3})+(\.[0-9]*)?$", NUMBERS,
          {"thousands": "' '"}),
    Shape("decimal comma", r"^[+-]?[0-9]*,[0-9]+$", NUMBERS, {"decimal": "','"}),
    Shape("day.month.year", r"^([0-2]?[0-9]|3[01])\.(0?[1-9]|1[0-2])\.[0-9]{4}( .*)?$", DATES,
          {"date_format": "d.M.yyyy"}),
    Shape("month/day/year", r"^(0?[1-9]|1[0-2])/(1[3-9]|2[0-9]|3[01])/[0-9]{4}( .*)?$", DATES,
          {"date_format": "M/d/yyyy"}),
    Shape("day/month/year", r"^(1[3-9]|2[0-9]|3[01])/(0?[1-9]|1[0-2])/[0-9]{4}( .*)?$", DATES,
          {"date_format": "d/M/yyyy"}),
    Shape("year/month/day", r"^[0-9]{4}/[0-9]{1,2}/[0-9]{1,2}( .*)?$", DATES, {"date_format": "yyyy/M/d"}),
    Shape("year, month, day without marks", r"^(19|20)[0-9]{2}(0[1-9]|1[0-2])[0-3][0-9]$", DATES,
          {"date_format": "yyyyMMdd"}),
    Shape("day-Mon-year", r"^[0-9]{1,2}-\p{L}{3}-[0-9]{4}$".replace(r"\p{L}", "[A-Za-zäÄ]"), DATES,
          {"date_format": "d-MMM-yyyy"}),
    Shape("day-Mon-yy", r"^[0-9]{1,2}-[A-Za-zäÄ]{3}-[0-9]{2}$", DATES, {"date_format": "d-MMM-yy"}),
    Shape("Excel's days", r"^[2-9][0-9]{4}(\.[0-9]*)?$", DATES, {"date_format": "excel"}),
    Shape("a mark for missing", r"^([?.\-–—]+|(?i:unknown|missing|nil|empty|k\.?a\.?|n\.?v\.?|#nv|s/o))$",
          (*NUMBERS, *DATES), {"missing": "[...]"}),
    Shape("words", r"^[^0-9]+$", WORDS, {"positive": "THE WORD FOR YES"}),
    Shape("other figures", r"^[0-9]+(\.0*)?$", WORDS, {"positive": "THE FIGURE FOR YES"}),
)  # fmt: skip
MOST = 0.5  # a share of the values that break a rule, from which on their shape explains it


def advice(column: Column, rule: str, shares: Mapping[str, float]) -> str | None:
    """Say what to set for a column whose values break a rule, from the share of them that has each shape."""
    if rule == "bad_encoding":
        return "name the encoding, e.g. --set input.encoding=windows-1252, or save the file as UTF-8"
    fitting = [s for s in SHAPES if rule in s.rules and shares.get(s.name, 0) >= MOST]
    if not fitting:
        return None
    shape = max(fitting, key=lambda s: shares[s.name])
    spec = ", ".join(f"{key}: {value}" for key, value in shape.settings.items())
    return f"the values look like {shape.name}; under `columns`, add to {column.name}: {{{spec}}}"


def notation_of(
    values: Iterable[str], fits: Callable[[Mapping[str, str]], bool], rules: Iterable[str]
) -> Shape | None:
    """The shape whose settings make the values readable; `values` are distinct, without missing ones."""
    texts = [value.strip(SPACE) for value in values]
    broken = set(rules)
    shapes = [s for s in SHAPES if broken & set(s.rules) and any(re.search(s.pattern, t) for t in texts)]
    return next((shape for shape in shapes if fits(shape.settings)), None)
