"""What settings may not hold, and the words for a setting that does not fit: no secret, no value repeated."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard, get_args

from pydantic import BaseModel, ValidationError

from churn_spark.errors import ConfigError

_SECRET_KEYS = re.compile(r"secret|passw(or)?d|token$|(api|access|account)[._-]?key(?!_env)", re.I)
_SECRET_VALUES = re.compile(
    r"(sk-[A-Za-z0-9_-]{12,}|dapi[0-9a-f]{16,}|ghp_[A-Za-z0-9]{20,}|AKIA[A-Z0-9]{12,}"
    r"|eyJ[A-Za-z0-9_-]{20,}|://[^/\s:]+:[^/\s@]+@)"
)


def refuse_secrets(tree: Any, name: str, path: str = "") -> None:
    """Raise ConfigError for a setting that looks like a secret; `name` is the layer it stands in."""
    for key, value in tree.items() if isinstance(tree, Mapping) else ():
        here = f"{path}.{key}" if path else str(key)
        if isinstance(value, Mapping):
            refuse_secrets(value, name, here)
            continue
        texts = [v for v in (value if isinstance(value, list) else [value]) if isinstance(v, str)]
        named = not here.startswith("columns.") and _SECRET_KEYS.search(here)
        if any(named or _SECRET_VALUES.search(text) for text in texts):
            raise ConfigError(
                f"{here} looks like a secret, and settings are logged",
                where=name,
                fix="put it into an environment variable and name that: api_key_env: OPENAI_API_KEY",
            )


def explain(problem: ValidationError, origin: Mapping[str, str], *, model: type[BaseModel]) -> ConfigError:
    """The first problem in words; pydantic's own text would quote the value."""
    error = problem.errors(include_url=False, include_input=False, include_context=False)[0]
    path = [str(p) for p in error["loc"] if not str(p).startswith("function-")]
    key = ".".join(path)
    where = f"{key} ({origin[key]})" if key in origin else key
    if error["type"] != "extra_forbidden":
        return ConfigError(error["msg"].removeprefix("Value error, "), where=where)
    keys = _keys_at(model, path[:-1])
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
