"""One note, from raw text to summary and vector: the same code in Spark workers and in a service.

clean (normalise, cut, redact) -> summarise -> fold (to what the embedding model can tell apart) -> embed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from threading import Lock
from typing import Any, NamedTuple

import numpy as np

from churn_spark.arrays import Matrix
from churn_spark.contract.history import APART
from churn_spark.notes import embedders, redaction, summarizers
from churn_spark.notes.embedder import Embedded, Embedder
from churn_spark.notes.summary import Summary
from churn_spark.settings.notes import NoteSettings

EMPTY = "empty"
REMEMBERED = 10_000  # texts per kind whose summaries and vectors a process keeps: about 20 MB


class Cleaned(NamedTuple):
    """A note that may leave the house: redacted, at most `max_chars` long. `text` is None where blank."""

    text: str | None
    was_cut: bool
    redacted: Mapping[str, int]  # how often, by kind


class NoteResult(NamedTuple):
    """What a note became. `summary` is None where there is nothing to say."""

    summary: str | None
    status: str


def clean(note: Any, settings: NoteSettings) -> Cleaned:
    """Normalise, cut and redact one raw note; anything that is not text counts as no note."""
    if not isinstance(note, str) or redaction.is_blank(note):
        return Cleaned(None, False, {})
    plain, was_cut = redaction.normalize(note, max_chars=settings.max_chars)
    text, counts = redaction.redact(plain) if settings.redact else (plain, {})
    return Cleaned(None if redaction.is_blank(text) else text, was_cut, counts)


def summarize(texts: Sequence[str], settings: NoteSettings) -> list[Summary]:
    """Summarise cleaned texts by the configured provider; order kept."""
    return summarizers.summarize(list(texts), settings.summarizer)


def prepare(notes: Sequence[Any], settings: NoteSettings) -> tuple[list[NoteResult], Matrix]:
    """Raw notes -> what they became, and float32 vectors of shape (n, dimension), NaN rows where no text.

    Each distinct text is summarised and embedded once, and not at all while this process remembers it.
    """
    cleaned, results = summarized(notes, settings)
    return results, vectors(_embedded_texts(cleaned, results, settings), settings)


def prepare_several(
    values: Sequence[Any], settings: NoteSettings, most: int
) -> tuple[list[NoteResult], Matrix]:
    """As `prepare`, for values that hold up to so many notes APART from one another.

    Their summaries are APART, too; their status is that of the first, `failed` where one failed; vectors, of shape
    (n, most x dimension), are those of the notes that have one, followed by NaN.
    """
    if most == 1:
        return prepare(values, settings)
    split = [value.split(APART) if value else [] for value in values]
    each, vectors = prepare([note for notes in split for note in notes], settings)
    width = vectors.shape[1]
    side_by_side = np.full((len(values), most, width), np.nan, np.float32)
    results, start = [], 0
    for row, notes in enumerate(split):
        own = slice(start, start := start + len(notes))
        known = ~np.isnan(vectors[own][:, 0])
        side_by_side[row, : known.sum()] = vectors[own][known]
        results.append(_together(each[own], known.tolist()))
    return results, side_by_side.reshape(len(values), most * width)


def _together(results: Sequence[NoteResult], known: Sequence[bool]) -> NoteResult:
    if not results:
        return NoteResult(None, EMPTY)
    failed = any(result.status == "failed" for result in results)
    summaries = [r.summary or "" for r, there in zip(results, known, strict=True) if there]
    return NoteResult(APART.join(summaries) or None, "failed" if failed else results[0].status)


def summarized(notes: Sequence[Any], settings: NoteSettings) -> tuple[list[Cleaned], list[NoteResult]]:
    """Raw notes -> their cleaned texts, and what they became; distinct texts as in `prepare`."""
    cleaned = [clean(note, settings) for note in notes]
    distinct = list(dict.fromkeys(c.text for c in cleaned if c.text is not None))
    made = _recent("summary", settings).of(distinct, lambda new: summarize(new, settings), _is_final)
    summaries = dict(zip(distinct, made, strict=True))
    return cleaned, [_result(c, summaries) for c in cleaned]


def vectors(texts: Sequence[str | None], settings: NoteSettings) -> Matrix:
    """Vectors of shape (n, dimension), NaN rows where there is no text; distinct texts are embedded once."""
    folded = [fold(t, settings) if t else None for t in texts]
    unique = list(dict.fromkeys(t for t in folded if t is not None))
    compute = load_embedder(settings)
    computed = _recent("vector", settings).of(unique, lambda new: compute.embed(new).vectors, _is_vector)
    vector_of = dict(zip(unique, computed, strict=True))
    nothing = np.full(compute.dimension, np.nan, np.float32)
    rows = [nothing if t is None else vector_of[t] for t in folded]
    return np.stack(rows) if rows else np.empty((0, compute.dimension), np.float32)


class _Recent:
    """The answers to the texts seen last, for a process that serves records."""

    def __init__(self) -> None:
        self.lock, self.answers = Lock(), dict[str, Any]()

    def of(
        self, texts: Sequence[str], compute: Callable[[list[str]], Any], is_final: Callable[[Any], bool]
    ) -> list[Any]:
        """The answer to each distinct text, computed for all that are new at once and remembered if final."""
        with self.lock:
            known = {t: self.answers[t] for t in texts if t in self.answers}
        new = [t for t in texts if t not in known]
        made = dict(zip(new, compute(new), strict=True)) if new else {}
        with self.lock:
            for t in texts:
                answer = self.answers.pop(t, None) if t in known else made[t]
                if answer is not None and is_final(answer):
                    self.answers[t] = answer
            for t in list(self.answers)[: max(0, len(self.answers) - REMEMBERED)]:
                del self.answers[t]
        return [known[t] if t in known else made[t] for t in texts]


@lru_cache(maxsize=16)
def _recent(kind: str, settings: NoteSettings) -> _Recent:
    return _Recent()


def _is_final(summary: Summary) -> bool:
    return summary.status not in ("failed", "pending")


def _is_vector(vector: Matrix) -> bool:
    return not np.isnan(vector[0])


def final_status(status: str, *, was_cut: bool) -> str:
    """A note that was cut is `truncated`, unless it failed altogether; one left pending has failed for now."""
    if status == "pending":
        return "failed"
    return "truncated" if was_cut and status in ("ok", "passthrough") else status


def _result(cleaned: Cleaned, summaries: Mapping[str, Summary]) -> NoteResult:
    if cleaned.text is None:
        return NoteResult(None, EMPTY)
    summary = summaries[cleaned.text]
    status = final_status(summary.status, was_cut=cleaned.was_cut)
    return NoteResult(summary.text or None, status)


def _embedded_texts(
    cleaned: Sequence[Cleaned], results: Sequence[NoteResult], settings: NoteSettings
) -> list[str | None]:
    if settings.source == "note":
        return [c.text for c in cleaned]
    return [r.summary for r in results]


# -- embedding ------------------------------------------------------------------------------------------

UNCASED = ("all-MiniLM-L6-v2",)


def embed(texts: Sequence[str], settings: NoteSettings) -> Embedded:
    """Embed texts, folded to what the model can tell apart; order kept."""
    return load_embedder(settings).embed([fold(t, settings) for t in texts])


def fold(text: str, settings: NoteSettings) -> str:
    """What the embedding model can tell apart; a model that minds capitals gets the text as it is."""
    return redaction.fold(text) if _is_uncased(settings) else text


def _is_uncased(settings: NoteSettings) -> bool:
    return settings.embedder.model in UNCASED and settings.embedder.name != "multilingual"


def folded_hash(text: str, settings: NoteSettings) -> str:
    """The cache key of a text's vector."""
    return text_hash(fold(text, settings))


def text_hash(text: str) -> str:
    """The cache key of a text's summary."""
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def load_embedder(settings: NoteSettings) -> Embedder:
    """The configured embedder, loaded once per process."""
    return embedders.load_embedder(**_embedder_settings(settings))


# -- identities -----------------------------------------------------------------------------------------


def cleaning_identity(settings: NoteSettings) -> dict[str, Any]:
    """All that the hashes of a cleaned note depend on."""
    return {
        "redaction": redaction.VERSION if settings.redact else "off",
        "cleaning": redaction.CLEANING,
        "max_chars": settings.max_chars,
        "folding": "uncased" if _is_uncased(settings) else "exact",
    }


def summary_identity(settings: NoteSettings) -> dict[str, Any]:
    """All that a summary and its hash depend on besides the cleaned note."""
    return {**cleaning_identity(settings), "summarizer": summarizers.identity(settings.summarizer)}


def embedding_identity(settings: NoteSettings) -> dict[str, Any]:
    """All that a vector depends on besides the text: model and weights' hash, precision, window, pooling."""
    return embedders.identity(**_embedder_settings(settings))


def short(identity: Mapping[str, Any]) -> str:
    """An identity as a short name for folders and logs."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


EMBEDDER_SETTINGS = {
    "sentence-transformers": ("name", "model", "precision", "batch_size", "batch_tokens", "device"),
    "static": ("name", "model", "dimension"),
    "openai": ("name", "model", "dimension", "remote"),
    "multilingual": ("name",),
}


def _embedder_settings(settings: NoteSettings) -> dict[str, Any]:
    embedder = settings.embedder
    return {name: getattr(embedder, name) for name in EMBEDDER_SETTINGS[embedder.name]}
