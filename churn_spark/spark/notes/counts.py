"""What the text stage counts, and how it tells how far it is."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields

from pyspark.sql import Row

from churn_spark.notes.coverage import Coverage
from churn_spark.notes.remote import Budget
from churn_spark.spark.notes.cache import Kind

log = logging.getLogger(__name__)


@dataclass
class TextCounts:
    """What the text stage found and did; rows for notes and statuses, distinct texts for the others.

    `tokens` were embedded, `padded_tokens` is what the model computed on for them, `padding` their ratio;
    `chunked` texts were longer than the model's window; `int8_cosine` is the lowest that a probe found. `calls`
    and `billed_tokens` are what remote endpoints were asked and charge for; `errors` are texts that got no
    summary or vector, by error code, and `pending` those that were not asked for yet. `redactions` is by kind.
    `coverage` counts the tokens of a sample and those that the model cannot read, by language; training measures it.
    """

    notes: int = 0
    distinct: int = 0
    cache_hits: int = 0
    computed: int = 0
    passthrough: int = 0
    summarized: int = 0
    redacted: int = 0
    failed: int = 0
    truncated: int = 0
    summaries_computed: int = 0
    embeddings_computed: int = 0
    chunked: int = 0
    tokens: int = 0
    padded_tokens: int = 0
    padding: float | None = None
    int8_cosine: float | None = None
    calls: int = 0
    billed_tokens: int = 0
    pending: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    redactions: dict[str, int] = field(default_factory=dict)
    coverage: dict[str, Coverage] = field(default_factory=dict)

    def add(self, other: TextCounts) -> None:
        """Add another column's counts."""
        cosines = [c for c in (self.int8_cosine, other.int8_cosine) if c is not None]
        for name in (f.name for f in fields(self) if f.type == "int"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.errors = dict(Counter(self.errors) + Counter(other.errors))
        self.redactions = dict(Counter(self.redactions) + Counter(other.redactions))
        self.int8_cosine = min(cosines, default=None)
        self.padding = round(self.padded_tokens / self.tokens, 3) if self.tokens else None


def computed_counts(kind: Kind, added: Sequence[Row], budget: Budget | None) -> TextCounts:
    """The counts of what was added to a map of the cache."""
    answers = {"summary": "summaries_computed", "embedding": "embeddings_computed"}
    counts = TextCounts()
    for row in added:
        if row.error is not None:
            counts.add(TextCounts(errors={row.error: row.rows}))
        elif kind in answers:
            counts.add(TextCounts(chunked=row.chunked, **{answers[kind]: row.rows}))
        if kind == "embedding":
            counts.add(TextCounts(tokens=row.tokens, padded_tokens=row.padded_tokens))
        if budget:
            counts.add(TextCounts(calls=row.calls, billed_tokens=row.tokens))
    return counts


class Progress:
    """How far a map of the cache has been filled, in distinct texts: a log line before, and one per chunk."""

    def __init__(
        self, kind: Kind, column: str, total: int, chunks: int, *, about: float | None = None
    ) -> None:
        self.kind, self.column, self.total, self.chunks = kind, column, total, chunks
        self.chunk = self.done = self.tried = self.tokens = 0
        self.stop = ""  # the error that ends it before the last chunk
        self.started = time.monotonic()
        estimate = "" if about is None else f" about_seconds={about:.0f}"
        log.info(
            "step=text kind=%s column=%s starts, texts=%d chunks=%d%s", kind, column, total, chunks, estimate
        )

    @property
    def goes_on(self) -> bool:
        return self.chunk < self.chunks and not self.stop

    def add(self, added: Sequence[Row], counts: TextCounts) -> None:
        self.chunk += 1
        self.done += sum(row.rows for row in added if row.error is None)
        self.tried += sum(row.rows for row in added if row.status != "pending")
        self.tokens += counts.tokens
        self.stop = next((row.error for row in added if row.status == "pending"), "")
        seconds = time.monotonic() - self.started
        unit, amount = ("tokens", self.tokens) if self.kind == "embedding" else ("texts", self.done)
        log.info(
            "step=text kind=%s column=%s chunk=%d/%d texts=%d/%d %s_per_s=%d seconds=%.1f left=%.0f",
            self.kind, self.column, self.chunk, self.chunks, self.done, self.total, unit, amount / seconds,
            seconds, seconds / self.chunk * (self.chunks - self.chunk),
        )  # fmt: skip
        if counts.errors:
            log.warning(
                "step=text kind=%s column=%s errors: %s", self.kind, self.column, shown(counts.errors)
            )


def shown(errors: Mapping[str, int]) -> str:
    return ", ".join(f"{code} {n}" for code, n in sorted(errors.items())) or "no error code"
