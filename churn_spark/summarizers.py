"""Providers that make notes short: plain functions from cleaned texts and settings to summaries, in a dict.

Each gives one Summary per text, in order, and the same one for the same text whatever its neighbours.
"""

from __future__ import annotations

import hashlib
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from operator import mul
from pathlib import Path
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit

from churn_spark import remote
from churn_spark.config import Summarizer
from churn_spark.errors import ConfigError, ResourceError
from churn_spark.redaction import is_blank, normalize, redact

Status = Literal["ok", "passthrough", "empty", "truncated", "failed", "pending"]


class Summary(NamedTuple):
    """A note made short. `text` is empty where the note is (`empty`) or no summary could be had.

    failed: given up, `error` says why. pending: not asked for yet, since a budget is spent or the endpoint
    stopped the work; a later run goes on. `calls` and `tokens` are what it cost at a remote endpoint.
    """

    text: str
    status: Status
    error: str = ""
    calls: int = 0
    tokens: int = 0


Provider = Callable[[Sequence[str], Summarizer], list[Summary]]


def summarize(texts: Sequence[str], settings: Summarizer) -> list[Summary]:
    """Summarise normalised, redacted texts by the configured provider; one Summary each, in order.

    Blank texts are `empty`; those below `min_chars` pass through. Raises ResourceError where the model or the
    endpoint cannot be used at all.
    """
    summaries = [_without_work(text, settings) for text in texts]
    places = [i for i, summary in enumerate(summaries) if summary is None]
    made = SUMMARIZERS[settings.name]([texts[i] for i in places], settings) if places else []
    for place, summary in zip(places, made, strict=True):
        summaries[place] = summary
    return [summary for summary in summaries if summary is not None]


def identity(settings: Summarizer) -> dict[str, Any]:
    """Return all that a summary depends on besides its text, ready for JSON."""
    common = {"name": settings.name, "min_chars": settings.min_chars, "max_chars": settings.max_chars}
    if settings.name == "extractive":
        return {**common, "version": EXTRACTIVE_VERSION, "max_sentences": settings.max_sentences}
    asked = {
        "instruction": hashlib.sha256(_instruction(settings).encode()).hexdigest()[:16],
        "max_new_tokens": settings.max_new_tokens,
    }
    if settings.name == "transformers":
        return {**common, **asked, "weights": weights_hash(_model_name(settings))}
    endpoint = urlsplit(settings.remote.base_url or "https://api.openai.com/v1")
    where = f"{endpoint.hostname}:{endpoint.port or ''}{endpoint.path}"  # and no user or password
    return {**common, **asked, "model": _model_name(settings), "endpoint": where}


def _without_work(text: str, settings: Summarizer) -> Summary | None:
    if is_blank(text):
        return Summary("", "empty")
    return _bounded(text, "passthrough", settings) if len(text) < settings.min_chars else None


def _bounded(text: str, status: Status, settings: Summarizer) -> Summary:
    text, was_cut = normalize(text, max_chars=settings.max_chars)
    return Summary(text, "truncated" if was_cut else status)


def _model_name(settings: Summarizer) -> str:
    if not settings.model:
        raise ConfigError(
            f"the summarizer {settings.name} needs a model",
            where="text.summarizer.model",
            fix="name a local folder or a model of the hub or endpoint",
        )
    return settings.model


# -- extractive -----------------------------------------------------------------------------------------

EXTRACTIVE_VERSION = "1"  # change it with anything below that changes a summary
MAX_RANKED = 64  # sentences compared with each other
DAMPING = 0.85


def extractive(texts: Sequence[str], settings: Summarizer) -> list[Summary]:
    """Keep the most central sentences of each text, in their own order.

    LexRank (Erkan & Radev 2004, continuous form): the stationary distribution of a random walk over the
    sentences, whose steps go by the cosine of their TF-IDF vectors. Sentences are taken by rank while they
    fit into `max_chars`, at most `max_sentences`; where not one fits, the first is cut. A text of no more
    sentences passes through. Of a text with more than 64 different sentences, the 64 nearest to their
    centroid are ranked, so that time grows linearly with its length.
    """
    return [_extract(text, settings) for text in texts]


def _extract(text: str, settings: Summarizer) -> Summary:
    sentences = list(dict.fromkeys(split_sentences(text)))
    if len(sentences) <= settings.max_sentences and len(text) <= settings.max_chars:
        return Summary(text, "passthrough")
    kept: list[int] = []
    room = settings.max_chars
    for place in _by_centrality(sentences):
        if len(sentences[place]) <= room and len(kept) < settings.max_sentences:
            kept.append(place)
            room -= len(sentences[place]) + 1
    if not kept:
        return _bounded(sentences[0], "ok", settings)
    return Summary(" ".join(sentences[place] for place in sorted(kept)), "ok")


_SENTENCE_END = re.compile(
    r"""(?: [.!?…؟۔।]["'”’»)\]]* (?=\s)
          | [。！？]["”’」』]*
          | \n (?=[ \t]*(?:\n|[-*•–]\s|\d{1,2}[.)]\s|[A-Z]))  # a blank line, a list, a new line begun with a capital
        ) \s*""",
    re.VERBOSE,
)
_LAST_WORD = re.compile(r"[\w.]{1,12}\Z")
_ABBREVIATIONS = frozenset(
    "mr mrs ms dr prof st jr sr vs etc approx appt dept acct amt inc ltd co corp e.g i.e eg ie cf al nr est tel ext "
    "fig vol a.m p.m u.s u.k jan feb mar apr jun jul aug sep sept oct nov dec mon tue tues wed thu thur thurs fri sat "
    "sun min max hr hrs".split()
)
_WORD = re.compile(r"\w+")


def split_sentences(text: str) -> list[str]:
    """Split a text at the ends of sentences and at list items; lower-cased notes are split as well."""
    return [s for s in _pieces(text) if s]


def _pieces(text: str) -> Iterator[str]:
    start = 0
    for end in _SENTENCE_END.finditer(text):
        if end[0][0] != "." or not _is_abbreviated(text, end):
            yield text[start : end.end()].strip()
            start = end.end()
    yield text[start:].strip()
