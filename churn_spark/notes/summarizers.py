"""Providers that make notes short: plain functions from cleaned texts and settings to summaries, in a dict.

Each gives one Summary per text, in order, and the same one for the same text whatever its neighbours.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

from churn_spark.notes import completions, extractive, generation
from churn_spark.notes.prompts import instruction, model_name
from churn_spark.notes.redaction import is_blank
from churn_spark.notes.summary import Summary, bounded
from churn_spark.settings.notes import Summarizer

VERSION = "4"  # part of cache identities: change it with anything below that changes a summary

Provider = Callable[[Sequence[str], Summarizer], list[Summary]]
SUMMARIZERS: dict[str, Provider] = {
    "extractive": extractive.extractive,
    "transformers": generation.transformers,
    "openai": completions.openai,
}


def summarize(texts: Sequence[str], settings: Summarizer) -> list[Summary]:
    """Summarise normalised, redacted texts by the configured provider; one Summary each, in order.

    Blank texts are `empty`; those below `min_chars` pass through; the provider sees each of the others once.
    Raises ResourceError where a local model cannot be used.
    """
    summaries = {text: summary for text in texts if (summary := _without_work(text, settings))}
    long = [text for text in dict.fromkeys(texts) if text not in summaries]
    if long:
        summaries |= zip(long, SUMMARIZERS[settings.name](long, settings), strict=True)
    return [summaries[text] for text in texts]


def identity(settings: Summarizer) -> dict[str, Any]:
    """Return all that a summary depends on besides its text, ready for JSON."""
    common = {
        "name": settings.name,
        "version": VERSION,
        "max_sentences": settings.max_sentences,
        "min_chars": settings.min_chars,
        "max_chars": settings.max_chars,
    }
    if settings.name == "extractive":
        return common
    asked: dict[str, Any] = {
        "instruction": hashlib.sha256(instruction(settings).encode()).hexdigest()[:16],
        "max_new_tokens": settings.max_new_tokens,
    }
    if settings.name == "transformers":
        return {**common, **asked, "weights": generation.weights_hash(model_name(settings))}
    endpoint = urlsplit(settings.remote.base_url or "https://api.openai.com/v1")
    where = f"{endpoint.hostname}:{endpoint.port or ''}{endpoint.path}"  # and no user or password
    changes = {"extra_body": settings.remote.extra_body, "omit": sorted(settings.remote.omit)}
    asked |= {name: value for name, value in changes.items() if value}
    return {**common, **asked, "model": model_name(settings), "endpoint": where}


def _without_work(text: str, settings: Summarizer) -> Summary | None:
    if is_blank(text):
        return Summary("", "empty")
    return bounded(text, "passthrough", settings) if len(text) < settings.min_chars else None
