"""Where tables and models may be: paths or catalog names, told apart and checked as text, before any work."""

from __future__ import annotations

import glob
import locale
import os
import re
from pathlib import Path

from churn_spark.errors import ConfigError, InputError

FILE_ENDINGS = ("csv", "parquet", "json", "jsonl", "ndjson", "orc", "gz", "bz2", "zst", "txt", "tsv")

_IDENTIFIER = r"[A-Za-z_][A-Za-z0-9_]*"


def is_table_name(location: str) -> bool:
    """Whether a location is a catalog name (`schema.table`, `catalog.schema.table`), not a path."""
    if "/" in location or location.rpartition(".")[2].lower() in FILE_ENDINGS:
        return False
    return bool(re.fullmatch(rf"{_IDENTIFIER}(\.{_IDENTIFIER}){{1,2}}", location))


def is_local(path: str) -> bool:
    """Whether Python itself can open the path (a plain path, a mounted Volume, file:)."""
    return "://" not in path and not re.match(r"^(dbfs|s3a?|hdfs|abfss?|gs):", path)


def check_locations(*, raw: str, output: str, models: str | None) -> None:
    """Refuse locations that are neither path nor table name, that climb, or that overlap. Pure text.

    Raises ConfigError.
    """
    for key, value in (("raw", raw), ("output", output), ("models", models or "out")):
        _check_form(key, value)
    for key, value in (("output", output), ("models", models or "")):
        if ".." in Path(value).parts:
            raise ConfigError("the location climbs out with '..'", where=key, fix="name the folder directly")
    _check_apart(raw, output)


def _check_form(key: str, value: str) -> None:
    if not value or "{{" in value:
        raise ConfigError(
            "the location is empty or holds an unresolved {{ }} placeholder",
            where=key,
            fix="pass the resolved value",
        )
    odd = re.search(r"[\s;'\"`]", value) and "/" not in value
    if odd and value.rpartition(".")[2].lower() not in FILE_ENDINGS:
        raise ConfigError(
            "neither a path nor a table name (letters, digits and _ in up to three dotted parts)",
            where=key,
        )


def _check_apart(raw: str, output: str) -> None:
    if is_table_name(raw) or is_table_name(output):
        if raw == output:
            raise ConfigError("output is the input", where="output", fix="name another place")
        return
    source, target = absolute(raw), absolute(output)
    if source == target or source in target.parents or target in source.parents:
        raise ConfigError(
            "output and input overlap: a run would read what it writes",
            where=f"output {output}, raw {raw}",
            fix="put the output into a folder of its own",
        )


def check_there(raw: str, *, form: str = "auto") -> None:
    """Raise InputError for a local input that is not there, before Spark starts."""
    plain = re.sub(r"^file:/*", "/", raw)
    if form == "table" or is_table_name(raw) or ":/" in plain or _has_other_root():
        return
    is_pattern = re.search(r"[*?\[{]", plain)
    if not Path(plain).exists() and not (is_pattern and ("{" in plain or glob.glob(plain))):
        what = "no file matches this pattern" if is_pattern else "no such file or folder"
        raise InputError(what, where=raw, fix="check --raw; a relative path starts here")


def check_names(*locations: str) -> None:
    """Raise ConfigError for a name that the Java process, which runs already, cannot spell."""
    is_running = "PYSPARK_GATEWAY_PORT" in os.environ
    if is_running and locale.nl_langinfo(locale.CODESET) != "UTF-8":
        for location in locations:
            if not location.isascii():
                raise ConfigError(
                    "a name with letters beyond ASCII, in a locale that is not UTF-8",
                    where=location,
                    fix="export LC_ALL=C.UTF-8, then run again; ./spark-submit.sh does that by itself",
                )


def _has_other_root() -> bool:
    """Whether Hadoop's settings may make a plain path one of HDFS."""
    return bool({"HADOOP_CONF_DIR", "YARN_CONF_DIR"} & set(os.environ))


def absolute(location: str) -> Path:
    """A location as a path without its `file:`, links resolved where it is local."""
    plain = re.sub(r"^file:/*", "/", location)
    return Path(plain) if "://" in plain or ":/" in plain else Path(os.path.abspath(plain)).resolve()
