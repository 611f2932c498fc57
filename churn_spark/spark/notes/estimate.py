"""About how long it takes to fill a map of the text cache, told before it begins."""

from __future__ import annotations

import math

from churn_spark.settings.notes import NoteSettings, Remote
from churn_spark.spark.notes.cache import Kind

LOAD_SECONDS = 5  # of a model, in each Python worker
# What one core embedded in a second, measured; another machine may be three times as slow.
TOKENS_PER_SECOND = {"float32": 8_000, "int8": 16_000, "multilingual": 16_000, "static": 1_000_000}


def estimated_seconds(
    kind: Kind, settings: NoteSettings, *, texts: int, tokens: int, slots: int
) -> float | None:
    """About how long `texts` texts take; None where nothing is known of it.

    At a remote endpoint that is what its limit of requests allows, however quickly it answers.
    """
    embedder = settings.embedder
    if kind == "summary" and settings.summarizer.name == "openai":
        return _asked(texts, settings.summarizer.remote)
    if kind != "embedding":
        return None
    if embedder.name == "openai":
        return _asked(math.ceil(texts / embedder.batch_size), embedder.remote)
    rate = TOKENS_PER_SECOND.get(getattr(embedder, "precision", "")) or TOKENS_PER_SECOND.get(embedder.name)
    return LOAD_SECONDS + tokens / (rate * slots) if rate else None


def _asked(calls: int, remote: Remote) -> float:
    return 60 * calls / remote.requests_per_minute
