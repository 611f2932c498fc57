"""The table contract: what a raw customer table must look like, column by column.

One declaration serves three readers: `validation` turns it into Spark expressions, `check_record` applies
it to one Python record, and the schemas of the tables are derived from it. The names of the columns that jobs
derive from declared ones stand here too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from churn_spark.contract.history import HistoryPlan
from churn_spark.contract.values import EXCEL, FALSE, PARSERS, TRUE, Notation, Type, date_format

SPLITS = ("learn", "test")
Role = Literal[
    "id", "snapshot", "label", "numeric", "categorical", "date", "text", "group", "passthrough", "ignore"
]

DEFAULT_TYPES: dict[str, Type] = {
    "id": "string", "snapshot": "date", "date": "date", "label": "boolean", "numeric": "double",
    "categorical": "string", "text": "string", "group": "string", "passthrough": "string", "ignore": "string",
}  # fmt: skip

RESERVED = ("_errors", "_warnings", "_corrupt_record", "_row_error", "score_date")
INNER = ("split", "_fold", "_unseen", "margin", "features")  # names of the jobs' own columns
NO_HISTORY = HistoryPlan()


class Column(BaseModel):
    """One declared column: its role, where it comes from and the rules its values keep."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    role: Role = Field(description="what the column is for")
    name: str = Field("", description="set from the key it is declared under", exclude=True)
    source: str | None = Field(None, alias="from", description="its name in the raw table, if another")
    type: Type | None = Field(None, description="its type; each role has a default")
    min: float | None = Field(None, description="smallest value accepted")
    max: float | None = Field(None, description="largest value accepted")
    allowed: tuple[str, ...] | None = Field(None, description="the only values accepted")
    required: bool = Field(False, description="a missing value rejects the row")
    pattern: str | None = Field(None, description="regular expression the whole value must match")
    description: str | None = Field(
        None, description="comment on the column in every table, and its name in reasons"
    )
    unit: str | None = Field(
        None, description="unit of its values, which may stand beside them, and does in reasons"
    )
    generated: bool = Field(False, description="an id made from the row's content, where no column is one")
    decimal: Literal[".", ","] | None = Field(None, description="decimal mark, if not that of `input`")
    thousands: Literal[",", ".", " ", "'", "none"] | None = Field(None, description="mark between thousands")
    date_format: str | None = Field(None, description="e.g. dd.MM.yyyy, or excel for Excel's days")
    true_values: tuple[str, ...] | None = Field(None, description="words for yes")
    false_values: tuple[str, ...] | None = Field(None, description="words for no")
    positive: str | None = Field(None, description="the one word for yes; every other word is no")
    missing: tuple[str, ...] | None = Field(None, description="words for a missing value, besides the usual")

    @field_validator("allowed", "true_values", "false_values", "missing", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        return tuple(map(_word, value)) if isinstance(value, list | tuple) else value

    @field_validator("positive", mode="before")
    @classmethod
    def _as_word(cls, value: Any) -> Any:
        return value if value is None else _word(value)

    @field_validator("date_format")
    @classmethod
    def _is_a_date_format(cls, value: str | None) -> str | None:
        if value not in (None, EXCEL):
            date_format(value)
        return value

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                re.compile(value)
            except re.error as problem:
                raise ValueError(f"is not a regular expression: {problem}") from None
            if re.search(r"\(\?(P|\()", value):
                raise ValueError("named groups and conditions are not read alike by Python and Spark")
        return value

    @model_validator(mode="after")
    def _rules_fit(self) -> Column:
        if self.role == "numeric" and self.type not in (None, "double", "bigint"):
            raise ValueError(f"type {self.type} does not fit role numeric (double or bigint)")
        if self.role in ("id", "categorical", "text", "group") and self.type not in (None, "string"):
            raise ValueError(f"role {self.role} is always a string")
        if self.role == "date" and self.type not in (None, "date"):
            raise ValueError("role date is always a date")
        if self.role == "label" and self.type not in (None, "boolean"):
            raise ValueError("role label is always boolean (0/1, true/false, yes/no)")
        if (self.min is not None or self.max is not None) and self.kind not in ("double", "bigint"):
            raise ValueError("min and max need a numeric type")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}")
        if self.generated and self.role != "id":
            raise ValueError("generated is for the column with role id")
        if self.thousands is not None and self.thousands == (self.decimal or "."):
            raise ValueError("thousands and decimal cannot be the same mark")
        if self.allowed and None in self.allowed_values:
            raise ValueError(f"allowed: a value that no {self.kind} can have")
        return self

    @property
    def kind(self) -> Type:
        """The column's type, declared or by role."""
        return self.type or DEFAULT_TYPES[self.role]

    @property
    def raw_name(self) -> str:
        """The column's name in the raw table."""
        return self.source or self.name

    @property
    def allowed_values(self) -> tuple[Any, ...]:
        """The allowed values in the column's type."""
        return tuple(PARSERS[self.kind](text, Notation())[0] for text in self.allowed or ())

    @property
    def notation(self) -> Notation:
        """How the source writes the column's values."""
        return Notation(
            decimal=self.decimal or ".",
            thousands=None if self.thousands == "none" else self.thousands,
            date_format=self.date_format,
            true_values=TRUE if self.true_values is None else self.true_values,
            false_values=FALSE if self.false_values is None else self.false_values,
            positive=self.positive,
            missing=self.missing or (),
            unit=self.unit,
        )


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


@dataclass(frozen=True)
class Contract:
    """The declared columns, in order, and the few questions everybody asks of them.

    `history` adds columns that are computed, not read; `tables` are the columns of each table of events it reads.
    `grouped_by` names the column of groups, where none has that role.
    """

    columns: tuple[Column, ...]
    history: HistoryPlan = NO_HISTORY
    grouped_by: str | None = None
    tables: Mapping[str, tuple[Column, ...]] = field(default_factory=dict)

    @cached_property
    def derived(self) -> tuple[Column, ...]:
        """The columns that history adds: numbers, and the notes of tables of events."""
        numbers = (Column(name=name, role="numeric") for name in self.history.sources)
        return (*numbers, *(Column(name=name, role="text") for name in self.history.notes))

    def role(self, *roles: Role) -> tuple[Column, ...]:
        """The columns with one of these roles, in declared order; derived ones last."""
        return tuple(c for c in (*self.columns, *self.derived) if c.role in roles)

    @property
    def used(self) -> tuple[Column, ...]:
        """Every column that is read, i.e. all but those with role `ignore`."""
        return tuple(c for c in self.columns if c.role != "ignore")

    @property
    def id(self) -> Column:
        return self.role("id")[0]

    @property
    def label(self) -> Column | None:
        return next(iter(self.role("label")), None)

    @property
    def without_label(self) -> Contract:
        """The columns that a table has whose label is made of another one."""
        return replace(self, columns=tuple(c for c in self.columns if c.role != "label"))

    @property
    def snapshot(self) -> Column | None:
        return next(iter(self.role("snapshot")), None)

    @property
    def group(self) -> str | None:
        """The column of what stays together in splits and folds, such as a household; None: each customer alone."""
        return self.grouped_by or next((c.name for c in self.role("group")), None)

    @property
    def unit(self) -> tuple[str, ...]:
        """The columns that say what stays together: the id and, where there is one, the group."""
        return (self.id.name, *filter(None, [self.group]))

    @property
    def texts(self) -> tuple[Column, ...]:
        return self.role("text")

    @property
    def key(self) -> tuple[str, ...]:
        """The columns that identify a row: the id, and the snapshot date where there is one."""
        return (self.id.name, self.snapshot.name) if self.snapshot else (self.id.name,)

    def to_dict(self) -> dict[str, Any]:
        """As a package keeps it."""
        tables = {name: _declared(columns) for name, columns in self.tables.items()}
        return {"columns": _declared(self.columns), "history": self.history.to_dict(), "tables": tables}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Contract:
        """That of a package's manifest, whose split names the groups."""
        tables = {name: _columns(declared) for name, declared in value.get("tables", {}).items()}
        group = value.get("split", {}).get("group")
        return cls(_columns(value["columns"]), HistoryPlan.from_dict(value["history"]), group, tables)

    @property
    def label_basis(self) -> str:
        """panel where labels were observed after a snapshot, else cross_section."""
        return "panel" if self.snapshot else "cross_section"

    @property
    def shown(self) -> tuple[Column, ...]:
        """The columns copied to `churn_scores` for slicing: all but keys, label and free text."""
        return tuple(
            c for c in self.columns if c.role in ("numeric", "categorical", "date", "group", "passthrough")
        )


def _declared(columns: Iterable[Column]) -> dict[str, Any]:
    return {c.name: c.model_dump(mode="json", by_alias=True, exclude_none=True) for c in columns}


def _columns(declared: Mapping[str, Mapping[str, Any]]) -> tuple[Column, ...]:
    return tuple(Column(**{**column, "name": name}) for name, column in declared.items())


def summary_column(column: str) -> str:
    """The summary of a text column's note."""
    return f"{column}__summary"


def status_column(column: str) -> str:
    """What became of a text column's note."""
    return f"{column}__status"


def embedding_column(column: str) -> str:
    """A text column's vector."""
    return f"{column}__embedding"


def vector_column(column: str) -> str:
    """The id by which a row finds its text column's vector."""
    return f"{column}__vector"


def inputs_column(column: str) -> str:
    """What a model reads of a text column's vector."""
    return f"{column}__inputs"


def parts_column(column: str) -> str:
    """The vectors of what remains of a summary without each of its sentences."""
    return f"{column}__parts"
