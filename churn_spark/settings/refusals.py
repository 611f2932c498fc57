"""What settings may not hold, and the words for a setting that does not fit: no secret, no value repeated."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeGuard, get_args

from pydantic import BaseModel, ValidationError

from churn_spark.errors import ConfigError

_SECRET_KEYS = re.compile(r"secret|passw(or)?d|token$|(api|access|account)[._-]?key(?!_env)", re.I)
_SECRET_VALUES = re.compile(
    r"(sk-[A-Za-z0-9_-]{12,}|dapi[0-9a-f]{16,}|ghp_[A-Za-z0-9]{20,}|AKIA[A-Z0-9]{12,}"
    r"|eyJ[A-Za-z0-9_-]{20,}|://[^/\s:]+:[^/\s@]+@"
    r"|(?i:passwo?r?d|pwd|secret|token|(api|access|account)[._-]?key|sig)([._-][\w.-]*)?\s*=\s*[^\s;&{]{3,})"
)
_OPTION = re.compile(r"(--[\w-]+=|)(.*)", re.S)
# Spark settings that lose rows, or change values, without a word: each with the only value accepted.
_SAFE = {
    "spark.sql.files.ignorecorruptfiles": "false",
    "spark.sql.files.ignoremissingfiles": "false",
    "spark.files.ignorecorruptfiles": "false",
    "spark.files.ignoremissingfiles": "false",
    "spark.sql.session.timezone": "utc",
    "spark.sql.casesensitive": "false",
    "spark.sql.parquet.outputtimestamptype": "timestamp_micros",
    "spark.hadoop.parquet.page.verify-checksum.enabled": "true",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
}


def is_secret(text: str) -> bool:
    """Whether a text holds what looks like a secret: a token of a known form, or a password in a URL."""
    return bool(_SECRET_VALUES.search(text))


def without_secret(argument: str) -> str:
    """An argument of the command line as it may be kept: what looks like a secret is `***`, its key stays."""
    option, rest = _OPTION.fullmatch(argument).groups()  # type: ignore[union-attr]  # it matches any text
    key, equals, _ = rest.partition("=")
    if not is_secret(argument) and not (equals and _names_secret(key)):
        return argument
    return f"{option}{key}=***" if equals and not is_secret(key) else f"{option}***"


def _names_secret(key: str) -> bool:
    return not key.startswith("columns.") and bool(_SECRET_KEYS.search(key))


def refuse_secrets(tree: Mapping[str, Any], name: str) -> None:
    """Raise ConfigError for a setting that looks like a secret; `name` is the layer it stands in."""
    for key, text in _texts(tree):
        if _names_secret(key) or is_secret(text):
            raise ConfigError(
                f"{key} looks like a secret, and settings are logged",
                where=name,
                fix="put it into an environment variable and name that: api_key_env: OPENAI_API_KEY",
            )


def refuse_unsafe(conf: Mapping[str, str]) -> None:
    """Raise ConfigError for a Spark property that would lose rows or change values without a word."""
    for key, value in conf.items():
        safe = _SAFE.get(key.lower())
        if safe not in (None, value.strip().lower()):
            raise ConfigError(
                f"{key} would lose or change rows without a word",
                where=f"spark.conf.{key}",
                fix="leave it out",
            )


def _texts(tree: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Every text in a tree of settings, with its dotted key."""
    if isinstance(tree, str):
        yield path, tree
    elif isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from _texts(value, f"{path}.{key}" if path else str(key))
    elif isinstance(tree, list | tuple):
        for value in tree:
            yield from _texts(value, path)


def explain(problem: ValidationError, origin: Mapping[str, str], *, model: type[BaseModel]) -> ConfigError:
    """The first problem in words; pydantic's own text would quote the value."""
    error = problem.errors(include_url=False, include_input=False, include_context=False)[0]
    path = [str(p) for p in error["loc"] if not str(p).startswith("function-")]
    key = ".".join(path)
    where = f"{key} ({origin[key]})" if key in origin else key
    if error["type"] != "extra_forbidden":
        return ConfigError(error["msg"].removeprefix("Value error, "), where=where)
    keys = _keys_at(model, path[:-1])
    if path[-1] in model.model_fields:
        return ConfigError(f"unknown setting {key}", where=where, fix=f"did you mean {path[-1]}?")
    close = difflib.get_close_matches(path[-1], keys, n=1)
    hint = f"did you mean {'.'.join([*path[:-1], close[0]])}?" if close else f"known: {', '.join(keys)}"
    return ConfigError(f"unknown setting {key}", where=where, fix=hint)


def _keys_at(model: type[BaseModel], path: Sequence[str]) -> list[str]:
    """The keys that a section accepts; of a mapping of sections, the name in the path is skipped."""
    keys = iter(path)
    for key in keys:
        annotation = model.model_fields[key].annotation if key in model.model_fields else None
        parts = [p for p in (annotation, *get_args(annotation)) if _is_section(p)]
        if not parts:
            return []
        if parts[0] is not annotation:
            next(keys, None)
        model = parts[0]
    return [f.alias or name for name, f in model.model_fields.items() if not f.exclude]


def _is_section(annotation: Any) -> TypeGuard[type[BaseModel]]:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
