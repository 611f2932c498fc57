"""All settings in one typed, immutable tree, built from layers that each say where a value came from.

Later layers win: `conf/base.yaml`, `--config` files, `CHURN_SPARK__A__B` variables, `--set a.b=value` and
the named options of the command line. Unknown keys are errors. A secret is never a value, only the name of
the environment variable that holds it.
"""

from __future__ import annotations

import datetime as dt
import difflib
import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from churn_spark.contract import published as schemas
from churn_spark.contract.columns import INNER, RESERVED, Column, Contract
from churn_spark.errors import ConfigError

ENV_PREFIX = "CHURN_SPARK__"
BASE = "base.yaml"
FILE_ENDINGS = ("csv", "parquet", "json", "jsonl", "ndjson", "orc", "gz", "bz2", "zst", "txt", "tsv")

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(ge=1)]
Money = Annotated[float, Field(ge=0)]
EnvName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Input(_Section):
    format: Literal["auto", "csv", "parquet", "json", "orc", "table"] = "auto"
    separator: Annotated[str, Field(min_length=1, max_length=1)] = ","


class Validation(_Section):
    max_reject_share: Share = 0.05
    min_churners: Positive = 10
    max_id_chars: Positive = 256
    max_row_chars: Positive = 16_000_000


class Remote(_Section):
    """Limits of one remote endpoint; the whole run shares them."""

    base_url: str | None = None
    api_key_env: EnvName = "OPENAI_API_KEY"
    requests_per_minute: Annotated[float, Field(gt=0)] = 600
    concurrency: Positive = 4
    partitions: Positive = 1
    timeout_seconds: Annotated[float, Field(gt=0)] = 30
    max_attempts: Positive = 5
    max_calls: Positive | None = None
    max_tokens: Positive | None = None
    max_seconds: Annotated[float, Field(gt=0)] | None = None
    price_per_million_tokens: Annotated[float, Field(ge=0)] | None = None


class Summarizer(_Section):
    name: Literal["extractive", "transformers", "openai"] = "extractive"
    max_sentences: Positive = 3
    min_chars: Annotated[int, Field(ge=0)] = 200
    max_chars: Positive = 600
    model: str | None = None
    max_new_tokens: Positive = 80
    remote: Remote = Remote()


class Embedder(_Section):
    name: Literal["sentence-transformers", "static", "openai"] = "sentence-transformers"
    model: str = "all-MiniLM-L6-v2"
    precision: Literal["auto", "float32", "int8"] = "auto"
    batch_size: Positive = 64
    batch_tokens: Positive = 1024
    device: Literal["auto", "cpu", "cuda"] = "auto"
    dimension: Positive | None = None
    remote: Remote = Remote()


class NoteSettings(_Section):
    """What becomes of the notes of one text column."""

    redact: bool = True
    source: Literal["summary", "note"] = "summary"
    max_chars: Positive = 100_000
    summarizer: Summarizer = Summarizer()
    embedder: Embedder = Embedder()


class Text(NoteSettings):
    """The settings of all text columns; `columns` holds those of a column that has its own."""

    columns: dict[str, NoteSettings] = {}
    cache: str | None = None
    chunk_tokens: Positive = 500_000
    max_error_share: Share = 0.02

    @model_validator(mode="before")
    @classmethod
    def _columns_inherit(cls, value: Any) -> Any:
        """A column's settings say only what differs."""
        if not isinstance(value, Mapping) or not isinstance(value.get("columns"), Mapping):
            return value
        common = {name: value[name] for name in NoteSettings.model_fields if name in value}
        own = {n: _overlaid(common, v) if isinstance(v, Mapping) else v for n, v in value["columns"].items()}
        return {**value, "columns": own}

    def of(self, column: str) -> NoteSettings:
        """The settings of one text column."""
        common = {name: getattr(self, name) for name in NoteSettings.model_fields}
        return self.columns.get(column) or NoteSettings(**common)


def _overlaid(base: Any, over: Any) -> Any:
    """A tree of settings with another one laid over it."""
    if not isinstance(base, Mapping) or not isinstance(over, Mapping):
        return over
    return {**base, **{key: _overlaid(base.get(key), value) for key, value in over.items()}}


class Features(_Section):
    scale_numeric: bool = False
    max_categories: Annotated[int, Field(ge=2)] = 200
    text_dimensions: Positive | None = 1


class Split(_Section):
    mode: Literal["auto", "hash", "time", "group_time"] = "auto"
    validation: Annotated[float, Field(gt=0, lt=1)] = 0.15
    calibration: Annotated[float, Field(gt=0, lt=1)] = 0.15
    test: Annotated[float, Field(gt=0, lt=1)] = 0.2
    seed: int = 42
    horizon_days: Annotated[int, Field(ge=0)] = 30
    observed_until: dt.date | None = None
    backtest: Annotated[int, Field(ge=0)] = 3

    @model_validator(mode="after")
    def _leaves_training_rows(self) -> Split:
        if self.validation + self.calibration + self.test >= 0.95:
            raise ValueError("validation, calibration and test leave less than 5 % of the rows for training")
        return self


class Search(_Section):
    """How long to look for better tree settings; 0 trials: not at all."""

    trials: Annotated[int, Field(ge=0)] = 0
    max_seconds: Annotated[float, Field(gt=0)] = 600
    max_rows: Annotated[int, Field(ge=100)] = 20_000


class Training(_Section):
    num_workers: Positive | Literal["auto"] = "auto"
    n_estimators: Positive = 500
    max_depth: Annotated[int, Field(ge=1, le=30)] = 2
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 0.1
    early_stopping_rounds: Positive = 20
    min_child_weight: Annotated[float, Field(ge=0)] = 1.0
    subsample: Annotated[float, Field(gt=0, le=1)] = 0.8
    colsample_bytree: Annotated[float, Field(gt=0, le=1)] = 1.0
    reg_alpha: Annotated[float, Field(ge=0)] = 0.0
    reg_lambda: Annotated[float, Field(ge=0)] = 10.0
    gamma: Annotated[float, Field(ge=0)] = 0.0
    max_bin: Annotated[int, Field(ge=2)] = 256
    scale_pos_weight: Annotated[float, Field(gt=0)] = 1.0
    monotone: dict[str, Literal[-1, 0, 1]] = {}
    seed: int = 42
    search: Search = Search()
    max_attempts: Positive = 3
    timeout_seconds: Annotated[float, Field(gt=0)] = 3600
    save_format: Literal["json", "pickle", "both"] = "json"


class Leakage(_Section):
    action: Literal["warn", "fail"] = "warn"
    max_auc: Annotated[float, Field(gt=0.5, le=1)] = 0.995
    warn_auc: Annotated[float, Field(gt=0.5, le=1)] = 0.9
    note_date: str | None = None
    churn_date: str | None = None
    allow: tuple[str, ...] = ()


class Decision(_Section):
    contact_cost: Money = 1.0
    offer_cost: Money = 10.0
    accept_rate: Share = 0.3
    customer_value: Money | str = 200.0
    capacity: Positive | None = None
    holdout_share: Annotated[float, Field(ge=0, lt=1)] = 0.0


class Promotion(_Section):
    metric: Literal["log_loss", "brier", "roc_auc", "pr_auc", "profit"] = "log_loss"
    rule: Literal["better", "not_worse", "always"] = "better"
    min_first: Share = 0.55
    max_ece: Share = 0.05


class Scoring(_Section):
    reasons: Annotated[int, Field(ge=0, le=3)] = 3
    templates: dict[str, str] = {}
    quote_from: Literal["low", "medium", "high", "very_high", "none"] = "very_high"
    reuse: bool = True
    max_mean_shift: Share | None = 0.1
    base_rate: Annotated[float, Field(gt=0, lt=1)] | None = None
    include_left: bool = False


class TableSettings(_Section):
    format: Literal["parquet", "delta", "iceberg"] = "parquet"
    keep_versions: Positive = 2


class SparkSettings(_Section):
    app_name: str = "churn_spark"
    conf: dict[str, str] = {}

    @field_validator("conf", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        return {k: str(v).lower() if isinstance(v, bool) else str(v) for k, v in (value or {}).items()}


class Config(_Section):
    """The merged settings of one run."""

    raw: str
    output: str
    models: str | None = None
    columns: dict[str, Column]
    input: Input = Input()
    validation: Validation = Validation()
    text: Text = Text()
    features: Features = Features()
    split: Split = Split()
    training: Training = Training()
    leakage: Leakage = Leakage()
    decision: Decision = Decision()
    promotion: Promotion = Promotion()
    scoring: Scoring = Scoring()
    tables: TableSettings = TableSettings()
    spark: SparkSettings = SparkSettings()

    @field_validator("leakage", mode="before")
    @classmethod
    def _leakage_in_a_word(cls, value: Any) -> Any:
        return {"action": value} if isinstance(value, str) else value

    @field_validator("columns", mode="before")
    @classmethod
    def _columns_know_their_names(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            raise ValueError("must map column names to {role: ...}")
        return {
            name: {**spec, "name": name} if isinstance(spec, Mapping) else spec
            for name, spec in value.items()
        }

    @model_validator(mode="after")
    def _columns_fit_together(self) -> Config:
        roles = [c.role for c in self.columns.values()]
        for role, least in (("id", 1), ("label", 0), ("snapshot", 0)):
            if not least <= roles.count(role) <= 1:  # type: ignore[arg-type]
                names = [c.name for c in self.columns.values() if c.role == role]
                raise ValueError(f"columns: exactly one column has role {role}, found {names or 'none'}")
        ours = {f.name for f in (*schemas.KEYS, *schemas.SCORES, *schemas.LINEAGE)} - {"customer_id"}
        taken = [n for n in self.columns if n.lower() in (*RESERVED, *INNER, *ours) or "." in n]
        taken += [n for n, c in self.columns.items() if n == "label" and c.role != "label"]
        if taken:
            raise ValueError(f"columns: {taken} are reserved names or hold a dot; rename them with `from:`")
        sources = [c.raw_name.lower() for c in self.columns.values()]
        twice = sorted({s for s in sources if sources.count(s) > 1})
        if twice:
            raise ValueError(f"columns: two columns read the same source {twice}")
        if self.tables.format == "iceberg" and not is_table_name(self.output):
            raise ValueError("tables.format: iceberg needs a catalog; give output as catalog.schema")
        strangers = sorted(set(self.text.columns) - {c.name for c in self.contract.texts})
        if strangers:
            raise ValueError(f"text.columns: {strangers} are no columns with role text")
        value = self.decision.customer_value
        if isinstance(value, str) and (value not in self.columns or self.columns[value].role != "numeric"):
            raise ValueError("decision.customer_value: neither a number nor a numeric column")
        numeric = [n for n, c in self.columns.items() if c.role == "numeric"]
        for name in sorted(set(self.training.monotone) - set(numeric)):
            close = difflib.get_close_matches(name, numeric, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise ValueError(f"training.monotone.{name}: not a numeric column{hint}")
        for key, date in (("note_date", self.leakage.note_date), ("churn_date", self.leakage.churn_date)):
            if date is not None and (date not in self.columns or self.columns[date].kind != "date"):
                raise ValueError(f"leakage.{key}: not a declared column of type date")
        return self

    @property
    def contract(self) -> Contract:
        return Contract(tuple(self.columns.values()))

    @property
    def models_path(self) -> str:
        if self.models:
            return self.models
        if is_table_name(self.output):
            raise ConfigError(
                "output is a catalog schema, so a folder for model packages must be named",
                where="models",
                fix="pass --models PATH, e.g. a Volume",
            )
        return f"{self.output.rstrip('/')}/models"

    @property
    def folder(self) -> str:
        """Where run folders and the text cache go: the output folder, or `models`' parent for a catalog."""
        if is_table_name(self.output):
            return self.models_path.rstrip("/").rpartition("/")[0]
        return self.output.rstrip("/")

    @property
    def text_cache(self) -> str:
        """The folder of the text cache."""
        return self.text.cache or f"{self.folder}/churn_notes"

    def fingerprint(self) -> str:
        """A hash of every setting, for `run.json`."""
        text = json.dumps(self.model_dump(mode="json", by_alias=True), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


# -- layers ---------------------------------------------------------------------------------------------


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
        raise _explain(problem, origin) from None
    check_locations(config)
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
    for layer, name in layers:
        _refuse_secrets(layer, name)
        _replace_columns(tree, layer, origin)
        _merge(tree, layer, name, origin, ())
    return tree, origin


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


class _Loader(yaml.SafeLoader):
    """Safe YAML without aliases (nothing to blow up) and without repeated keys (nothing lost silently)."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not accepted")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        keys = [self.construct_object(k, deep=True) for k, _ in node.value]
        twice = sorted({str(k) for k in keys if keys.count(k) > 1})
        if twice:
            raise yaml.YAMLError(f"the key {twice[0]!r} stands twice")
        return super().construct_mapping(node, deep)


def _parse(text: str, name: str) -> dict[str, Any]:
    try:
        tree = yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, RecursionError) as problem:
        mark = getattr(problem, "problem_mark", None)
        reason = getattr(problem, "problem", None) or str(problem).splitlines()[0]
        where = f"{name}, line {mark.line + 1}" if mark else name
        raise ConfigError(f"not a plain YAML file: {reason}", where=where) from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError("a layer must be a mapping of settings", where=name)
    return tree


def _environment(environ: Mapping[str, str]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name in sorted(environ):
        if name.startswith(ENV_PREFIX):
            path = name.removeprefix(ENV_PREFIX).lower().split("__")
            _merge(tree, _nested(path, _typed(environ[name], name)), name, {}, ())
    return tree


def _setting(text: str) -> dict[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError("expected a.b=value", where=f"--set {key}")
    return _nested(_key_path(key.strip()), _typed(value, f"--set {key}"))


def _key_path(key: str) -> list[str]:
    """A dotted key's parts; what stands below spark.conf is one name, dots and all."""
    if key.startswith("spark.conf."):
        return ["spark", "conf", key.removeprefix("spark.conf.")]
    return key.split(".")


def _typed(text: str, name: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError:
        raise ConfigError("the value is not valid YAML", where=name) from None


def _nested(path: Sequence[str], value: Any) -> dict[str, Any]:
    for key in reversed(path):
        value = {key: value}
    return value  # type: ignore[no-any-return]


def _replace_columns(tree: dict[str, Any], layer: Mapping[str, Any], origin: dict[str, str]) -> None:
    """A layer that declares an id column describes a whole table: drop the inherited columns."""
    columns = layer.get("columns")
    if not isinstance(columns, Mapping):
        return
    if any(isinstance(spec, Mapping) and spec.get("role") == "id" for spec in columns.values()):
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


# -- refusals -------------------------------------------------------------------------------------------

_SECRET_KEYS = re.compile(r"secret|passw(or)?d|token$|(api|access|account)[._-]?key(?!_env)", re.I)
_SECRET_VALUES = re.compile(
    r"(sk-[A-Za-z0-9_-]{12,}|dapi[0-9a-f]{16,}|ghp_[A-Za-z0-9]{20,}|AKIA[A-Z0-9]{12,}"
    r"|eyJ[A-Za-z0-9_-]{20,}|://[^/\s:]+:[^/\s@]+@)"
)


def _refuse_secrets(tree: Any, name: str, path: str = "") -> None:
    for key, value in tree.items() if isinstance(tree, Mapping) else ():
        here = f"{path}.{key}" if path else str(key)
        if isinstance(value, Mapping):
            _refuse_secrets(value, name, here)
            continue
        texts = [v for v in (value if isinstance(value, list) else [value]) if isinstance(v, str)]
        named = not here.startswith("columns.") and _SECRET_KEYS.search(here)
        if any(named or _SECRET_VALUES.search(text) for text in texts):
            raise ConfigError(
                f"{here} looks like a secret, and settings are logged",
                where=name,
                fix="put it into an environment variable and name that: api_key_env: OPENAI_API_KEY",
            )


def _explain(problem: ValidationError, origin: Mapping[str, str]) -> ConfigError:
    """The first problem in words; pydantic's own text would quote the value."""
    error = problem.errors(include_url=False, include_input=False, include_context=False)[0]
    path = [str(p) for p in error["loc"] if not str(p).startswith("function-")]
    key = ".".join(path)
    where = f"{key} ({origin[key]})" if key in origin else key
    if error["type"] != "extra_forbidden":
        return ConfigError(error["msg"].removeprefix("Value error, "), where=where)
    known = _known_keys(path[:-1])
    close = difflib.get_close_matches(path[-1], known, n=1)
    hint = f"did you mean {'.'.join([*path[:-1], close[0]])}?" if close else f"known: {', '.join(known)}"
    return ConfigError(f"unknown setting {key}", where=where, fix=hint)


def _known_keys(path: Sequence[str]) -> list[str]:
    model: type[BaseModel] = Config
    keys = iter(path)
    for key in keys:
        if model is Config and key == "columns":
            return [f.alias or n for n, f in Column.model_fields.items() if n != "name"]
        if model is Text and key == "columns":
            model = NoteSettings
            next(keys, None)  # the column's name
            continue
        inner = model.model_fields[key].annotation if key in model.model_fields else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return []
        model = inner
    return list(model.model_fields)


_IDENTIFIER = r"[A-Za-z_][A-Za-z0-9_]*"


def is_table_name(location: str) -> bool:
    """Whether a location is a catalog name (`schema.table`, `catalog.schema.table`), not a path."""
    if "/" in location or location.rpartition(".")[2].lower() in FILE_ENDINGS:
        return False
    return bool(re.fullmatch(rf"{_IDENTIFIER}(\.{_IDENTIFIER}){{1,2}}", location))


def check_locations(config: Config) -> None:
    """Refuse locations that are neither path nor table name, that climb, or that overlap. Pure text."""
    for key, value in (("raw", config.raw), ("output", config.output), ("models", config.models or "out")):
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
    for key, value in (("output", config.output), ("models", config.models or "")):
        if ".." in Path(value).parts:
            raise ConfigError("the location climbs out with '..'", where=key, fix="name the folder directly")
    if is_table_name(config.raw) or is_table_name(config.output):
        if config.raw == config.output:
            raise ConfigError("output is the input", where="output", fix="name another place")
        return
    raw, output = _absolute(config.raw), _absolute(config.output)
    if raw == output or raw in output.parents or output in raw.parents:
        raise ConfigError(
            "output and input overlap: a run would read what it writes",
            where=f"output {config.output}, raw {config.raw}",
            fix="put the output into a folder of its own",
        )


def _absolute(location: str) -> Path:
    plain = re.sub(r"^file:/*", "/", location)
    return Path(plain) if "://" in plain or ":/" in plain else Path(os.path.abspath(plain)).resolve()


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a settings file, as editors use it."""
    schema = Config.model_json_schema(by_alias=True)
    schema.pop("required", None)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
