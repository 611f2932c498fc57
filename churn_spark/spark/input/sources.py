"""Read a raw table: the declared columns, by name, as strings that lose nothing of what the files hold.

Files of one format may differ in their columns, their order and their types, so they are read one layout at
a time and brought together as strings; `validation` alone decides what a string means. What only a reader
can see about a row, it leaves in `_row_error`: `malformed_row`, `row_too_long` or `bad_encoding`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial, reduce
from urllib.parse import unquote

import pandas as pd
from pyspark.errors import AnalysisException
from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame, DataFrameReader, SparkSession, Window
from pyspark.sql import functions as F
from pyspark.sql import types as T

from churn_spark.contract.columns import RESERVED, Contract
from churn_spark.contract.ids import EXACT_BELOW, PREFIX
from churn_spark.contract.rules import CONTENT
from churn_spark.errors import InputError
from churn_spark.settings.locations import is_table_name
from churn_spark.settings.sections import Input
from churn_spark.spark.input.files import (
    CORRUPT,
    ROW_ERROR,
    Layout,
    any_of,
    chars_of,
    flagged,
    format_of,
    list_files,
    literal,
    nanosecond_columns,
    quoted,
    reading,
    shown,
)
from churn_spark.spark.input.lines import csv_layouts, json_layouts
from churn_spark.spark.input.names import Place, places

MAX_ROW_CHARS = 16_000_000


@dataclass(frozen=True)
class RawTable:
    """A raw table as read: `df` has the used columns as strings, `_row_error` and `_corrupt_record`."""

    df: DataFrame
    format: str
    files: int
    bytes: int
    warnings: tuple[str, ...]


def read_raw(
    spark: SparkSession,
    location: str,
    *,
    contract: Contract,
    settings: Input,
    need_label: bool,
    max_row_chars: int = MAX_ROW_CHARS,
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
        kind, files, layouts = _layouts(spark, location, settings, max_row_chars)
        mappings = [_mapping(layout, contract) for layout in layouts]
        warnings = _check_columns(layouts, mappings, contract, need_label=need_label)
        frames = [
            _complete(_as_declared(layout.read(mapping), layout, mapping, contract), contract)
            for layout, mapping in zip(layouts, mappings, strict=True)
        ]
    df = reduce(DataFrame.unionByName, frames)
    if contract.id.generated:
        df = _with_row_ids(df, contract)
    return RawTable(df, kind, len(files), sum(files.values()), warnings)


def read_undeclared(spark: SparkSession, location: str, *, settings: Input, rows: int) -> pd.DataFrame:
    """Some `rows` rows from all over a table that has no contract yet: every plain column, as strings."""
    with reading():
        _, _, layouts = _layouts(spark, location, settings, MAX_ROW_CHARS)
        names = list(dict.fromkeys(name for layout in layouts for name in layout.names if name.strip()))
        nested = frozenset().union(*(layout.nested for layout in layouts))
        plain = [n for n in names if n not in nested]
        places = {f"c{i}": name for i, name in enumerate(plain)}
        frames = [
            layout.read({place: name for place, name in places.items() if name in layout.names})
            for layout in layouts
        ]
        df = reduce(lambda a, b: a.unionByName(b, allowMissingColumns=True), frames)
        df = df.where(F.col(ROW_ERROR).isNull()).select(*places)
        step = max(1, df.count() // rows)
        sample = df.where(F.pmod(F.xxhash64(*places), F.lit(step)) == 0).limit(rows)
        return sample.toPandas().rename(columns=places)


def _layouts(
    spark: SparkSession, location: str, settings: Input, max_row_chars: int
) -> tuple[str, Mapping[str, int], list[Layout]]:
    """The kind of a table, its files with their sizes, and how to read each group of them."""
    kind: str = settings.format
    if kind == "auto" and is_table_name(location):
        kind = "table"
    files = {} if kind == "table" else list_files(spark, location)
    kind = format_of(files, location) if kind == "auto" else kind
    if kind == "table":
        layouts = [_typed_layout(_table(spark, location), location, 1, max_row_chars)]
    elif kind == "csv":
        layouts = csv_layouts(spark, list(files), settings, max_row_chars)
    elif kind == "json":
        layouts = json_layouts(spark, list(files), settings, max_row_chars)
    else:
        layouts = _typed_layouts(spark, list(files), kind, max_row_chars)
    return kind, files, layouts


def _with_row_ids(df: DataFrame, contract: Contract) -> DataFrame:
    """Make the id from a row's content, as `contract.ids.row_id` does; rows of one content are numbered."""
    content = [F.coalesce(F.col(quoted(c.name)), F.lit("")) for c in contract.used if c.role in CONTENT]
    digest = F.left(F.sha2(F.concat_ws("\x1f", *content), 256), F.lit(16))
    order = F.col(quoted(contract.label.name)) if contract.label else F.lit(0)
    name = contract.id.name
    place = F.row_number().over(Window.partitionBy(quoted(name)).orderBy(order))
    is_row = F.col(ROW_ERROR).isNull() | (F.col(ROW_ERROR) == "bad_encoding")
    df = df.withColumn(name, F.when(is_row, F.concat(F.lit(PREFIX), digest))).withColumn("_place", place)
    numbered = F.concat_ws("-", quoted(name), F.when(F.col("_place") > 1, F.col("_place")))
    return df.withColumn(name, F.when(is_row, numbered)).drop("_place")


# -- files ----------------------------------------------------------------------------------------------


def _table(spark: SparkSession, name: str) -> DataFrame:
    if not is_table_name(name):
        raise InputError("not a table name", where=name, fix="use schema.table or catalog.schema.table")
    try:
        return spark.table(name)
    except AnalysisException as problem:
        if "NOT_FOUND" not in str(problem):
            raise
        raise InputError("no such table in the catalog", where=name, fix="check --raw") from None


# -- columns --------------------------------------------------------------------------------------------


def _mapping(layout: Layout, contract: Contract) -> dict[str, str]:
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
    nested = sorted(name for name in mapping.values() if name in layout.nested)
    if nested:
        inside = [name for name in layout.names if name.startswith(tuple(f"{n}." for n in nested))]
        raise InputError(
            f"columns that hold no plain values: {_listed(nested)}",
            where=layout.file,
            fix=f"name what stands inside: `from:` {_listed(inside)}"
            if inside
            else "leave them out, or write them as text",
        )
    reserved = sorted(set(names) & set(RESERVED))
    if reserved:
        raise InputError(f"reserved column names: {_listed(reserved)}", where=layout.file, fix="rename them")
    return mapping


def _check_columns(
    layouts: Sequence[Layout],
    mappings: Sequence[Mapping[str, str]],
    contract: Contract,
    *,
    need_label: bool,
) -> tuple[str, ...]:
    """Refuse what cannot do without a column; say in words what can."""
    warnings = [warning for layout in layouts for warning in layout.warnings]
    label = contract.label.name if contract.label and not need_label else None
    present = {name for mapping in mappings for name in mapping}
    missing = [c for c in contract.used if c.name not in present and c.name != label and not c.generated]
    if missing:
        raise InputError(
            f"required columns missing: {_listed(c.raw_name for c in missing)}; "
            f"present: {_listed(layouts[0].names)}",
            where=layouts[0].file,
            fix="add them, name their source (`from:`), drop them from `columns` with `name: null`, or let "
            "`churn-spark init` propose the columns of this table",
        )
    for column in contract.used:
        lacking = [lay for lay, m in zip(layouts, mappings, strict=True) if column.name not in m]
        if not lacking or column.name == label or column.generated:
            continue
        if column.required or column.role in ("id", "snapshot", "label"):
            raise InputError(
                f"required column missing in some files: {column.raw_name}", where=lacking[0].file
            )
        count, total = sum(lay.files for lay in lacking), sum(lay.files for lay in layouts)
        warnings.append(f"{column.raw_name} is missing in {count} of {total} files: no values there")
    known = {c.raw_name.lower() for c in contract.columns}
    names = {name.strip().lower(): name.strip() for layout in layouts for name in layout.names}
    read = known.union(*map(_around, known))
    extra = [name for key, name in names.items() if key not in read and not _around(key) & names.keys()]
    if extra:
        warnings.append(f"{len(extra)} columns not in the contract, not read: {_listed(extra)}")
    return tuple(warnings)


def _around(name: str) -> set[str]:
    """The structs around `a.b.c`: `a` and `a.b`."""
    return {name[: dot.start()] for dot in re.finditer(r"\.", name)}


def _listed(names: Iterable[str], most: int = 20) -> str:
    every = list(names)
    return ", ".join(every[:most]) + (f" and {len(every) - most} more" if len(every) > most else "")


def _as_declared(df: DataFrame, layout: Layout, mapping: Mapping[str, str], contract: Contract) -> DataFrame:
    """Write what the source knows to be numbers with the decimal mark that its column is declared with."""
    commas = [c for c in contract.used if c.kind in ("double", "bigint") and c.notation.decimal == ","]
    known = [c.name for c in commas if mapping.get(c.name) in layout.numbers]
    return df.withColumns({name: F.translate(quoted(name), ".", ",") for name in known}) if known else df


def _complete(df: DataFrame, contract: Contract) -> DataFrame:
    """Put the used columns in declared order, with nulls for those that are not there."""
    null, found = F.lit(None).cast("string"), set(df.columns)
    values = [F.col(quoted(c.name)) if c.name in found else null.alias(c.name) for c in contract.used]
    return df.select(*values, ROW_ERROR, CORRUPT)


# -- typed sources: Parquet, ORC, tables ------------------------------------------------------------------


def _typed_layouts(spark: SparkSession, files: Sequence[str], kind: str, max_row_chars: int) -> list[Layout]:
    """Files grouped by their schema: one part may have `age` as int, another as long, a third not at all."""
    with ThreadPoolExecutor(8) as pool:
        schemas = list(pool.map(partial(_schema, spark, kind=kind), files))
    groups: dict[str, list[int]] = defaultdict(list)
    for index, schema in enumerate(schemas):
        groups[schema.json()].append(index)
    layouts = []
    for first, *more in groups.values():
        paths = [literal(files[i]) for i in (first, *more)]
        df = _reader(spark, kind, files[first]).schema(schemas[first]).load(paths)
        layouts.append(
            _typed_layout(_with_moments(df, schemas[first]), shown(files[first]), len(paths), max_row_chars)
        )
    return layouts


def _schema(spark: SparkSession, path: str, *, kind: str) -> T.StructType:
    """A file's columns; the values in its folders' names are text, whatever they look like."""
    try:
        with reading():
            fields = _reader(spark, kind, path).load(literal(path)).schema.fields
    except AnalysisException as problem:
        what = "a column stands twice" if "COLUMN_ALREADY_EXISTS" in str(problem) else f"not a {kind} file"
        raise InputError(what, where=shown(path), fix="write the file again") from None
    in_folders = set(re.findall(r"/([^/=]+)=[^/]*(?=/)", unquote(path)))
    nanos = nanosecond_columns(spark, path) if kind == "parquet" and _has_longs(fields) else ()
    return T.StructType(
        [
            T.StructField(f.name, T.StringType()) if f.name in in_folders
            else T.StructField(f.name, f.dataType, metadata={NANOSECONDS: True}) if f.name in nanos
            else f
            for f in fields
        ]
    )  # fmt: skip


NANOSECONDS = "nanoseconds"


def _has_longs(fields: Iterable[T.StructField]) -> bool:
    return any(isinstance(field.dataType, T.LongType) for field in fields)


def _reader(spark: SparkSession, kind: str, path: str) -> DataFrameReader:
    reader = spark.read.format(kind).option("parquet.page.verify-checksum.enabled", "true")
    partitioned = re.match(r"(.*?)/[^/=]+=[^/]*/", path)
    return reader.option("basePath", partitioned[1]) if partitioned else reader


def _with_moments(df: DataFrame, schema: T.StructType) -> DataFrame:
    """Turn nanoseconds, which Spark reads as numbers only, into timestamps."""
    names = [f.name for f in schema if f.metadata.get(NANOSECONDS)]
    return (
        df.withColumns({n: F.timestamp_micros(F.floor(F.col(quoted(n)) / 1000)) for n in names})
        if names
        else df
    )


def _typed_layout(df: DataFrame, file: str, files: int, max_row_chars: int) -> Layout:
    found = places(df.schema)
    return Layout(
        tuple(found), file, files, partial(_strings, df, found, max_row_chars=max_row_chars),
        numbers=frozenset(name for name, place in found.items() if place.is_number),
        nested=frozenset(name for name, place in found.items() if not place.is_plain),
    )  # fmt: skip


def _strings(
    df: DataFrame, found: Mapping[str, Place], mapping: Mapping[str, str], *, max_row_chars: int
) -> DataFrame:
    """The mapped columns as strings."""
    df = df.select(*[_as_string(found[place]).alias(name) for name, place in mapping.items()])
    names = [F.col(quoted(name)) for name in mapping]
    return flagged(
        df,
        {name: F.make_valid_utf8(quoted(name)) for name in mapping},
        too_long=chars_of(names) > max_row_chars,
        malformed=F.lit(False),
        bad_bytes=any_of(F.coalesce(~F.is_valid_utf8(value), F.lit(False)) for value in names),
        line=F.lit(None).cast("string"),
    )


def _as_string(place: Place) -> SparkColumn:
    column, kind = place.column, place.type
    if isinstance(kind, T.FloatType | T.DoubleType):
        number = column.cast("double")  # 7.0 and 1.0E7 are whole: a null turned many an int column to double
        whole = (number == F.floor(number)) & (F.abs(number) < EXACT_BELOW)
        return F.when(whole, number.cast("bigint").cast("string")).otherwise(number.cast("string"))
    if isinstance(kind, T.DecimalType) and kind.scale > 0:
        return F.regexp_replace(column.cast("string"), r"\.0+$", "")
    if isinstance(kind, T.TimestampType | T.TimestampNTZType):
        midnight = column == F.date_trunc("day", column)
        return F.when(midnight, column.cast("date").cast("string")).otherwise(column.cast("string"))
    return column.cast("string")
