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
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from churn_spark import config
from churn_spark.columns import RESERVED, Column, Contract
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
        if settings.format == "table" or (settings.format == "auto" and config.is_table_name(location)):
            files, kind = {}, "table"
            layouts = [_typed_layout(_table(spark, location), location, 1, max_row_chars)]
        else:
            files = _list_files(spark, location)
            kind = settings.format if settings.format != "auto" else _format(files, location)
            layouts = {
                "csv": partial(_csv_layouts, separator=settings.separator),
                "json": _json_layouts,
                "parquet": partial(_typed_layouts, kind="parquet"),
                "orc": partial(_typed_layouts, kind="orc"),
            }[kind](spark, list(files), location, max_row_chars=max_row_chars)
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
        found = "no file matches this pattern" if re.search(r"[*?\[{]", location) else "no such file or folder"
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
    return unquote(re.sub(r"^file:/*", "/", path))


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


def _typed_layouts(
    spark: SparkSession, files: Sequence[str], location: str, *, kind: str, max_row_chars: int
) -> list[_Layout]:
    """Files grouped by their schema: one part may have `age` as int, another as long, a third not at all."""
    reader = spark.read.format(kind).option("parquet.page.verify-checksum.enabled", "true")
    if any("=" in path.rpartition("/")[0].rpartition("/")[2] for path in files) and "*" not in location:
        reader = reader.option("basePath", _literal(location))  # keeps the columns that folders stand for
    with ThreadPoolExecutor(8) as pool:
        schemas = list(pool.map(lambda path: _schema_of(spark, kind, path, reader), files))
    groups: dict[str, list[int]] = defaultdict(list)
    for index, schema in enumerate(schemas):
        groups[schema.json()].append(index)
    layouts = []
    for indexes in groups.values():
        paths = [_literal(files[i]) for i in indexes]
        df = reader.schema(schemas[indexes[0]]).load(paths)
        layouts.append(_typed_layout(df, _shown(files[indexes[0]]), len(paths), max_row_chars))
    return layouts
