"""How a CSV file is written: its header, separator and quotes, told from one pass over its lines."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import unquote

from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from churn_spark.errors import InputError
from churn_spark.spark.input.files import all_of, any_of, shown

DOUBLED, BACKSLASH = '"', "\\"
_AROUND = '["\\s\ufeff]'  # what the same header may have more or less of


class Form(NamedTuple):
    """How a file's lines become fields."""

    header: str
    separator: str
    escape: str
    above: tuple[str, ...] = ()  # lines above the header, titles or the separator's name

    @property
    def names(self) -> tuple[str, ...]:
        try:
            fields = next(csv.reader([self.header], delimiter=self.separator))
        except csv.Error:
            return ()
        return tuple(name.strip("\ufeff \t\r") for name in fields)

    def place(self, name: str) -> str:
        return f"_{self.names.index(name)}"

    def is_header(self, line: SparkColumn) -> SparkColumn:
        """Whether a line is the header, the first one or a copy."""
        folded = re.sub(_AROUND, "", self.header).lower()
        size = len(self.header.encode())
        near = F.octet_length(line).between(
            len(folded.encode()), 2 * size + 16
        )  # most lines are told by this
        return F.when(near, F.lower(F.regexp_replace(line, _AROUND, "")) == folded).otherwise(False)

    def is_data(self, line: SparkColumn) -> SparkColumn:
        """Whether a line is none of those above the header."""
        return ~line.isin(*self.above) if self.above else F.lit(True)


class Balance(NamedTuple):
    """Quotes of a file, line by line.

    Only lines with an odd number of quotes begin or end a field that goes over several lines; `openers` can
    only begin one, `closers` only end one, `either` may do both.
    """

    quotes: int
    odd_lines: int
    openers: int
    closers: int
    either: int


@dataclass(frozen=True)
class Scan:
    """What one pass over the lines of a file tells about its quotes, for either way of escaping them."""

    path: str
    url: str
    headers: int
    escaped: int  # quotes after a backslash
    by_backslash: int  # lines where only a backslash can have escaped one
    by_doubling: int
    doubled: Balance
    backslash: Balance
    bad_bytes: bool

    def balance(self, escape: str) -> Balance:
        return self.backslash if escape == BACKSLASH else self.doubled

    def odd_lines(self, escape: str) -> int:
        return self.balance(escape).odd_lines


def escape_of(scan: Scan, setting: str) -> str:
    """The character that escapes a quote: as set, or as the lines tell. Raises InputError where they tell both."""
    if setting != "auto":
        return setting
    if scan.by_backslash and scan.by_doubling:
        raise InputError(
            f"quotes are escaped in two ways: by a backslash in {scan.by_backslash} lines, by doubling in "
            f"{scan.by_doubling}",
            where=shown(scan.path),
            fix="write the file in one way, or name it: --set 'input.escape=\"\\\\\"' or 'input.escape='\"'",
        )
    fewer_odd = scan.backslash.odd_lines < scan.doubled.odd_lines
    is_backslash = scan.by_backslash or (scan.escaped and not scan.by_doubling and fewer_odd)
    return BACKSLASH if is_backslash else DOUBLED


def scan_files(lines: DataFrame, files: Sequence[str], forms: Sequence[Form]) -> list[Scan]:
    """Scan all files in one pass. Numbers only: a string in an aggregate would mean sorting all lines."""
    separators = "".join(sorted({re.escape(form.separator) for form in forms}))
    line = F.col("value")
    unescaped = _without_backslashes(line)
    end = rf'["{separators}\r]|\z'
    tallies = lines.groupBy("url").agg(
        F.count_if(any_of(form.is_header(line) for form in dict.fromkeys(forms))).alias("headers"),
        F.sum(count(line, '"') - count(unescaped, '"')).alias("escaped"),
        F.count_if(line.contains('\\"') & line.rlike(rf'\\"(?!{end})')).alias("by_backslash"),
        F.count_if(line.contains('""') & line.rlike(rf'[^\\"{separators}]""(?!{end})')).alias("by_doubling"),
        F.max(~F.is_valid_utf8(line)).alias("bad_bytes"),
        *_balance(F.replace(line, F.lit('""'), F.lit("")), line, separators, "doubled"),
        *_balance(unescaped, unescaped, separators, "backslash"),
    )
    by_path = {unquote(row.url): row.asDict() for row in tallies.collect()}
    return [_scanned(file, by_path[file]) for file in files]


def _without_backslashes(line: SparkColumn) -> SparkColumn:
    """A line without the pairs that begin with a backslash."""
    plain = F.replace(F.replace(line, F.lit("\\\\"), F.lit("")), F.lit('\\"'), F.lit(""))
    return F.when(line.contains("\\"), plain).otherwise(line)


def _balance(single: SparkColumn, line: SparkColumn, separators: str, name: str) -> list[SparkColumn]:
    opens, closes = _ends(single, line, separators)
    counts = {
        "quotes": F.sum(count(line, '"')),
        "odd_lines": F.count_if(_is_odd(line)),
        "openers": F.count_if(opens & ~closes),
        "closers": F.count_if(closes & ~opens),
        "either": F.count_if(opens & closes),
    }
    return [number.alias(f"{name}_{part}") for part, number in counts.items()]


def _is_odd(line: SparkColumn) -> SparkColumn:
    return count(line, '"') % 2 == 1


def _ends(single: SparkColumn, line: SparkColumn, separators: str) -> tuple[SparkColumn, SparkColumn]:
    """Whether a line can begin, and can end, a field that goes over several lines; `single` lacks doubled quotes."""
    odd = F.when(_is_odd(line), single)
    return (
        odd.rlike(rf'(^|[{separators}])"[^"]*\z'),
        odd.rlike(rf'^[^"]*"([{separators}\r]|\z)'),
    )


def _scanned(file: str, tally: dict[str, int]) -> Scan:
    def balance(name: str) -> Balance:
        return Balance(*(tally[f"{name}_{part}"] for part in Balance._fields))

    plain = {k: tally[k] for k in ("headers", "escaped", "by_backslash", "by_doubling", "bad_bytes")}
    return Scan(file, str(tally["url"]), **plain, doubled=balance("doubled"), backslash=balance("backslash"))  # type: ignore[arg-type]


def count(line: SparkColumn, character: str) -> SparkColumn:
    """How often an ASCII character stands in a line."""
    number = F.octet_length(line) - F.octet_length(F.replace(line, F.lit(character), F.lit("")))
    return F.when(line.contains(character), number).otherwise(0)  # it searches faster than it replaces


# -- rows that a quote has swallowed --------------------------------------------------------------------

KINDS = (r"^[-+0-9.,:/ %]*$", r"^(\S*[0-9]\S*)?$")  # figures, codes


def check_swallowed(lines: DataFrame, form: Form, *, sample: Iterable[str]) -> None:
    """Refuse files where a quoted field holds a line that is a whole row: another row's quote has closed it.

    Lines are numbered in the order of each file. A line is a whole row if it has all fields, each of the kind that
    the `sample` of first lines has there. Raises InputError with file and line.
    """
    kinds = column_kinds(sample, form)
    line = F.col("value")
    order = Window.partitionBy("url").orderBy("start", "id")
    before = order.rowsBetween(Window.unboundedPreceding, -1)
    plain = _without_backslashes(line) if form.escape == BACKSLASH else line
    single = plain if form.escape == BACKSLASH else F.replace(line, F.lit('""'), F.lit(""))
    opens, closes = _ends(single, plain, re.escape(form.separator))
    turns = F.coalesce(opens | closes, F.lit(False)).cast("int")
    numbered = lines.select("url", "start", turns.alias("turns"), is_row(line, form, kinds).alias("is_row"),
                            F.monotonically_increasing_id().alias("id"))  # fmt: skip
    inside = F.coalesce(F.sum("turns").over(before), F.lit(0)) % 2 == 1
    placed = numbered.select(
        "url", F.row_number().over(order).alias("line"), (inside & F.col("is_row")).alias("bad")
    )
    first = placed.where("bad").agg(F.min(F.struct("url", "line")).alias("place")).head()
    if first is not None and first.place is not None:
        raise InputError(
            f"a quoted field goes on over line {first.place.line}, which is a whole row: its quote was never closed",
            where=f"{shown(unquote(first.place.url))}, line {first.place.line}",
            fix='close the quote above that line; a quote inside a quoted field is doubled ("")',
        )


def column_kinds(sample: Iterable[str], form: Form) -> list[str | None]:
    """The narrowest kind that all values of each column have in the sample; None where they have none."""
    how = {
        "doublequote": form.escape != BACKSLASH,
        "escapechar": BACKSLASH if form.escape == BACKSLASH else None,
    }
    rows = []
    for line in whole_lines(sample, form):
        try:
            rows.append(next(csv.reader([line], delimiter=form.separator, **how), []))  # type: ignore[arg-type]
        except csv.Error:
            continue
    names = form.names
    rows = [
        row for row in rows if len(row) == len(names) and tuple(n.strip("\ufeff \t\r") for n in row) != names
    ]
    return [_kind([value.strip() for value in column]) for column in zip(*rows, strict=True)]


def whole_lines(lines: Iterable[str], form: Form) -> list[str]:
    """The lines that neither begin, go on with nor end a quoted field of several lines."""
    whole, is_inside = [], False
    for line in lines:
        plain = line.replace("\\\\", "").replace('\\"', "") if form.escape == BACKSLASH else line
        is_odd = plain.count('"') % 2 == 1
        if not is_inside and not is_odd:
            whole.append(line)
        is_inside ^= is_odd
    return whole


def _kind(values: Sequence[str]) -> str | None:
    return (
        next((kind for kind in KINDS if all(re.match(kind, v) for v in values)), None)
        if any(values)
        else None
    )


def is_row(line: SparkColumn, form: Form, kinds: Sequence[str | None]) -> SparkColumn:
    """Whether a line on its own has all fields, each of its kind."""
    names = [f"_{i}" for i in range(len(form.names))]
    options = {
        "sep": form.separator,
        "quote": '"',
        "escape": form.escape,
        "columnNameOfCorruptRecord": "_bad",
    }
    fields = F.from_csv(line, ", ".join(f"{name} string" for name in [*names, "_bad"]), options)
    fits = [F.trim(fields[n]).rlike(kind) for n, kind in zip(names, kinds, strict=False) if kind]
    least = all_of([fields[names[0]].isNotNull(), fields["_bad"].isNull(), count(line, form.separator) > 0])
    return F.coalesce(least & all_of([F.coalesce(fit, F.lit(True)) for fit in fits]), F.lit(False))
