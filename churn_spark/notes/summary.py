"""What a summary is, whoever wrote it."""

from __future__ import annotations

from typing import Literal, NamedTuple

from churn_spark.notes.redaction import normalize
from churn_spark.settings.notes import Summarizer

Status = Literal["ok", "passthrough", "empty", "truncated", "failed", "pending"]


class Summary(NamedTuple):
    """A note made short. `text` is empty where the note is (`empty`) or no summary could be had.

    failed: given up, `error` says why. pending: not asked for yet, since a budget is spent or the endpoint
    stopped the work (`error`, see `remote`); a later run goes on. `calls` and `tokens` are what it cost there.
    """

    text: str
    status: Status
    error: str = ""
    calls: int = 0
    tokens: int = 0


def bounded(text: str, status: Status, settings: Summarizer) -> Summary:
    """A text as a summary of at most `max_chars`; `truncated` where it had to be cut."""
    text, was_cut = normalize(text, max_chars=settings.max_chars)
    return Summary(text, "truncated" if was_cut else status)
