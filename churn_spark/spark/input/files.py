"""The files of a raw table: which there are, what readers make of a row, a failed read in words."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from urllib.parse import unquote

import pyarrow.parquet as pq
from py4j.protocol import Py4JJavaError
from pyspark.errors import AnalysisException, PySparkException
from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from churn_spark.errors import InputError
from churn_spark.spark import storage
from churn_spark.spark.classic import parquet_schema
from churn_spark.spark.failures import explain_read_failure

CORRUPT, ROW_ERROR = "_corrupt_record", "_row_error"
KEPT_CHARS = 10_000  # of a value or line that was refused
REPLACEMENT = "\ufffd"  # what bytes that are not UTF-8 become


_ENDINGS = {
    "csv": "csv", "tsv": "csv", "txt": "csv", "json": "json", "jsonl": "json", "ndjson": "json",
    "parquet": "parquet", "orc": "orc",
}  # fmt: skip
COMPRESSED = (".gz", ".bz2", ".zst", ".snappy", ".lz4", ".deflate")


def list_files(spark: SparkSession, location: str) -> dict[str, int]:
    """The files at a location with their sizes in bytes, by URL; none of them is opened."""
    check_complete(location)
    place = Path(shown(location))
    is_here = storage.is_local(location) and place.exists()
    files = _local_files(place) if is_here else _spark_files(spark, location)
    empty = [shown(path) for path, size in files.items() if not size]
    if not files:
        raise InputError("the folder holds no files", where=location, fix="check --raw")
    if empty:
        raise InputError(
            f"{len(empty)} of {len(files)} files hold 0 bytes",
            where=empty[0],
            fix="write the file again, or remove it if nothing belongs there",
        )
    return files


def _local_files(place: Path) -> dict[str, int]:
    """What Spark would read of a file or folder on this machine."""
    return {f"file:{path.absolute()}": path.stat().st_size for path in sorted(_seen(place))}


def _seen(place: Path) -> Iterator[Path]:
    """The file itself, or those in a folder without what Spark takes for hidden or half written."""
    if place.is_file():
        yield place
        return
    for entry in place.iterdir():
        if not re.match(r"\.|_(?!.*=)|.*\._COPYING_$", entry.name):
            yield from _seen(entry)


def _spark_files(spark: SparkSession, location: str) -> dict[str, int]:
    try:
        listing = spark.read.format("binaryFile").load(location).select("path", "length")
    except AnalysisException as problem:
        if "PATH_NOT_FOUND" not in str(problem):
            raise
        found = (
            "no file matches this pattern" if re.search(r"[*?\[{]", location) else "no such file or folder"
        )
        raise InputError(found, where=location, fix="check --raw; a relative path starts here") from None
    files = {row.path: row.length for row in listing.collect()}
    known = {shown(path) for path in files}
    empty = {name for url in listing.inputFiles() if (name := shown(unquote(url))) not in known}
    return dict(
        sorted({**files, **dict.fromkeys(empty, 0)}.items())
    )  # a scan passes over them without a word


def nanosecond_columns(spark: SparkSession, path: str) -> tuple[str, ...]:
    """The columns of a Parquet file that hold nanoseconds, as pandas writes moments; Spark sees numbers only."""
    if storage.is_local(path):
        schema = pq.ParquetFile(storage.local(path)).schema
        columns = [schema.column(number) for number in range(len(schema))]
        return tuple(c.path for c in columns if "nanoseconds" in str(c.logical_type))
    return tuple(re.findall(r"int64 (.+?) \(TIMESTAMP\(NANOS,", parquet_schema(spark, path)))


def check_complete(location: str) -> None:
    """Refuse a folder that a writer is still at work on, or that is a table of a format with a log of its own."""
    for folder in dict.fromkeys((location, re.sub(r"/[^/]*[*?\[{].*", "", location))):
        entries = storage.names(folder)
        for entry, table_format in TABLE_FORMATS.items():
            if entry in entries and (entry != "metadata" or "data" in entries):
                raise InputError(
                    f"the folder is a {table_format} table; its files hold rows that are no longer part of it",
                    where=folder,
                    fix=f"give its name in the catalog: --raw catalog.schema.table, with {table_format}'s JARs",
                )
        at_work = [e for e in entries if e == "_temporary" or e.startswith("_started")]
        if at_work and not any(e == "_SUCCESS" or e.startswith("_committed") for e in entries):
            raise InputError(
                f"the folder is not complete: it holds {at_work[0]} and no _SUCCESS, as while a job writes it",
                where=folder,
                fix="wait for the writer to end; remove what a killed writer left, and write the folder again",
            )


TABLE_FORMATS = {"_delta_log": "Delta", "metadata": "Iceberg", ".hoodie": "Hudi"}


def literal(path: str) -> str:
    return re.sub(r"([*?\[\]{}\\])", r"\\\1", path)


def shown(path: str) -> str:
    return re.sub(r"^file:/*", "/", path)


def format_of(files: Iterable[str], location: str) -> str:
    kinds = set()
    for path in files:
        name = path.lower()
        while name.endswith(COMPRESSED):
            name = name.rpartition(".")[0]
        kinds.add(_ENDINGS.get(name.rpartition(".")[2], "unknown"))
    strange = next((words for path in files if (words := _unreadable(path))), None)
    if strange:
        raise InputError(strange[0], where=location, fix=strange[1])
    if len(kinds) > 1 or kinds == {"unknown"}:
        raise InputError(
            f"the format cannot be told from the files' endings (found: {', '.join(sorted(kinds))})",
            where=location,
            fix="name one format: --set input.format=csv (or parquet, json, orc)",
        )
    return kinds.pop()


def _unreadable(path: str) -> tuple[str, str] | None:
    """What a file is whose ending says that it is none of ours, and what to do."""
    ending = path.lower().rpartition(".")[2]
    if ending in ("xlsx", "xls", "xlsm", "xlsb", "ods", "numbers"):
        return "a workbook cannot be read", "save the sheet as CSV (UTF-8): every value stands there as text"
    if ending in ("zip", "7z", "rar", "tar", "tgz"):
        return "an archive cannot be read", "unpack it; a single file may be packed as .gz, .bz2 or .zst"
    if ending in (
        "avro",
        "feather",
        "arrow",
        "pkl",
        "pickle",
        "sav",
        "sas7bdat",
        "dta",
        "rds",
        "db",
        "sqlite",
        "xml",
    ):
        return f"files of this kind cannot be read (.{ending})", "write the table as Parquet or CSV"
    return None


@dataclass(frozen=True)
class Layout:
    """Files with the same columns: the names found, and how to read some of them (declared -> found).

    `numbers` are those that the source itself knows to be numbers, `nested` those that hold no plain values.
    """

    names: tuple[str, ...]
    file: str
    files: int
    read: Callable[[Mapping[str, str]], DataFrame]
    hint: str = "check that this is the right input"
    warnings: tuple[str, ...] = ()
    numbers: frozenset[str] = frozenset()
    nested: frozenset[str] = frozenset()


def flagged(
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
        *[F.when(~refused, value).alias(name) for name, value in values.items()],
        row_error.alias(ROW_ERROR),
        F.when(refused, F.make_valid_utf8(F.left(line, F.lit(KEPT_CHARS)))).alias(CORRUPT),
    )


def quoted(name: str) -> str:
    """A column's name as a reference, whatever its characters."""
    return "`" + name.replace("`", "``") + "`"


def longer_than(text: SparkColumn, chars: int) -> SparkColumn:
    """Whether a text has more characters; most texts are told by their bytes alone, without counting."""
    return F.when(F.octet_length(text) > chars, F.length(text) > chars).otherwise(False)


def chars_of(values: Iterable[SparkColumn]) -> SparkColumn:
    return reduce(lambda a, b: a + b, [F.coalesce(F.length(value), F.lit(0)) for value in values])


def all_of(conditions: Iterable[SparkColumn]) -> SparkColumn:
    return reduce(lambda a, b: a & b, conditions, F.lit(True))


def any_of(conditions: Iterable[SparkColumn]) -> SparkColumn:
    return reduce(lambda a, b: a | b, conditions)


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
