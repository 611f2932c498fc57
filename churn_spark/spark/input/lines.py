"""Read CSV files and JSON lines: bytes to rows of strings, one line a row wherever that is possible."""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from urllib.parse import unquote

from pyspark.errors import AnalysisException
from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from churn_spark.errors import InputError
from churn_spark.spark.input.files import (
    CORRUPT,
    REPLACEMENT,
    Layout,
    any_of,
    chars_of,
    flagged,
    literal,
    longer_than,
    reading,
    shown,
)


def json_layouts(spark: SparkSession, files: Sequence[str], max_row_chars: int) -> list[Layout]:
    """One layout for all: every line names its own columns."""
    paths = [literal(path) for path in files]
    options = {"primitivesAsString": "true", "columnNameOfCorruptRecord": "\0"}
    try:
        names = [name for name in spark.read.options(**options).json(paths).columns if name != "\0"]
    except AnalysisException as problem:
        if "COLUMN_ALREADY_EXISTS" not in str(problem):
            raise
        raise InputError("a key stands in two spellings", where=shown(files[0]), fix="rename one") from None

    def read(mapping: Mapping[str, str]) -> DataFrame:
        schema = T.StructType([T.StructField(name, T.StringType()) for name in (*mapping.values(), CORRUPT)])
        return _rows(
            spark.read.text(paths),
            lambda line: F.from_json(line, schema, {"columnNameOfCorruptRecord": CORRUPT}),
            mapping,
            bad_bytes=~F.is_valid_utf8("value"),
            max_row_chars=max_row_chars,
        )

    hint = "a JSON file must hold one object a line"
    return [Layout(tuple(names), shown(files[0]), len(files), read, hint)]


def csv_layouts(
    spark: SparkSession, files: Sequence[str], separator: str, max_row_chars: int
) -> list[Layout]:
    """Files grouped by their first line and by what it takes to split them into rows.

    Lines are rows unless a quoted field goes over several of them; only files that hold such a field are
    read by the parser that keeps these fields whole but cannot share a file between tasks.
    """
    lines = spark.read.text([literal(path) for path in files])
    scans = _scan(spark, files, lines, separator)
    groups: dict[tuple[str, bool, bool], list[_Scan]] = defaultdict(list)
    for scan in scans:
        _check_scan(scan)
        groups[scan.header, scan.odd_lines > 0, scan.bad_bytes].append(scan)
    layouts = []
    for (header, multi_line, bad_bytes), members in groups.items():
        names = _fields(header, separator)
        paths = [scan.path for scan in members]
        if multi_line:
            read = partial(_read_whole, spark, paths)
        else:
            own = F.col("_metadata.file_path").isin([scan.url for scan in members])
            read = partial(_read_lines, lines if len(groups) == 1 else lines.where(own), header=header)
        read = partial(
            read, names=names, separator=separator, bad_bytes=bad_bytes, max_row_chars=max_row_chars
        )
        layouts.append(Layout(names, shown(paths[0]), len(paths), read, _hint(header, separator)))
    return layouts


@dataclass(frozen=True)
class _Scan:
    """What one pass over the lines of a CSV file tells about its quotes, line by line.

    Only lines with an odd number of quotes begin or end a field that goes over several lines; `openers` can
    only begin one, `closers` only end one, `either` may do both.
    """

    path: str
    header: str
    url: str
    quotes: int
    odd_lines: int
    openers: int
    closers: int
    either: int
    bad_bytes: bool


def _scan(spark: SparkSession, files: Sequence[str], lines: DataFrame, separator: str) -> list[_Scan]:
    with ThreadPoolExecutor(8) as pool:
        headers = list(pool.map(partial(_header, spark), files))
    line, quotes, sep = F.col("value"), F.col("quotes"), re.escape(separator)
    is_odd = quotes % 2 == 1
    single = F.when(is_odd, F.replace(line, F.lit('""'), F.lit("")))
    opens, closes = single.rlike(rf'(^|{sep})"[^"]*\z'), single.rlike(rf'^[^"]*"({sep}|\z)')
    # Numbers only, no lines: a sum is kept in place, while a string in an aggregate means sorting all rows.
    url = F.col("_metadata.file_path").alias("url")
    by_file = lines.select(line, url, _count(line, '"').alias("quotes")).groupBy("url")
    found = by_file.agg(
        F.sum(quotes).alias("quotes"),
        F.count_if(is_odd).alias("odd_lines"),
        F.count_if(opens & ~closes).alias("openers"),
        F.count_if(closes & ~opens).alias("closers"),
        F.count_if(opens & closes).alias("either"),
        F.max(~F.is_valid_utf8(line)).alias("bad_bytes"),
    )
    by_path = {unquote(row.url): row.asDict() for row in found.collect()}
    return [_Scan(file, header, **by_path[file]) for file, header in zip(files, headers, strict=True)]


def _header(spark: SparkSession, file: str) -> str:
    """The first line that is not blank."""
    with reading():
        first = spark.read.text(literal(file)).where(F.trim("value") != "").head()
    if first is None:
        raise InputError("the file holds blank lines only", where=shown(file), fix="check --raw")
    return str(first.value)


def _check_scan(scan: _Scan) -> None:
    where = shown(scan.path)
    if "\0" in scan.header or scan.header.startswith(REPLACEMENT):
        raise InputError("not UTF-8 text (UTF-16?)", where=where, fix="save the file as UTF-8")
    unbalanced = abs(scan.openers - scan.closers) > scan.either
    if scan.quotes % 2 or scan.header.count('"') % 2 or unbalanced:
        raise InputError(
            f"an unclosed quote ({scan.quotes} quotes in {scan.odd_lines} lines with an odd number of them)",
            where=where,
            fix='close the quote; a quote inside a quoted field is doubled ("")',
        )


def _count(line: SparkColumn, character: str) -> SparkColumn:
    """How often an ASCII character stands in a line."""
    count = F.octet_length(line) - F.octet_length(F.replace(line, F.lit(character), F.lit("")))
    return F.when(line.contains(character), count).otherwise(0)  # it searches faster than it replaces


def _fields(header: str, separator: str) -> tuple[str, ...]:
    try:
        return tuple(name.strip("\ufeff \t\r") for name in next(csv.reader([header], delimiter=separator)))
    except csv.Error:
        return ()


def _hint(header: str, separator: str) -> str:
    others = {s: len(_fields(header, s)) for s in ",;\t|" if s != separator}
    best = max(others, key=lambda s: others[s])
    if others[best] > len(_fields(header, separator)):
        shown = {"\t": "\\t"}.get(best, best)
        return f"the separator looks like '{shown}': --set 'input.separator=\"{shown}\"'"
    return "the first line must name the columns; does the file have a header?"


def _csv_schema(names: Sequence[str]) -> T.StructType:
    """Fields by position, since a header may hold any characters."""
    fields = [*(f"_{index}" for index in range(len(names))), CORRUPT]
    return T.StructType([T.StructField(field, T.StringType()) for field in fields])


def _csv_options(separator: str) -> dict[str, str]:
    return {
        "sep": separator,
        "quote": '"',
        "escape": '"',
        "maxColumns": str(_MAX_FIELDS),
        "columnNameOfCorruptRecord": CORRUPT,
    }


_MAX_FIELDS = 20_480  # the parser dies of a row with more


def _read_lines(
    lines: DataFrame,
    mapping: Mapping[str, str],
    *,
    header: str,
    names: Sequence[str],
    separator: str,
    bad_bytes: bool,
    max_row_chars: int,
) -> DataFrame:
    """Every line a row, so that a large file is shared between tasks."""
    schema, options = _csv_schema(names).simpleString(), _csv_options(separator)
    line = F.col("value")
    splits = (F.octet_length(line) < _MAX_FIELDS) | (_count(line, separator) < _MAX_FIELDS)
    return _rows(
        lines.where((F.trim(line) != "") & (line != header)),
        lambda checked: F.from_csv(F.when(splits, checked), schema, options),
        {name: f"_{names.index(found)}" for name, found in mapping.items()},
        bad_bytes=~F.is_valid_utf8(line) if bad_bytes else F.lit(False),
        max_row_chars=max_row_chars,
    )


def _rows(
    lines: DataFrame,
    parse: Callable[[SparkColumn], SparkColumn],
    mapping: Mapping[str, str],
    *,
    bad_bytes: SparkColumn,
    max_row_chars: int,
) -> DataFrame:
    """Split lines into fields. A line that is too long is never parsed, so that its memory is bounded."""
    line, row = F.col("value"), F.col("row")
    too_long = longer_than(line, max_row_chars)
    return flagged(
        lines.select(line, parse(F.when(~too_long, line)).alias("row")),
        {name: row[found] for name, found in mapping.items()},
        too_long=too_long,
        malformed=row.isNull() | row[CORRUPT].isNotNull(),
        bad_bytes=bad_bytes,
        line=line,
    )


def _read_whole(
    spark: SparkSession,
    paths: Sequence[str],
    mapping: Mapping[str, str],
    *,
    names: Sequence[str],
    separator: str,
    bad_bytes: bool,
    max_row_chars: int,
) -> DataFrame:
    """Rows of files where quoted fields go over several lines."""
    # Without column pruning the same rows are malformed whichever columns are read.
    options = {"header": "true", "multiLine": "true", "columnPruning": "false", **_csv_options(separator)}
    schema = _csv_schema(names)
    df = spark.read.schema(schema).options(**options).csv([literal(path) for path in paths])
    last = schema.fieldNames()[len(names) - 1]
    df = df.withColumn(last, F.rtrim(last, F.lit("\r")))
    values = {name: F.col(f"_{names.index(found)}") for name, found in mapping.items()}
    replaced = any_of(
        F.coalesce(F.contains(value, F.lit(REPLACEMENT)), F.lit(False)) for value in values.values()
    )
    return flagged(
        df,
        values,
        too_long=chars_of([*values.values(), F.col(CORRUPT)]) > max_row_chars,
        malformed=F.col(CORRUPT).isNotNull(),
        bad_bytes=replaced if bad_bytes else F.lit(False),
        line=F.col(CORRUPT),
    )
