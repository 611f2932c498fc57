"""Vectors from an endpoint that speaks OpenAI's embeddings, or nearly so."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from churn_spark.arrays import Matrix
from churn_spark.errors import ConfigError
from churn_spark.notes.embedder import Embedded, Embedder, Model
from churn_spark.notes.faults import INPUT_TOO_LONG, BadAnswerError
from churn_spark.notes.meter import billed
from churn_spark.notes.redaction import normalize
from churn_spark.notes.remote import Answer, Ask, Result, call_all
from churn_spark.settings.notes import Remote

REFUSALS = (
    "http_400",
    "http_413",
    "http_422",
    INPUT_TOO_LONG,
)  # of a request for what is in it; it is not billed
LEAST_CHARS = 64  # a text is cut no further for an endpoint's sake
OPENAI_DIMENSIONS = {
    "text-embedding-3-small": 1536, "text-embedding-3-large": 3072, "text-embedding-ada-002": 1536,
}  # fmt: skip


def openai(
    *,
    model: str = "text-embedding-3-small",
    dimension: int | None = None,
    batch_size: int = 64,
    remote: Remote = Remote(),  # noqa: B008  # frozen
) -> Embedder:
    """Embed by an OpenAI-compatible endpoint, at most `batch_size` texts a request.

    dimension: the vectors' length, by default the model's own. A batch that is refused is asked for in halves, a
    single text that is too long is cut by halves. A text that got no vector has a row of NaN.
    """
    size = dimension or OPENAI_DIMENSIONS.get(model)
    if not size:
        raise ConfigError(f"the length of {model}'s vectors is not known", where="text.embedder.dimension",
                          fix="set it to what the endpoint returns")  # fmt: skip
    recipe = {"provider": "openai", "model": model, "dimension": size, "base_url": remote.base_url}
    if remote.extra_body:
        recipe["extra_body"] = remote.extra_body
    common: dict[str, Any] = {"model": model, "encoding_format": "float"}
    if model.startswith("text-embedding-3-"):
        common["dimensions"] = size
    ask = Ask(
        "/embeddings",
        body=lambda texts: {**common, "input": list(texts)},
        read=partial(_vectors, dimension=size),
        optional=("encoding_format", "dimensions"),
    )
    return Embedder(recipe, lambda: Model(size, lambda texts: _embed(texts, ask, size, batch_size, remote)))


def _embed(texts: Sequence[str], ask: Ask, dimension: int, batch_size: int, limits: Remote) -> Embedded:
    """A first batch shows what size the endpoint takes; what was refused is asked for again, smaller."""
    vectors = np.full((len(texts), dimension), np.nan, np.float32)
    results = [Result(None, "pending")] * len(texts)
    sent = list(texts)
    batches = list(_batches(range(min(batch_size, len(texts))), batch_size))
    rest, first_size = range(len(texts))[batch_size:], 0
    while batches:
        answers = call_all([[sent[i] for i in batch] for batch in batches], ask, limits=limits)
        refused = []
        for batch, answer in zip(batches, answers, strict=True):
            _spread(answer, batch, results)
            if answer.status == "ok":
                vectors[list(batch)] = answer.value
                first_size = max(first_size, len(batch))
            elif answer.error.split(":")[0] in REFUSALS:
                refused.append(batch)
        batches = [smaller for batch in refused for smaller in _smaller(batch, sent)]
        if rest and (first_size or not batches):
            batches += _batches(rest, first_size or batch_size)
            rest = range(0)
    tokens = np.array([r.tokens for r in results], np.int32)
    return Embedded(vectors, np.ones_like(tokens), tokens, tokens, results)


def _batches(places: range, size: int) -> Iterator[range]:
    return (places[i : i + size] for i in range(0, len(places), size))


def _smaller(batch: range, sent: list[str]) -> list[range]:
    """Both halves of a refused batch; a single text cut by half, while there is enough of it."""
    if len(batch) > 1:
        return [batch[: len(batch) // 2], batch[len(batch) // 2 :]]
    shorter, _ = normalize(sent[batch[0]], max_chars=len(sent[batch[0]]) // 2)
    if len(shorter) < LEAST_CHARS:
        return []
    sent[batch[0]] = shorter
    return [batch]


def _spread(answer: Result, batch: range, results: list[Result]) -> None:
    """Note for each text of a batch what became of it; the request's cost is shared out."""
    shares, calls = _shares(answer.tokens, len(batch)), _shares(answer.calls, len(batch))
    for place, n_tokens, n_calls in zip(batch, shares, calls, strict=True):
        before = results[place]
        results[place] = answer._replace(
            value=None, calls=before.calls + n_calls, tokens=before.tokens + n_tokens
        )


def _vectors(answer: Mapping[str, Any], texts: Sequence[str], *, dimension: int) -> Answer:
    tokens = billed(answer, chars=sum(map(len, texts)))
    try:
        vectors = [_vector(row["embedding"]) for row in _in_order(answer["data"])]
        lengths = {len(vector) for vector in vectors}
        if len(vectors) != len(texts):
            raise BadAnswerError("wrong_vectors", tokens=tokens)
        if lengths != {dimension}:
            raise BadAnswerError(f"wrong_length:{max(lengths)}", tokens=tokens)
        if not all(np.isfinite(vector).all() and vector.any() for vector in vectors):
            raise BadAnswerError("wrong_vectors", tokens=tokens)
    except (LookupError, TypeError, ValueError, AttributeError):
        raise BadAnswerError("not_vectors") from None
    return Answer(np.stack(vectors), tokens)


def _in_order(rows: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """By `index` where it numbers all rows; else as they were sent."""
    numbers = [row.get("index") for row in rows]
    if sorted(map(str, numbers)) != sorted(map(str, range(len(rows)))):
        return rows
    return sorted(rows, key=lambda row: int(row["index"]))


def _vector(embedding: Any) -> Matrix:
    if isinstance(embedding, str):
        try:
            return np.frombuffer(base64.b64decode(embedding, validate=True), "<f4")
        except binascii.Error:
            raise ValueError("neither numbers nor base64") from None
    return np.array(embedding, np.float32).reshape(-1)


def _shares(total: int, parts: int) -> list[int]:
    """A whole number in equal shares, the remainder spread over the first."""
    return [total // parts + (i < total % parts) for i in range(parts)]
