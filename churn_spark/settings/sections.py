"""All settings in one typed, immutable tree: a section each, its defaults, and the checks that span sections.

`layers` builds it from YAML, environment and command line. Unknown keys are errors.
"""

from __future__ import annotations

import codecs
import datetime as dt
import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from churn_spark.contract.columns import Column, Contract
from churn_spark.contract.history import TICKETS, HistoryPlan
from churn_spark.contract.values import EXCEL, date_format
from churn_spark.errors import ConfigError
from churn_spark.settings import checks
from churn_spark.settings.decision import Decision, Offer, amounts_of
from churn_spark.settings.history import LABEL, Events, History, Label, Tickets, with_horizon_of_label
from churn_spark.settings.locations import is_local, is_table_name
from churn_spark.settings.notes import Text
from churn_spark.settings.section import Positive, Section, Share

LOOKED_BACK = ("numeric", "categorical")  # the roles whose earlier snapshots count


class Output(Section):
    """Where the tables go, and whether others on the machine may read them."""

    path: str = "out"
    private: bool = True


class Input(Section):
    format: Literal["auto", "csv", "parquet", "json", "orc", "table"] = "auto"
    separator: Annotated[str, Field(min_length=1, max_length=1)] = ","
    escape: Literal["auto", '"', "\\"] = "auto"
    encoding: str = "utf-8"
    skip_lines: Annotated[int, Field(ge=0)] = 0
    decimal: Literal[".", ","] = "."
    thousands: Literal[",", ".", " ", "'"] | None = None
    date_format: str | None = None
    missing: tuple[str, ...] = ()

    @field_validator("encoding")
    @classmethod
    def _is_known(cls, value: str) -> str:
        try:
            is_one_byte = len(bytes(range(256)).decode(value, "replace")) == 256
        except LookupError:
            raise ValueError("not an encoding; e.g. utf-8, windows-1252, iso-8859-1") from None
        if not is_one_byte and codecs.lookup(value).name != "utf-8":
            raise ValueError(
                "only UTF-8 and encodings of one byte a character are read; save the file as UTF-8"
            )
        return value

    @model_validator(mode="after")
    def _marks_differ(self) -> Input:
        if self.thousands == self.decimal:
            raise ValueError("thousands and decimal cannot be the same mark")
        if self.date_format not in (None, EXCEL):
            date_format(self.date_format)
        return self

    def applied(self, column: Column) -> Column:
        """A column with the notation of the whole input where it has none of its own."""
        is_date = column.kind == "date"
        own = {
            "decimal": column.decimal or (self.decimal if self.decimal != "." else None),
            "thousands": column.thousands or self.thousands,
            "date_format": column.date_format or (self.date_format if is_date else None),
            "missing": (*(column.missing or ()), *self.missing) or None,
        }
        return column.model_copy(update=own)


class Validation(Section):
    max_reject_share: Share = 0.05
    min_churners: Positive = 10
    max_id_chars: Positive = 256
    max_row_chars: Positive = 16_000_000


class Features(Section):
    scale_numeric: bool = False
    max_categories: Annotated[int, Field(ge=2)] = 200
    text_dimensions: Positive | None = 1
    history: Literal["auto", "off"] | History = "auto"


class Split(Section):
    mode: Literal["auto", "hash", "time", "group_time"] = "auto"
    test: Annotated[float, Field(gt=0, le=0.9)] = 0.2
    group: str | None = None
    seed: int = 42
    horizon_days: Annotated[int, Field(ge=0)] = 30
    observed_until: dt.date | None = None
    backtest: Annotated[int, Field(ge=0)] = 3

    @model_validator(mode="before")
    @classmethod
    def _has_two_parts(cls, value: Any) -> Any:
        gone = [k for k in ("validation", "calibration") if isinstance(value, Mapping) and k in value]
        if gone:
            raise ValueError(
                f"{' and '.join(gone)} went: all rows but the test's are learnt from and, by cross-fitting, judged; "
                "leave the setting out"
            )
        return value


class Search(Section):
    """How long to look for better tree settings; 0 trials: not at all."""

    trials: Annotated[int, Field(ge=0)] = 0
    max_seconds: Annotated[float, Field(gt=0)] = 600


class Training(Section):
    num_workers: Positive | Literal["auto"] = "auto"
    n_estimators: Positive = 500
    max_depth: Annotated[int, Field(ge=1, le=30)] | None = None
    learning_rate: Annotated[float, Field(gt=0, le=1)] | None = None
    early_stopping_rounds: Positive = 20
    min_child_weight: Annotated[float, Field(ge=0)] = 1.0
    subsample: Annotated[float, Field(gt=0, le=1)] = 0.8
    colsample_bytree: Annotated[float, Field(gt=0, le=1)] = 1.0
    reg_alpha: Annotated[float, Field(ge=0)] = 0.0
    reg_lambda: Annotated[float, Field(ge=0)] | None = None
    gamma: Annotated[float, Field(ge=0)] = 0.0
    max_bin: Annotated[int, Field(ge=2)] = 256
    scale_pos_weight: Annotated[float, Field(gt=0)] = 1.0
    monotone: dict[str, Literal[-1, 0, 1]] = {}
    seed: int = 42
    search: Search = Search()
    max_attempts: Positive = 3
    timeout_seconds: Annotated[float, Field(gt=0)] = 3600
    save_format: Literal["json", "pickle", "both"] = "json"


class Leakage(Section):
    action: Literal["warn", "fail"] = "warn"
    max_auc: Annotated[float, Field(gt=0.5, le=1)] = 0.995
    warn_auc: Annotated[float, Field(gt=0.5, le=1)] = 0.9
    note_date: str | None = None
    churn_date: str | None = None
    allow: tuple[str, ...] = ()


class Promotion(Section):
    metric: Literal["log_loss", "brier", "roc_auc", "pr_auc", "profit"] = "log_loss"
    rule: Literal["newer", "better", "not_worse", "always"] = "newer"
    margin: Share = 0.02
    on_refusal: Literal["ok", "fail"] = "ok"
    min_first: Share = 0.55
    max_ece: Share | None = None


class Scoring(Section):
    reasons: Annotated[int, Field(ge=0, le=3)] = 3
    templates: dict[str, str] = {}
    quote_from: Literal["low", "medium", "high", "very_high", "none"] = "very_high"
    reuse: bool = True
    max_mean_shift: Share | None = 0.1
    base_rate: Annotated[float, Field(gt=0, lt=1)] | None = None
    include_left: bool = False
    unseen: bool = False


class Report(Section):
    quotes: bool = False


class TableSettings(Section):
    format: Literal["parquet", "delta", "iceberg"] = "parquet"
    keep_versions: Positive = 2


class SparkSettings(Section):
    app_name: str = "churn_spark"
    conf: dict[str, str] = {}

    @field_validator("conf", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        return {k: str(v).lower() if isinstance(v, bool) else str(v) for k, v in (value or {}).items()}


class Config(Section):
    """The merged settings of one run."""

    raw: str
    output: Output
    models: str | None = None
    columns: dict[str, Column]
    events: dict[str, Events] = {}
    tickets: Tickets | None = None
    snapshots: Literal["monthly"] | None = None
    label: Label = Label()
    input: Input = Input()
    validation: Validation = Validation()
    text: Text = Text()
    features: Features = Features()
    split: Split = Split()
    training: Training = Training()
    leakage: Leakage = Leakage()
    decision: Decision = Decision()
    offers: tuple[Offer, ...] = ()
    currency: Annotated[str, Field(min_length=1, max_length=10)] | None = None
    promotion: Promotion = Promotion()
    scoring: Scoring = Scoring()
    report: Report = Report()
    tables: TableSettings = TableSettings()
    spark: SparkSettings = SparkSettings()

    @field_validator("output", mode="before", json_schema_input_type=str | Output)
    @classmethod
    def _output_in_a_word(cls, value: Any) -> Any:
        return {"path": value} if isinstance(value, str) else value

    @field_validator("leakage", mode="before")
    @classmethod
    def _leakage_in_a_word(cls, value: Any) -> Any:
        return {"action": value} if isinstance(value, str) else value

    @field_validator("events", mode="before")
    @classmethod
    def _one_table_of_events(cls, value: Any) -> Any:
        of_one = isinstance(value, Mapping) and set(value) & set(Events.model_fields)
        return {"events": value} if of_one else value

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
        checks.roles_are_held_once(self.columns)
        checks.names_are_free(self.columns)
        checks.sources_are_read_once(self.columns)
        checks.is_a_group(self.split.group, self.columns)
        checks.are_texts(self.text.columns, self.contract)
        checks.constraints_are_of_numbers(self.training.monotone, self.columns)
        checks.are_dates(
            {"note_date": self.leakage.note_date, "churn_date": self.leakage.churn_date}, self.columns
        )
        return self

    @model_validator(mode="after")
    def _history_fits_the_columns(self) -> Config:
        chosen = self.features.history.columns or () if isinstance(self.features.history, History) else ()
        strangers = [n for n in chosen if n not in self.columns or self.columns[n].role not in LOOKED_BACK]
        if strangers:
            raise ValueError(f"features.history.columns: {strangers} are no numeric or categorical columns")
        twice = sorted({*self.columns, *self.event_tables} & {c.name for c in self.contract.derived})
        twice += sorted(set(self.columns) & set(self.event_tables)) if not self.snapshots else []
        if twice:
            raise ValueError(f"columns: {twice} are names of history's own columns; rename them with `from:`")
        return self

    @model_validator(mode="before")
    @classmethod
    def _a_made_label_has_its_own_horizon(cls, value: Any) -> Any:
        return with_horizon_of_label(value) if isinstance(value, Mapping) else value

    @model_validator(mode="after")
    def _a_date_is_a_label_of_snapshots(self) -> Config:
        if self.label.date:
            checks.is_a_label_of_snapshots(self.label.date, self.contract, is_made=self.snapshots is not None)
        return self

    @model_validator(mode="after")
    def _a_panel_is_made_of_events(self) -> Config:
        if self.snapshots and (not self.events or self.contract.snapshot is None):
            raise ValueError("snapshots: needs a table of events, and a column with role snapshot to fill")
        return self

    @model_validator(mode="after")
    def _iceberg_has_a_catalog(self) -> Config:
        if self.tables.format == "iceberg" and not is_table_name(self.output.path):
            raise ValueError("tables.format: iceberg needs a catalog; give output as catalog.schema")
        return self

    @model_validator(mode="after")
    def _terms_are_of_columns(self) -> Config:
        checks.names_differ(offer.name for offer in self.offers)
        checks.are_amounts(amounts_of(self.decision, self.offers), self.columns)
        for offer in self.offers:
            checks.are_told_apart({c: who.among is None for c, who in offer.who.items()}, self.columns)
        return self

    @property
    def contract(self) -> Contract:
        own = self.input.applied
        as_written = Input().applied if self.snapshots else own  # a panel that is made is written by us
        columns = list(self.columns.values())
        if self.label.date and not any(c.role == "label" for c in columns):
            columns.append(Column(name=LABEL, role="label", description="whether the customer left"))
        key = next((c.name for c in columns if c.role == "id"), "")
        tables = {name: tuple(map(own, table.declared(key))) for name, table in self.event_tables.items()}
        return Contract(tuple(map(as_written, columns)), self._history_plan, self.split.group, tables)

    @property
    def label_horizon(self) -> int | None:
        """Within how many days of a snapshot a customer leaves, as the label means it; None without snapshots."""
        return self.split.horizon_days if self.contract.snapshot else None

    @property
    def made_horizon(self) -> int | None:
        """The horizon of a label that is made of events; None for another one."""
        return self.label.horizon_days if self.snapshots else None

    @property
    def event_tables(self) -> dict[str, Events]:
        """The tables of dated events by name, tickets among them."""
        return {**self.events, **({TICKETS: self.tickets} if self.tickets else {})}

    @property
    def _history_plan(self) -> HistoryPlan:
        columns = self.columns.values()
        dates = tuple(c.name for c in columns if c.role == "date" and c.name != self.label.date)
        events = tuple(table.plan(name) for name, table in self.event_tables.items())
        history = self.features.history
        if history == "off" or not any(c.role == "snapshot" for c in columns):
            return HistoryPlan(dates=dates, events=events)
        wanted = history if isinstance(history, History) else History()
        looked = [c for c in columns if wanted.columns is None or c.name in wanted.columns]
        numeric, categorical = (tuple(c.name for c in looked if c.role == role) for role in LOOKED_BACK)
        return HistoryPlan(numeric, categorical, wanted.windows, dates, events, wanted.beyond_last)

    @property
    def models_path(self) -> str:
        if self.models:
            return self.models
        if is_table_name(self.output.path):
            raise ConfigError(
                "output is a catalog schema, so a folder for model packages must be named",
                where="models",
                fix="pass --models PATH, e.g. a Volume",
            )
        return f"{self.output.path.rstrip('/')}/models"

    @property
    def folder(self) -> str:
        """Where run folders and the text cache go: the output folder, or `models`' parent for a catalog."""
        if is_table_name(self.output.path):
            return self.models_path.rstrip("/").rpartition("/")[0]
        return self.output.path.rstrip("/")

    @property
    def text_cache(self) -> str:
        """The folder of the text cache."""
        return self.text.cache or f"{self.folder}/churn_notes"

    @property
    def needs_hadoop(self) -> bool:
        """Whether a place is on a file system that only Hadoop opens, by a session."""
        return not all(map(is_local, (self.folder, self.models_path, self.text_cache)))

    def fingerprint(self) -> str:
        """A hash of every setting, for `run.json`."""
        text = json.dumps(self.model_dump(mode="json", by_alias=True), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a settings file, as editors use it."""
    schema = Config.model_json_schema(by_alias=True)
    schema.pop("required", None)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
