"""Read a raw table: the declared columns, by name, as strings that lose nothing of what the files hold.

Files of one format may differ in their columns, their order and their types, so they are read one layout at
a time and brought together as strings; `validation` alone decides what a string means. What only a reader
can see about a row, it leaves in `_row_error`: `malformed_row`, `row_too_long` or `bad_encoding`.
"""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial, reduce
from pathlib import Path
from urllib.parse import unquote

from py4j.protocol import Py4JJavaError
from pyspark.errors import AnalysisException, PySparkException
from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame, DataFrameReader, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from churn_spark import config
from churn_spark.columns import RESERVED, Contract
from churn_spark.errors import InputError

CORRUPT, ROW_ERROR = "_corrupt_record", "_row_error"
KEPT_CHARS = 10_000  # of a value or line that was refused
REPLACEMENT = "\ufffd"  # what bytes that are not UTF-8 become

_ENDINGS = {
    "csv": "csv", "tsv": "csv", "txt": "csv", "json": "json", "jsonl": "json", "ndjson": "json",
    "parquet": "parquet", "orc": "orc",
}  # fmt: skip
_COMPRESSED = (".gz", ".bz2", ".zst", ".snappy", ".lz4", ".deflate")


@dataclass(frozen=True)
class RawTable:
    """A raw table as read: `df` has the used columns as strings, `_row_error` and `_corrupt_record`."""

    df: DataFrame
    format: str
    files: int
    bytes: int
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class _Layout:
    """Files with the same columns: the names found, and how to read some of them (declared -> found)."""

    names: tuple[str, ...]
    file: str
    files: int
    read: Callable[[Mapping[str, str]], DataFrame]
    hint: str = "check that this is the right input"


def read_raw(
    spark: SparkSession,
    location: str,
    *,
    contract: Contract,
    settings: config.Input,
    need_label: bool,
    max_row_chars: int = 16_000_000,
) -> RawTable:
    """Read files (CSV, Parquet, JSON lines, ORC; a file, folder or glob) or a catalog table.

    Every used column comes out under its declared name, as a string with the exact characters of the source
    (whole numbers without decimals); a column that is not there is null. A row that cannot be split into
    fields, or is longer than `max_row_chars`, has nulls, a `_row_error` and the start of its line in
    `_corrupt_record`. Only `need_label` makes the label a column that must be there.

    Raises InputError where files are absent, empty, damaged or not what their ending says, where a column is
    missing, stands twice or has a reserved name, and where a CSV file has no header or an unclosed quote.
    """
    with reading():
        is_table = settings.format == "table" or (
            settings.format == "auto" and config.is_table_name(location)
        )
        files = {} if is_table else _list_files(spark, location)
        kind = (
            settings.format
            if settings.format != "auto"
            else "table"
            if is_table
            else _format(files, location)
        )
        if kind == "table":
            layouts = [_typed_layout(_table(spark, location), location, 1, max_row_chars)]
        elif kind == "csv":
            layouts = _csv_layouts(spark, list(files), settings.separator, max_row_chars)
        elif kind == "json":
            layouts = _json_layouts(spark, list(files), max_row_chars)
        else:
            layouts = _typed_layouts(spark, list(files), kind, max_row_chars)
        mappings = [_mapping(layout, contract) for layout in layouts]
        warnings = _check_columns(layouts, mappings, contract, need_label=need_label)
        frames = [
            _complete(layout.read(mapping), contract)
            for layout, mapping in zip(layouts, mappings, strict=True)
        ]
    return RawTable(reduce(DataFrame.unionByName, frames), kind, len(files), sum(files.values()), warnings)


# -- files ----------------------------------------------------------------------------------------------


def _list_files(spark: SparkSession, location: str) -> dict[str, int]:
    """The files at a location with their sizes in bytes; none of them is opened."""
    try:
        listing = spark.read.format("binaryFile").load(_pattern(location)).select("path", "length")
    except AnalysisException as problem:
        if "PATH_NOT_FOUND" not in str(problem):
            raise
        found = (
            "no file matches this pattern" if re.search(r"[*?\[{]", location) else "no such file or folder"
        )
        raise InputError(found, where=location, fix="check --raw; a relative path starts here") from None
    files = {row.path: row.length for row in listing.collect()}
    if not files:
        raise InputError("the folder holds no files", where=location, fix="check --raw")
    empty = [_shown(path) for path, size in files.items() if size == 0]
    if empty:
        raise InputError(
            f"{len(empty)} of {len(files)} files hold 0 bytes",
            where=empty[0],
            fix="write the file again, or remove it if nothing belongs there",
        )
    return dict(sorted(files.items()))


def _pattern(location: str) -> str:
    """The location as Spark wants it: a local file whose name looks like a pattern is meant as it stands."""
    plain = re.sub(r"^file:/*", "/", location)
    return _literal(location) if Path(plain).exists() else location


def _literal(path: str) -> str:
    return re.sub(r"([*?\[\]{}\\])", r"\\\1", path)


def _shown(path: str) -> str:
    return re.sub(r"^file:/*", "/", path)


def _format(files: Iterable[str], location: str) -> str:
    kinds = set()
    for path in files:
        name = path.lower()
        while name.endswith(_COMPRESSED):
            name = name.rpartition(".")[0]
        kinds.add(_ENDINGS.get(name.rpartition(".")[2], "unknown"))
    if len(kinds) > 1 or kinds == {"unknown"}:
        raise InputError(
            f"the format cannot be told from the files' endings (found: {', '.join(sorted(kinds))})",
            where=location,
            fix="name one format: --set input.format=csv (or parquet, json, orc)",
        )
    return kinds.pop()


def _table(spark: SparkSession, name: str) -> DataFrame:
    if not config.is_table_name(name):
        raise InputError("not a table name", where=name, fix="use schema.table or catalog.schema.table")
    try:
        return spark.table(name)
    except AnalysisException as problem:
        if "NOT_FOUND" not in str(problem):
            raise
        raise InputError("no such table in the catalog", where=name, fix="check --raw") from None


# -- columns --------------------------------------------------------------------------------------------


def _mapping(layout: _Layout, contract: Contract) -> dict[str, str]:
    """Map declared names to the names found, whatever their case."""
    found = {name.strip().lower(): name for name in layout.names}
    mapping = {c.name: found[c.raw_name.lower()] for c in contract.used if c.raw_name.lower() in found}
    if not mapping:  # then the names may be values, and are not repeated
        raise InputError(
            f"none of the expected columns was found; expected {_listed(c.raw_name for c in contract.used)}",
            where=layout.file,
            fix=layout.hint,
        )
    names = [name.strip().lower() for name in layout.names if name.strip()]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"columns that stand twice: {_listed(twice)}", where=layout.file, fix="rename one")
    reserved = sorted(set(names) & set(RESERVED))
    if reserved:
        raise InputError(f"reserved column names: {_listed(reserved)}", where=layout.file, fix="rename them")
    return mapping


def _check_columns(
    layouts: Sequence[_Layout],
    mappings: Sequence[Mapping[str, str]],
    contract: Contract,
    *,
    need_label: bool,
) -> tuple[str, ...]:
    """Refuse what cannot do without a column; say in words what can."""
    warnings = []
    label = contract.label.name if contract.label and not need_label else None
    present = {name for mapping in mappings for name in mapping}
    missing = [c for c in contract.used if c.name not in present and c.name != label]
    if missing:
        raise InputError(
            f"required columns missing: {_listed(c.raw_name for c in missing)}; "
            f"present: {_listed(layouts[0].names)}",
            where=layouts[0].file,
            fix="add them, name their source (`from:`), or drop them from `columns` with `name: null`",
        )
    for column in contract.used:
        lacking = [lay for lay, m in zip(layouts, mappings, strict=True) if column.name not in m]
        if not lacking or column.name == label:
            continue
        if column.required or column.role in ("id", "snapshot", "label"):
            raise InputError(
                f"required column missing in some files: {column.raw_name}", where=lacking[0].file
            )
        count, total = sum(lay.files for lay in lacking), sum(lay.files for lay in layouts)
        warnings.append(f"{column.raw_name} is missing in {count} of {total} files: no values there")
    known = {c.raw_name.lower() for c in contract.columns}
    names = {name.strip().lower(): name.strip() for layout in layouts for name in layout.names}
    extra = [name for key, name in names.items() if key not in known]
    if extra:
        warnings.append(f"{len(extra)} columns not in the contract, not read: {_listed(extra)}")
    return tuple(warnings)


def _listed(names: Iterable[str], most: int = 20) -> str:
    listed = list(names)
    return ", ".join(listed[:most]) + (f" and {len(listed) - most} more" if len(listed) > most else "")


def _complete(df: DataFrame, contract: Contract) -> DataFrame:
    """Put the used columns in declared order, with nulls for those that are not there."""
    absent = {c.name: F.lit(None).cast("string") for c in contract.used if c.name not in df.columns}
    return df.withColumns(absent).select(*[_quoted(c.name) for c in contract.used], ROW_ERROR, CORRUPT)


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


# -- typed sources: Parquet, ORC, tables ------------------------------------------------------------------


def _typed_layouts(spark: SparkSession, files: Sequence[str], kind: str, max_row_chars: int) -> list[_Layout]:
    """Files grouped by their schema: one part may have `age` as int, another as long, a third not at all."""
    with ThreadPoolExecutor(8) as pool:
        schemas = list(pool.map(partial(_schema, spark, kind=kind), files))
    groups: dict[str, list[int]] = defaultdict(list)
    for index, schema in enumerate(schemas):
        groups[schema.json()].append(index)
    layouts = []
    for first, *more in groups.values():
        paths = [_literal(files[i]) for i in (first, *more)]
        df = _reader(spark, kind, files[first]).schema(schemas[first]).load(paths)
        layouts.append(_typed_layout(df, _shown(files[first]), len(paths), max_row_chars))
    return layouts


def _schema(spark: SparkSession, path: str, *, kind: str) -> T.StructType:
    try:
        with reading():
            return _reader(spark, kind, path).load(_literal(path)).schema
    except AnalysisException as problem:
        what = "a column stands twice" if "COLUMN_ALREADY_EXISTS" in str(problem) else f"not a {kind} file"
        raise InputError(what, where=_shown(path), fix="write the file again") from None


def _reader(spark: SparkSession, kind: str, path: str) -> DataFrameReader:
    reader = spark.read.format(kind).option("parquet.page.verify-checksum.enabled", "true")
    partitioned = re.match(r"(.*?)/[^/=]+=[^/]*/", path)
    return reader.option("basePath", _literal(partitioned[1])) if partitioned else reader


def _typed_layout(df: DataFrame, file: str, files: int, max_row_chars: int) -> _Layout:
    read = partial(_strings, df, file=file, max_row_chars=max_row_chars)
    return _Layout(tuple(df.columns), file, files, read)


def _strings(df: DataFrame, mapping: Mapping[str, str], *, file: str, max_row_chars: int) -> DataFrame:
    """The mapped columns as strings."""
    nested = [n for n in mapping.values() if isinstance(df.schema[n].dataType, _NESTED)]
    if nested:
        raise InputError(f"columns that hold no plain values: {_listed(nested)}", where=file)
    strings = [_as_string(df.schema[found].dataType, found).alias(name) for name, found in mapping.items()]
    values = {name: F.col(_quoted(name)) for name in mapping}
    return _flagged(
        df.select(*strings),
        values,
        too_long=_chars(values.values()) > max_row_chars,
        malformed=F.lit(False),
        bad_bytes=_any(F.coalesce(~F.is_valid_utf8(value), F.lit(False)) for value in values.values()),
        line=F.lit(None).cast("string"),
    )


_NESTED = (T.StructType, T.ArrayType, T.MapType)


def _as_string(kind: T.DataType, name: str) -> SparkColumn:
    column = F.col(_quoted(name))
    if isinstance(kind, T.FloatType | T.DoubleType):
        number = column.cast("double")  # 7.0 and 1.0E7 are whole: a null turned many an int column to double
        whole = (number == F.floor(number)) & (F.abs(number) < 1e15)
        return F.when(whole, number.cast("bigint").cast("string")).otherwise(number.cast("string"))
    if isinstance(kind, T.TimestampType | T.TimestampNTZType):
        midnight = column == F.date_trunc("day", column)
        return F.when(midnight, column.cast("date").cast("string")).otherwise(column.cast("string"))
    return column.cast("string")


# -- text sources: CSV, JSON lines ----------------------------------------------------------------------


def _json_layouts(spark: SparkSession, files: Sequence[str], max_row_chars: int) -> list[_Layout]:
    """One layout for all: every line names its own columns."""
    paths = [_literal(path) for path in files]
    options = {"primitivesAsString": "true", "columnNameOfCorruptRecord": "\0"}
    names = [name for name in spark.read.options(**options).json(paths).columns if name != "\0"]

    def read(mapping: Mapping[str, str]) -> DataFrame:
        schema = T.StructType([T.StructField(name, T.StringType()) for name in (*mapping.values(), CORRUPT)])
        return _rows(
            spark.read.text(paths),
            lambda line: F.from_json(line, schema, {"columnNameOfCorruptRecord": CORRUPT}),
            mapping,
            max_row_chars=max_row_chars,
        )

    hint = "a JSON file must hold one object a line"
    return [_Layout(tuple(names), _shown(files[0]), len(files), read, hint)]


def _csv_layouts(
    spark: SparkSession, files: Sequence[str], separator: str, max_row_chars: int
) -> list[_Layout]:
    """Files grouped by their first line and by what it takes to split them into rows.

    Lines are rows unless a quoted field goes over several of them; only files that hold such a field are
    read by the parser that keeps these fields whole but cannot share a file between tasks.
    """
    lines = spark.read.text([_literal(path) for path in files])
    scans = _scan(lines)
    blank = set(files) - {scan.path for scan in scans}
    if blank:
        raise InputError("the file holds blank lines only", where=_shown(min(blank)), fix="check --raw")
    groups: dict[tuple[str, bool, bool], list[_Scan]] = defaultdict(list)
    for scan in scans:
        _check_scan(scan)
        groups[scan.header, scan.odd_lines > 0, scan.bad_bytes].append(scan)
    layouts = []
    for (header, multi_line, bad_bytes), members in groups.items():
        names = _fields(header, separator)
        paths = [scan.path for scan in members]
        if multi_line:
            read = partial(_read_whole, spark, paths, names=names, separator=separator, bad_bytes=bad_bytes)
        else:
            own = F.col("_metadata.file_path").isin([scan.url for scan in members])
            some = lines if len(groups) == 1 else lines.where(own)
            read = partial(_read_lines, some, header=header, names=names, separator=separator)
        read = partial(read, max_row_chars=max_row_chars)
        layouts.append(_Layout(names, _shown(paths[0]), len(paths), read, _hint(header, separator)))
    return layouts


@dataclass(frozen=True)
class _Scan:
    """What one pass over the lines of a CSV file tells: `quotes` in all, lines with an odd number of them."""

    url: str
    header: str
    quotes: int
    odd_lines: int
    bad_bytes: bool

    @property
    def path(self) -> str:
        return unquote(self.url)


def _scan(lines: DataFrame) -> list[_Scan]:
    quotes = F.octet_length("value") - F.octet_length(F.replace("value", F.lit('"'), F.lit("")))
    place = F.struct("_metadata.file_block_start", F.monotonically_increasing_id())
    path = F.col("_metadata.file_path")
    seen = lines.where(F.trim("value") != "").select("value", path.alias("url"), place.alias("place"))
    found = seen.groupBy("url").agg(
        F.min_by(F.left("value", F.lit(1_000_000)), "place").alias("header"),
        F.sum(quotes).alias("quotes"),
        F.sum(quotes % 2).alias("odd_lines"),
        # A set, not a maximum: beside a collecting function Spark need not sort the lines by file.
        F.collect_set(F.when(~F.is_valid_utf8("value"), True)).alias("bad_bytes"),
    )
    rows = sorted(found.collect(), key=lambda row: str(row.url))
    return [_Scan(r.url, r.header, r.quotes, r.odd_lines, bool(r.bad_bytes)) for r in rows]


def _check_scan(scan: _Scan) -> None:
    where = _shown(scan.path)
    if "\0" in scan.header or scan.header.startswith(REPLACEMENT):
        raise InputError("not UTF-8 text (UTF-16?)", where=where, fix="save the file as UTF-8")
    if scan.quotes % 2 or scan.header.count('"') % 2:
        raise InputError(
            f"an unclosed quote: the file holds an odd number of quotes ({scan.quotes})",
            where=where,
            fix='close the quote; a quote inside a quoted field is doubled ("")',
        )


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
    return {"sep": separator, "quote": '"', "escape": '"', "mode": "PERMISSIVE", "maxColumns": str(_MAX_FIELDS),
            "columnNameOfCorruptRecord": CORRUPT}  # fmt: skip


_MAX_FIELDS = 20_480  # the parser dies of a row with more


def _read_lines(
    lines: DataFrame,
    mapping: Mapping[str, str],
    *,
    header: str,
    names: Sequence[str],
    separator: str,
    max_row_chars: int,
) -> DataFrame:
    """Every line a row, so that a large file is shared between tasks."""
    schema, options = _csv_schema(names).simpleString(), _csv_options(separator)
    separators = F.octet_length("value") - F.octet_length(F.replace("value", F.lit(separator), F.lit("")))
    splits = (F.length("value") < _MAX_FIELDS) | (separators < _MAX_FIELDS)
    return _rows(
        lines.where((F.trim("value") != "") & (F.col("value") != header)),
        lambda line: F.from_csv(F.when(splits, line), schema, options),
        {name: f"_{names.index(found)}" for name, found in mapping.items()},
        max_row_chars=max_row_chars,
    )


def _rows(
    lines: DataFrame,
    parse: Callable[[SparkColumn], SparkColumn],
    mapping: Mapping[str, str],
    *,
    max_row_chars: int,
) -> DataFrame:
    """Split lines into fields. A line that is too long is never parsed, so that its memory is bounded."""
    line, row = F.col("value"), F.col("row")
    too_long = F.length(line) > max_row_chars
    return _flagged(
        lines.select(line, parse(F.when(~too_long, line)).alias("row")),
        {name: row[found] for name, found in mapping.items()},
        too_long=too_long,
        malformed=row.isNull() | row[CORRUPT].isNotNull(),
        bad_bytes=~F.is_valid_utf8(line),
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
    # Without column pruning the same rows are malformed whichever columns are read, and a quote that ends
    # inside a field means that an unclosed one before it has swallowed rows.
    options = {**_csv_options(separator), "header": "true", "multiLine": "true", "columnPruning": "false",
               "unescapedQuoteHandling": "RAISE_ERROR"}  # fmt: skip
    schema = _csv_schema(names)
    df = spark.read.schema(schema).options(**options).csv([_literal(path) for path in paths])
    last = schema.fieldNames()[len(names) - 1]
    df = df.withColumn(last, F.rtrim(last, F.lit("\r")))
    values = {name: F.col(f"_{names.index(found)}") for name, found in mapping.items()}
    replaced = _any(
        F.coalesce(F.contains(value, F.lit(REPLACEMENT)), F.lit(False)) for value in values.values()
    )
    return _flagged(
        df,
        values,
        too_long=_chars([*values.values(), F.col(CORRUPT)]) > max_row_chars,
        malformed=F.col(CORRUPT).isNotNull(),
        bad_bytes=replaced if bad_bytes else F.lit(False),
        line=F.col(CORRUPT),
    )


def _flagged(
    df: DataFrame,
    values: Mapping[str, SparkColumn],
    *,
    too_long: SparkColumn,
    malformed: SparkColumn,
    bad_bytes: SparkColumn,
    line: SparkColumn,
) -> DataFrame:
    """Name the values, and say what is wrong with a row; one that was not split into fields has no values."""
    row_error = (
        F.when(too_long, "row_too_long").when(malformed, "malformed_row").when(bad_bytes, "bad_encoding")
    )
    refused = too_long | malformed
    return df.select(
        *[F.when(~refused, F.make_valid_utf8(value)).alias(name) for name, value in values.items()],
        row_error.alias(ROW_ERROR),
        F.when(refused, F.make_valid_utf8(F.left(line, F.lit(KEPT_CHARS)))).alias(CORRUPT),
    )


def _chars(values: Iterable[SparkColumn]) -> SparkColumn:
    return reduce(lambda a, b: a + b, [F.coalesce(F.length(value), F.lit(0)) for value in values])


def _any(conditions: Iterable[SparkColumn]) -> SparkColumn:
    return reduce(lambda a, b: a | b, conditions)


# -- failures of reading ----------------------------------------------------------------------------------

_CAUSES = {
    r"Unexpected end of input stream|EOFException": "the compressed file is cut short",
    r"[Cc]hecksum": "a checksum does not match: the file is damaged",
    r"Unescaped quote": "an unclosed quote, or one inside a quoted field that is not doubled",
    r"MALFORMED_CSV_RECORD": f"a row with more than {_MAX_FIELDS} fields",
    r"FILE_NOT_EXIST|FileNotFoundException": "the file went away while it was being read",
    r"Permission denied|AccessControlException|AccessDenied": "this user may not read the file",
    r"FOOTER|not a Parquet file|FileFormatException": "not a whole Parquet or ORC file",
}


def explain_read_failure(problem: BaseException) -> InputError | None:
    """Put a failure of reading an input file into words, without its stack and without any value.

    Returns None where the failure is of another kind. Spark reads when an action runs, so an action on a
    table that was just read may meet one: run it inside `reading()`.
    """
    text = str(problem)
    if re.search(r"No FileSystem for scheme|FileSystem not found", text):
        return InputError("no file system for this kind of path", fix="add its JARs: spark.jars.packages")
    found = re.search(r"\[FAILED_READ_FILE[.\w]*\].*? reading file (.+?)\.(?:\s|$)", text)
    if not found:
        return None
    what = next((words for cause, words in _CAUSES.items() if re.search(cause, text)), "the file is damaged")
    return InputError(f"cannot be read: {what}", where=_shown(unquote(found[1])), fix="write the file again")


@contextmanager
def reading() -> Iterator[None]:
    """Turn failures of reading an input file into InputError; everything else passes as it is."""
    try:
        yield
    except (PySparkException, Py4JJavaError) as problem:
        explained = explain_read_failure(problem)
        if explained is None:
            raise
        raise explained from None
