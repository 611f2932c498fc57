"""Read CSV files and JSON lines: bytes to rows of strings, one line a row wherever that is possible."""

from __future__ import annotations

import codecs
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import NamedTuple

from pyspark.errors import AnalysisException
from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from churn_spark.errors import InputError
from churn_spark.settings.sections import Input
from churn_spark.spark import storage
from churn_spark.spark.input.files import (
    COMPRESSED,
    CORRUPT,
    REPLACEMENT,
    Layout,
    all_of,
    any_of,
    chars_of,
    flagged,
    literal,
    longer_than,
    reading,
    shown,
)
from churn_spark.spark.input.names import Place, as_strings, folder_names, folder_value, places
from churn_spark.spark.input.quotes import (
    BACKSLASH,
    Form,
    Scan,
    check_swallowed,
    count,
    escape_of,
    scan_files,
)


def json_layouts(
    spark: SparkSession, files: Sequence[str], settings: Input, max_row_chars: int
) -> list[Layout]:
    """One layout for all: every line, or every object of an array, names its own columns; `a.b` is b inside a."""
    paths = [literal(path) for path in files]
    is_array = _head(spark, files[0], settings, lines=50).lines[0].lstrip().startswith("[")
    options = {"columnNameOfCorruptRecord": "\0", "multiLine": str(is_array).lower()}
    try:
        schema = spark.read.options(**options).json(paths).schema
    except AnalysisException as problem:
        if "COLUMN_ALREADY_EXISTS" not in str(problem):
            raise
        raise InputError("a key stands in two spellings", where=shown(files[0]), fix="rename one") from None
    found = places(T.StructType([field for field in schema if field.name != "\0"]))
    folders = folder_names(files, found)
    reader = _read_array if is_array else _read_objects
    read = partial(reader, spark, paths, found=found, settings=settings, limit=max_row_chars)
    return [
        Layout(
            (*found, *folders), shown(files[0]), len(files), read,
            "a JSON file must hold one object a line, or an array of objects",
            numbers=frozenset(name for name, place in found.items() if place.is_number),
        )
    ]  # fmt: skip


def _json_schema(mapping: Mapping[str, str], found: Mapping[str, Place]) -> T.StructType:
    paths = [found[name].path for name in mapping.values() if name in found]
    return as_strings(paths).add(CORRUPT, T.StringType())


def _json_values(
    row: SparkColumn, mapping: Mapping[str, str], found: Mapping[str, Place]
) -> dict[str, SparkColumn]:
    return {
        name: found[place].of(row) if place in found else folder_value(F.col("url"), place)
        for name, place in mapping.items()
    }


def _read_objects(
    spark: SparkSession,
    paths: Sequence[str],
    mapping: Mapping[str, str],
    *,
    found: Mapping[str, Place],
    settings: Input,
    limit: int,
) -> DataFrame:
    schema = _json_schema(mapping, found)
    text = decoded(F.col("value"), settings.encoding).alias("value")
    lines = spark.read.text(list(paths)).select(text, _url())
    return _rows(
        lines.where(F.trim("value") != ""),
        lambda line: F.from_json(line, schema, {"columnNameOfCorruptRecord": CORRUPT}),
        lambda row: _json_values(row, mapping, found),
        bad_bytes=~F.is_valid_utf8("value"),
        max_row_chars=limit,
    )


def _read_array(
    spark: SparkSession,
    paths: Sequence[str],
    mapping: Mapping[str, str],
    *,
    found: Mapping[str, Place],
    settings: Input,
    limit: int,
) -> DataFrame:
    options = {"multiLine": "true", "columnNameOfCorruptRecord": CORRUPT}
    df = spark.read.schema(_json_schema(mapping, found)).options(**options).json(list(paths))
    values = _json_values(F.col("row"), mapping, found)
    return flagged(
        df.select(F.struct("*").alias("row"), CORRUPT, _url()), values,
        too_long=chars_of(values.values()) > limit, malformed=F.col(CORRUPT).isNotNull(),
        bad_bytes=F.lit(False), line=F.col(CORRUPT),
    )  # fmt: skip


def decoded(text: SparkColumn, encoding: str) -> SparkColumn:
    """Bytes of a one-byte encoding as text; UTF-8 as it is."""
    if codecs.lookup(encoding).name == "utf-8":
        return text
    return _recoded(F.decode(text.cast("binary"), "ISO-8859-1"), encoding)


def _recoded(text: SparkColumn, encoding: str) -> SparkColumn:
    """Text that was read as Latin-1, as what its bytes stand for."""
    upper = bytes(range(128, 256))
    return F.translate(text, upper.decode("latin-1"), upper.decode(encoding, "replace"))


# -- CSV ------------------------------------------------------------------------------------------------


def csv_layouts(
    spark: SparkSession, files: Sequence[str], settings: Input, max_row_chars: int
) -> list[Layout]:
    """Files grouped by their first line and by what it takes to split them into rows.

    Lines are rows unless a quoted field goes over several of them; only files that hold such a field are
    read by the parser that keeps these fields whole but cannot share a file between tasks.
    """
    lines = _lines(spark, files, settings)
    with ThreadPoolExecutor(8) as pool:
        heads = list(pool.map(partial(_head, spark, settings=settings, lines=SAMPLE), files))
    forms = [_form(head, file, settings) for head, file in zip(heads, files, strict=True)]
    scans = scan_files(lines, files, forms)
    groups: dict[tuple[Form, bool, bool], list[Scan]] = defaultdict(list)
    for scan, form in zip(scans, forms, strict=True):
        form = form._replace(escape=escape_of(scan, settings.escape))
        _check_quotes(scan, form)
        groups[form, scan.odd_lines(form.escape) > 0, scan.bad_bytes].append(scan)
    by_path = dict(zip(files, heads, strict=True))
    layouts = []
    for (form, multi_line, bad_bytes), members in groups.items():
        paths = [scan.path for scan in members]
        names = (*form.names, *folder_names(paths, form.names))
        own = lines if len(groups) == 1 else lines.where(F.col("url").isin([scan.url for scan in members]))
        if multi_line:
            check_swallowed(own, form, sample=by_path[paths[0]].lines)
            read = partial(_read_whole, spark, paths, encoding=settings.encoding)
        else:
            read = partial(_read_lines, own)
        read = partial(read, form=form, bad_bytes=bad_bytes, max_row_chars=max_row_chars)
        warnings = _warnings(members, form)
        layouts.append(Layout(names, shown(paths[0]), len(paths), read, _hint(form), warnings))
    return layouts


SAMPLE = 200


def _url() -> SparkColumn:
    """The file that a row stands in."""
    return F.col("_metadata.file_path").alias("url")


def _lines(spark: SparkSession, files: Sequence[str], settings: Input) -> DataFrame:
    place = [_url(), F.col("_metadata.file_block_start").alias("start")]
    text = decoded(F.col("value"), settings.encoding).alias("value")
    return spark.read.text([literal(path) for path in files]).select(text, *place)


class Head(NamedTuple):
    """The first lines of a file: those to be skipped, and those from the first that is not blank."""

    skipped: tuple[str, ...]
    lines: tuple[str, ...]


def _head(spark: SparkSession, file: str, settings: Input, *, lines: int) -> Head:
    first = _first_lines(spark, file, settings, count=settings.skip_lines + lines)
    skipped, below = first[: settings.skip_lines], first[settings.skip_lines :]
    start = next((i for i, line in enumerate(below) if line.strip()), None)
    if start is None:
        raise InputError("the file holds blank lines only", where=shown(file), fix="check --raw")
    return Head(tuple(line for line in skipped if line.strip()), tuple(below[start:]))


def _first_lines(spark: SparkSession, file: str, settings: Input, *, count: int) -> list[str]:
    """By Python where the file is plain text on this machine, else by Spark, which also unpacks."""
    if storage.is_local(file) and not file.lower().endswith(COMPRESSED):
        with storage.local(file).open(encoding=settings.encoding, errors="replace", newline=None) as text:
            return [line.rstrip("\n") for line in islice(text, count)]
    with reading():
        df = spark.read.text(literal(file)).select(decoded(F.col("value"), settings.encoding).alias("value"))
        return [str(row.value) for row in df.head(count)]


def _form(head: Head, file: str, settings: Input) -> Form:
    """How a file is written, by its first lines; `sep=;` as the first is Excel's way to say so."""
    directive = re.fullmatch(r'\ufeff?"?sep=(.)"?\r?', head.lines[0], re.I)
    header = next((line for line in head.lines[1:] if line.strip()), "") if directive else head.lines[0]
    separator = directive[1] if directive else settings.separator
    if "\0" in header or header.startswith(REPLACEMENT):
        raise InputError("not UTF-8 text (UTF-16?)", where=shown(file), fix="save the file as UTF-8")
    return Form(header, separator, '"', (*head.skipped, *(head.lines[:1] if directive else ())))


def _check_quotes(scan: Scan, form: Form) -> None:
    balance = scan.balance(form.escape)
    unbalanced = abs(balance.openers - balance.closers) > balance.either
    if balance.quotes % 2 or form.header.count('"') % 2 or unbalanced:
        raise InputError(
            f"an unclosed quote ({balance.quotes} quotes in {balance.odd_lines} lines with an odd number of them)",
            where=shown(scan.path),
            fix='close the quote; a quote inside a quoted field is doubled ("")',
        )


def _warnings(scans: Sequence[Scan], form: Form) -> tuple[str, ...]:
    repeated = sum(max(0, scan.headers - 1) for scan in scans)
    warnings = [f"{repeated} lines repeat the header: dropped"] if repeated else []
    if form.escape == BACKSLASH:
        escaped = sum(scan.escaped for scan in scans)
        warnings.append(f"{escaped} quotes are escaped by a backslash in {len(scans)} files: read so")
    return tuple(warnings)


def _hint(form: Form) -> str:
    others = {s: len(form._replace(separator=s).names) for s in ",;\t|" if s != form.separator}
    best = max(others, key=lambda s: others[s])
    if others[best] > len(form.names):
        shown_as = {"\t": "\\t"}.get(best, best)
        return f"the separator looks like '{shown_as}': --set 'input.separator=\"{shown_as}\"'"
    return (
        "the first line must name the columns; if lines stand above it: --set input.skip_lines=N "
        "(does the file have a header?)"
    )


def _csv_schema(names: Sequence[str]) -> T.StructType:
    """Fields by position, since a header may hold any characters."""
    fields = [*(f"_{index}" for index in range(len(names))), CORRUPT]
    return T.StructType([T.StructField(field, T.StringType()) for field in fields])


def _csv_options(form: Form) -> dict[str, str]:
    return {
        "sep": form.separator,
        "quote": '"',
        "escape": form.escape,
        "maxColumns": str(_MAX_FIELDS),
        "columnNameOfCorruptRecord": CORRUPT,
    }


_MAX_FIELDS = 20_480  # the parser dies of a row with more


def _read_lines(
    lines: DataFrame, mapping: Mapping[str, str], *, form: Form, bad_bytes: bool, max_row_chars: int
) -> DataFrame:
    """Every line a row, so that a large file is shared between tasks."""
    schema, options = _csv_schema(form.names).simpleString(), _csv_options(form)
    line = F.col("value")
    splits = (F.octet_length(line) < _MAX_FIELDS) | (count(line, form.separator) < _MAX_FIELDS)
    return _rows(
        lines.where((F.trim(line) != "") & ~form.is_header(line) & form.is_data(line)),
        lambda checked: F.from_csv(F.when(splits, checked), schema, options),
        lambda row: _csv_values(form, mapping, lambda place: row[place]),
        bad_bytes=~F.is_valid_utf8(line) if bad_bytes else F.lit(False),
        max_row_chars=max_row_chars,
    )


def _csv_values(
    form: Form, mapping: Mapping[str, str], field: Callable[[str], SparkColumn]
) -> dict[str, SparkColumn]:
    return {
        name: _unescaped(field(form.place(c)), form) if c in form.names else folder_value(F.col("url"), c)
        for name, c in mapping.items()
    }


def _unescaped(value: SparkColumn, form: Form) -> SparkColumn:
    """What a backslash stands before, in files that escape with it: a backslash or the end of a line."""
    if form.escape != BACKSLASH:
        return value
    plain = F.regexp_replace(value, r"\\([\\\n])", "$1")
    return F.when(value.contains("\\") & (value != "\\N"), plain).otherwise(value)


def _rows(
    lines: DataFrame,
    parse: Callable[[SparkColumn], SparkColumn],
    values: Callable[[SparkColumn], Mapping[str, SparkColumn]],
    *,
    bad_bytes: SparkColumn,
    max_row_chars: int,
) -> DataFrame:
    """Split lines into fields. A line that is too long is never parsed, so that its memory is bounded."""
    line, row = F.col("value"), F.col("row")
    too_long = longer_than(line, max_row_chars)
    return flagged(
        lines.select(line, "url", parse(F.when(~too_long, line)).alias("row")),
        values(row),
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
    form: Form,
    encoding: str,
    bad_bytes: bool,
    max_row_chars: int,
) -> DataFrame:
    """Rows of files where quoted fields go over several lines."""
    # Without column pruning the same rows are malformed whichever columns are read.
    options = {"header": "false", "multiLine": "true", "columnPruning": "false", **_csv_options(form)}
    is_utf8 = codecs.lookup(encoding).name == "utf-8"
    schema = _csv_schema(form.names)
    reader = spark.read.schema(schema).options(**options)
    df = (reader if is_utf8 else reader.option("encoding", "ISO-8859-1")).csv(
        [literal(path) for path in paths]
    )
    texts = [F.col(name) if is_utf8 else _recoded(F.col(name), encoding).alias(name) for name in df.columns]
    df = df.select(*texts, _url())
    last = schema.fieldNames()[len(form.names) - 1]
    df = df.withColumn(last, F.rtrim(last, F.lit("\r")))
    is_header = [
        F.lower(F.btrim(f"_{i}", F.lit("\ufeff \t\r"))) == n.lower() for i, n in enumerate(form.names)
    ]
    repeats = F.coalesce(F.col(CORRUPT).isNull() & all_of(is_header), F.lit(False))
    df = df.where(~repeats & F.coalesce(form.is_data(F.col(CORRUPT)), F.lit(True)))
    values = _csv_values(form, mapping, F.col)
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
