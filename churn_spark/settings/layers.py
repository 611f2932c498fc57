"""The layers that settings come from, each value with the layer that gave it.

Later layers win: `conf/base.yaml`, `--config` files, `CHURN_SPARK__A__B` variables, `--set a.b=value` and the
named options of the command line. A secret is never a value, only the name of the environment variable that
holds it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from churn_spark.errors import ConfigError
from churn_spark.settings.locations import check_locations
from churn_spark.settings.plain_yaml import parse
from churn_spark.settings.refusals import explain, refuse_secrets, refuse_unsafe
from churn_spark.settings.sections import Config

ENV_PREFIX = "CHURN_SPARK__"
BASE = "base.yaml"
IN_A_WORD = {
    "output": "path",
    "leakage": "action",
}  # a section that may be given as one word, and what that is


def load_config(
    paths: Iterable[str] = (), *, settings: Iterable[str] = (), options: Mapping[str, Any] | None = None
) -> Config:
    """Merge the layers and check the result.

    `paths` are YAML layers, `settings` are `a.b=value` strings, `options` maps dotted keys to values (the
    named options of the command line). Raises ConfigError.
    """
    merged, origin = merge_layers(paths, settings=settings, options=options or {})
    return build_config(merged, origin)


def build_config(merged: Mapping[str, Any], origin: Mapping[str, str]) -> Config:
    """Check a merged tree. `origin` says which layer gave each dotted key, for the error messages."""
    try:
        config = Config.model_validate(merged)
    except ValidationError as problem:
        raise explain(problem, origin, model=Config) from None
    refuse_unsafe(config.spark.conf)
    check_locations(raw=config.raw, output=config.output.path, models=config.models)
    return config


def merge_layers(
    paths: Iterable[str], *, settings: Iterable[str], options: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the merged tree and, for every leaf's dotted key, the layer it came from."""
    tree: dict[str, Any] = {}
    origin: dict[str, str] = {}
    layers = [(_parse((conf_folder() / BASE).read_text(encoding="utf-8"), BASE), f"conf/{BASE}")]
    layers += [(_parse(*read_layer(path)), str(path)) for path in paths]
    layers += [(_environment(os.environ), "environment")]
    layers += [(_setting(text), f"--set {text.partition('=')[0]}") for text in settings]
    layers += [(_nested(key.split("."), value), "command line") for key, value in options.items()]
    for layer, name in ((_in_full(layer), name) for layer, name in layers):
        refuse_secrets(layer, name)
        _replace_columns(tree, layer, origin)
        _merge(tree, layer, name, origin, ())
    return tree, origin


def _in_full(layer: Mapping[str, Any]) -> dict[str, Any]:
    """A layer whose sections given in a word are mappings, so that they do not take all of the section's place."""
    return {
        section: {IN_A_WORD[section]: value} if section in IN_A_WORD and isinstance(value, str) else value
        for section, value in layer.items()
    }


def conf_folder() -> Path:
    """The folder `conf`: beside this package in a clone, inside it in an installed wheel."""
    package = Path(__file__).resolve().parents[1]
    for place in (package / "conf", package.parent / "conf"):
        if (place / BASE).is_file():
            return place
    raise ConfigError(
        f"conf/{BASE} is not part of this installation", fix="reinstall churn-spark, or run from a clone"
    )


def read_layer(path: str) -> tuple[str, str]:
    """Find a layer by path, in the working directory, among spark-submit's --files, or in the package."""
    tried = []
    for place in (Path(path), *(Path(d) / Path(path).name for d in _files_dirs())):
        tried.append(str(place))
        if place.is_file():
            try:
                return place.read_text(encoding="utf-8"), path
            except (OSError, UnicodeDecodeError) as problem:
                raise ConfigError(
                    f"cannot be read as UTF-8 text ({type(problem).__name__})", where=path
                ) from None
    raise ConfigError(
        f"configuration layer not found; tried {', '.join(tried)}",
        where=f"--config {path}",
        fix="name a YAML file that exists; in cluster mode ship it with --files",
    )


def _files_dirs() -> Sequence[str]:
    return (os.getcwd(), *filter(None, [os.environ.get("SPARK_FILES_DIR")]))


def _parse(text: str, name: str) -> dict[str, Any]:
    tree = parse(text, where=name)
    if not isinstance(tree, dict | None):
        raise ConfigError("a layer must be a mapping of settings", where=name)
    return tree or {}


def _environment(environ: Mapping[str, str]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name in sorted(environ):
        if name.startswith(ENV_PREFIX):
            path = name.removeprefix(ENV_PREFIX).lower().split("__")
            _merge(tree, _nested(path, parse(environ[name], where=name, key=path[-1])), name, {}, ())
    return tree


def _setting(text: str) -> dict[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError("expected a.b=value", where=f"--set {key}")
    path = _key_path(key.strip())
    return _nested(path, parse(value, where=f"--set {key}", key=path[-1]))


def _key_path(key: str) -> list[str]:
    """A dotted key's parts; what stands below spark.conf is one name, dots and all."""
    if key.startswith("spark.conf."):
        return ["spark", "conf", key.removeprefix("spark.conf.")]
    return key.split(".")


def _nested(path: Sequence[str], value: Any) -> dict[str, Any]:
    for key in reversed(path):
        value = {key: value}
    return value  # type: ignore[no-any-return]


def _replace_columns(tree: dict[str, Any], layer: Mapping[str, Any], origin: dict[str, str]) -> None:
    """A layer that declares an id, or a label among others, describes a whole table: drop the inherited columns."""
    columns = layer.get("columns")
    if not isinstance(columns, Mapping):
        return
    roles = [spec.get("role") for spec in columns.values() if isinstance(spec, Mapping)]
    if "id" in roles or ("label" in roles and len(roles) > 1):
        tree["columns"] = {}
        for key in [k for k in origin if k.startswith("columns.")]:
            del origin[key]


def _merge(
    tree: dict[str, Any], layer: Mapping[str, Any], name: str, origin: dict[str, str], path: tuple[str, ...]
) -> None:
    for key, value in layer.items():
        here = (*path, str(key))
        if isinstance(value, Mapping):
            if not isinstance(tree.get(str(key)), dict):
                tree[str(key)] = {}
            _merge(tree[str(key)], value, name, origin, here)
        elif value is None and path == ("columns",):
            tree.pop(str(key), None)
        else:
            tree[str(key)] = value
            origin[".".join(here)] = name
