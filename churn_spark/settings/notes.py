"""Settings of the text stage: what becomes of the notes of each text column, and the limits of remote endpoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from churn_spark.settings.section import Positive, Section, Share

EnvName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class Remote(Section):
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
    extra_body: dict[str, Any] = {}
    omit: tuple[str, ...] = ()

    def __hash__(self) -> int:
        return hash(self.model_dump_json())  # a dict has no hash of its own


class Summarizer(Section):
    name: Literal["extractive", "transformers", "openai"] = "extractive"
    max_sentences: Positive = 3
    min_chars: Annotated[int, Field(ge=0)] = 200
    max_chars: Positive = 600
    model: str | None = None
    max_new_tokens: Positive = 80
    remote: Remote = Remote()


class Embedder(Section):
    name: Literal["sentence-transformers", "static", "openai", "multilingual"] = "sentence-transformers"
    model: str = "all-MiniLM-L6-v2"
    precision: Literal["auto", "float32", "int8"] = "auto"
    batch_size: Positive = 64
    batch_tokens: Positive = 1024
    device: Literal["auto", "cpu", "cuda"] = "auto"
    dimension: Positive | None = None
    remote: Remote = Remote()


class NoteSettings(Section):
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
