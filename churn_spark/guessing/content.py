"""One column of a sample: its values without the missing ones, and what they can be read as."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import pandas as pd

from churn_spark.contract.columns import Column
from churn_spark.contract.rules import check_value
from churn_spark.contract.shapes import NUMBERS, SHAPES
from churn_spark.contract.values import MISSING, SPACE
from churn_spark.guessing.words import DATE_NAME, MARKS, UNITS

MOSTLY = 0.99  # the share of values that must fit a type, the rest being what validation is there for
NO_SPACES = r"[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff]"  # scripts that set no spaces between words
PLAUSIBLE = {"excel": r"^(3[3-9]|4[0-9]|5[0-4])[0-9]{3}(\.[0-9]*)?$",  # 1990 to 2050
             "yyyyMMdd": r"^(19|20)[0-9]{6}$"}  # fmt: skip
DATE_FORMATS = ("d.M.yyyy", "yyyy/M/d", "d-MMM-yyyy", "d-MMM-yy", "M/d/yyyy", "d/M/yyyy", "yyyyMMdd", "excel")
BESIDE = rf"^(?:{'|'.join(map(re.escape, UNITS))})\s*|\s*(?:{'|'.join(map(re.escape, UNITS))})$"
FIGURES = "[-+0-9.,'\u2019 \u00a0\u202f]+"
Settings = Mapping[str, Any]


class Content(NamedTuple):
    """A column's present values, trimmed, how often each stands there, and the number of rows."""

    source: str
    name: str
    values: pd.Series
    rows: int

    @classmethod
    def of(cls, source: str, name: str, column: pd.Series) -> Content:
        values = column.dropna().astype(str).str.strip(SPACE)
        return cls(source, name, values[~values.str.lower().isin(MISSING)], len(column))

    @property
    def distinct(self) -> int:
        return int(self.values.nunique())

    @property
    def why(self) -> str:
        missing = 1 - len(self.values) / max(1, self.rows)
        return f"{self.distinct} distinct values, {missing:.0%} missing"

    @property
    def identifies(self) -> bool:
        """Whether nearly every row has a value of its own."""
        return self.distinct > 1 and self.distinct >= MOSTLY * self.rows

    def share(self, fits: Callable[[str], bool]) -> float:
        counts = self.values.value_counts()
        return float(counts[[fits(v) for v in counts.index]].sum() / max(1, counts.sum()))

    def parses(self, column: Column) -> bool:
        return len(self.values) > 0 and self.share(lambda v: check_value(column, v)[1] is None) >= MOSTLY

    def matches(self, pattern: str) -> bool:
        return len(self.values) > 0 and self.share(lambda v: re.search(pattern, v) is not None) >= MOSTLY

    def number(self, table: Settings) -> Settings | None:
        """The settings that make the values numbers, those of the table by default; None where they are none."""
        marks: list[dict[str, Any]] = [
            {"missing": [mark]} for mark in MARKS if (self.values.str.lower() == mark).any()
        ]
        units: list[dict[str, Any]] = [
            {"unit": unit} for unit in UNITS if self.values.str.contains(unit, regex=False).any()
        ]
        for own in ({}, *marks, *units):
            for kind in ("bigint", "double"):
                if self.parses(Column(role="numeric", **{**table, "type": kind, **own})):
                    return {"type": kind, **own} if kind == "bigint" else own
        if table and self.parses(Column(role="numeric")):
            return {"decimal": ".", "thousands": "none"}
        return None

    def date(self) -> Settings | None:
        """The settings that make the values dates; None where they are none, or day and month cannot be told."""
        if self.parses(Column(role="passthrough", type="date")):
            return {}
        formats = [
            f for f in DATE_FORMATS
            if f not in PLAUSIBLE or (DATE_NAME.search(self.name) and self.matches(PLAUSIBLE[f]))
        ]  # fmt: skip
        fitting = [f for f in formats if self.parses(Column(role="passthrough", type="date", date_format=f))]
        return (
            {"date_format": fitting[0]} if fitting and not {"M/d/yyyy", "d/M/yyyy"} <= set(fitting) else None
        )

    @property
    def is_text(self) -> bool:
        """Whether the values are sentences: longer than names, several words, more than a handful."""
        sample = self.values.head(1000)
        has_spaces = sample.str.count(NO_SPACES).sum() < 0.3 * max(1, sample.str.len().sum())
        words = 1 + sample.str.count(r"\s+").mean()
        least = (25, 4, 20) if has_spaces else (8, 0, 20)
        return bool(sample.str.len().mean() > least[0] and words > least[1] and self.distinct > least[2])


def table_notation(contents: Iterable[Content], separator: str) -> Settings:
    """How the numbers of a whole table are written: the decimal mark and the mark between thousands."""
    shapes = [s for s in SHAPES if s.rules == NUMBERS]
    by_name = {s.name: s.pattern for s in shapes}
    bare = [c.values.str.replace(BESIDE, "", regex=True) for c in contents]
    figures = [values for values in bare if values.size and values.str.fullmatch(FIGURES).mean() >= MOSTLY]
    written = [set(values.unique()) for values in figures]

    def any_like(*names: str) -> bool:
        return any(re.search(by_name[n], v) for n in names for values in written for v in values)

    def decisive(values: set[str]) -> bool:
        return any(re.search(by_name["decimal comma"], v) and not re.search(by_name["thousands in commas"], v)
                   for v in values)  # fmt: skip

    points = any_like("thousands in points, decimal comma")
    spaces = any_like("thousands in spaces, decimal comma")
    commas = any(decisive(values) for values in written) or points or spaces
    if commas or (separator == ";" and any_like("decimal comma")):
        return {"decimal": ",", **({"thousands": "."} if points else {"thousands": " "} if spaces else {})}
    for name, mark in (
        ("thousands in commas", ","),
        ("thousands in apostrophes", "'"),
        ("thousands in spaces", " "),
    ):
        if any_like(name):
            return {"thousands": mark}
    return {}
