"""Vectors from an endpoint that speaks OpenAI's embeddings, or nearly so."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from churn_spark.errors import ConfigError
from churn_spark.notes.embedder import Embedded, Embedder, Model
from churn_spark.notes.faults import BadAnswerError
from churn_spark.notes.remote import Answer, Result, call_all, read_json
from churn_spark.settings.sections import Remote

if TYPE_CHECKING:
    from openai import AsyncOpenAI

REFUSALS = ("http_400", "http_413", "http_422")  # of a request for what is in it; it is not billed
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
    """Embed by an OpenAI-compatible endpoint, `batch_size` texts a request.

    dimension: the vectors' length, by default the model's own. A text that got no vector has a row of NaN.
    """
    size = dimension or OPENAI_DIMENSIONS.get(model)
    if not size:
        raise ConfigError(f"the length of {model}'s vectors is not known", where="text.embedder.dimension",
                          fix="set it to what the endpoint returns")  # fmt: skip
    recipe = {"provider": "openai", "model": model, "dimension": size, "base_url": remote.base_url}
    ask = partial(_ask_vectors, model=model, dimension=size, shorten=model.startswith("text-embedding-3-"))

    def embed(texts: Sequence[str]) -> Embedded:
        vectors = np.full((len(texts), size), np.nan, np.float32)
        became = [Result(None, "pending")] * len(texts)
        groups = [range(i, min(i + batch_size, len(texts))) for i in range(0, len(texts), batch_size)]
        while groups:
            results = call_all([texts[group.start : group.stop] for group in groups], ask, limits=remote)
            for group, result in zip(groups, results, strict=True):
                shares, calls = _shares(result.tokens, len(group)), [result.calls] + [0] * (len(group) - 1)
                for place, n_tokens, n_calls in zip(group, shares, calls, strict=True):
                    before = became[place]
                    became[place] = result._replace(
                        value=None, calls=before.calls + n_calls, tokens=before.tokens + n_tokens
                    )
                if result.status == "ok":
                    vectors[group.start : group.stop] = result.value
            refused = [g for g, r in zip(groups, results, strict=True) if r.error in REFUSALS and len(g) > 1]
            groups = [range(i, i + 1) for group in refused for i in group]  # one bad text is enough for it
        tokens = np.array([r.tokens for r in became], np.int32)
        return Embedded(vectors, np.ones_like(tokens), tokens, tokens, became)

    return Embedder(recipe, lambda: Model(size, embed))


async def _ask_vectors(
    client: AsyncOpenAI, texts: Sequence[str], *, model: str, dimension: int, shorten: bool
) -> Answer:
    create = client.embeddings.with_streaming_response.create
    body: dict[str, Any] = {"model": model, "input": list(texts), "encoding_format": "float"}
    if shorten:
        body["dimensions"] = dimension
    answer = await read_json(create(**body))
    try:
        tokens = int(answer.get("usage", {}).get("total_tokens", 0))
        rows = sorted(answer["data"], key=lambda row: row["index"])
        vectors = np.array([row["embedding"] for row in rows], np.float32)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise BadAnswerError("not_vectors") from None
    if vectors.shape != (len(texts), dimension) or not np.isfinite(vectors).all():
        raise BadAnswerError("wrong_vectors", tokens=tokens)
    return Answer(vectors, tokens)


def _shares(total: int, parts: int) -> list[int]:
    """A whole number in equal shares, the remainder spread over the first."""
    return [total // parts + (i < total % parts) for i in range(parts)]
