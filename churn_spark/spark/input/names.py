"""The columns that a source has by name, and where their values lie: in a struct, or in the name of a folder."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from pyspark.sql import Column as SparkColumn
from pyspark.sql import functions as F
from pyspark.sql import types as T

from churn_spark.spark.input.files import quoted

NO_VALUE = "__HIVE_DEFAULT_PARTITION__"  # the folder of rows that have none
_PLAIN = (T.NumericType, T.StringType, T.BooleanType, T.DatetimeType, T.BinaryType)


class Place(NamedTuple):
    """Where a column's values lie in a row, and their type."""

    path: tuple[str, ...]
    type: T.DataType

    @property
    def is_number(self) -> bool:
        return isinstance(self.type, T.NumericType)

    @property
    def is_plain(self) -> bool:
        return isinstance(self.type, _PLAIN)

    def of(self, row: SparkColumn) -> SparkColumn:
        """The value inside a struct."""
        for part in self.path:
            row = row[part]
        return row

    @property
    def column(self) -> SparkColumn:
        """The value as a column of a DataFrame."""
        return Place(self.path[1:], self.type).of(F.col(quoted(self.path[0])))


def places(schema: T.StructType) -> dict[str, Place]:
    """Every column, and what stands inside structs as `a.b`; a column that is itself called `a.b` comes first."""
    found: dict[str, Place] = {}
    for place in _walk(schema, ()):
        name = ".".join(place.path)
        if name not in found or len(place.path) < len(found[name].path):
            found[name] = place
    return found


def _walk(schema: T.StructType, path: tuple[str, ...]) -> Iterator[Place]:
    for field in schema:
        yield Place((*path, field.name), field.dataType)
        if isinstance(field.dataType, T.StructType):
            yield from _walk(field.dataType, (*path, field.name))


def as_strings(paths: Iterable[tuple[str, ...]]) -> T.StructType:
    """The schema by which a JSON reader gives strings at these places."""
    below: dict[str, list[tuple[str, ...]]] = defaultdict(list)
    for top, *rest in paths:
        below[top].append(tuple(rest))
    return T.StructType(
        [
            T.StructField(top, as_strings(rests) if all(rests) else T.StringType())
            for top, rests in below.items()
        ]
    )


def folder_names(paths: Iterable[str], others: Iterable[str]) -> tuple[str, ...]:
    """The columns in the names of files' folders (`plan=007`) that are none of the files' own."""
    own = {name.lower() for name in others}
    keys = dict.fromkeys(key for path in paths for key in re.findall(r"/([^/=]+)=[^/]*(?=/)", path))
    return tuple(key for key in keys if key.lower() not in own)


def folder_value(url: SparkColumn, name: str) -> SparkColumn:
    """The exact text that a file's folder is named for; null where it has no such folder, or that of no value."""
    value = F.regexp_extract(_unescaped(url), rf"/\Q{name}\E=([^/]*)/", 1)
    return F.when(~value.isin("", NO_VALUE), _unescaped(value))


def _unescaped(text: SparkColumn) -> SparkColumn:
    return F.coalesce(F.try_url_decode(F.replace(text, F.lit("+"), F.lit("%2B"))), text)
