"""Embedders: texts -> float32 vectors. On a CPU a text's vector depends on that text alone, bit for bit.

Torch and a model are loaded at first use, not when this module is imported or an identity is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from churn_spark.arrays import Matrix
from churn_spark.errors import ConfigError, ResourceError
from churn_spark.notes import weights as model_files
from churn_spark.notes.remote import Answer, BadAnswerError, Result, call_all, read_json
from churn_spark.settings.sections import Remote

if TYPE_CHECKING:
    from openai import AsyncOpenAI
    from tokenizers import Tokenizer

    from churn_spark.notes.windows import Encoder

Counts = npt.NDArray[np.int32]

VERSION = 3  # of the code that computes vectors here: another one gives other last bits
MIN_COSINE = 0.99
SIF = 1e-4  # weight a / (a + p) of a token with probability p, a = SIF (Arora et al. 2017)
REFUSALS = ("http_400", "http_413", "http_422")  # of a request for what is in it; it is not billed
OPENAI_DIMENSIONS = {
    "text-embedding-3-small": 1536, "text-embedding-3-large": 3072, "text-embedding-ada-002": 1536,
}  # fmt: skip


class Embedded(NamedTuple):
    """What became of n texts, in their order."""

    vectors: Matrix  # (n, dimension); a row of NaN where a remote endpoint gave none
    n_chunks: Counts  # windows of the model that the text took: more than 1 where it is longer than one
    tokens: Counts
    padded_tokens: Counts  # what the model computed on
    results: Sequence[
        Result
    ] = ()  # remote only, without the values; calls are told with a request's first text


class Model(NamedTuple):
    """A loaded embedding model."""

    dimension: int
    embed: Callable[[Sequence[str]], Embedded]


@dataclass(frozen=True)
class Embedder:
    """An embedding model, loaded at first use, and `identity`: all that determines its vectors."""

    identity: dict[str, Any]
    load: Callable[[], Model]

    @property
    def dimension(self) -> int:
        return self.load().dimension

    def embed(self, texts: Sequence[str]) -> Embedded:
        """Embed texts; hand over thousands at once, since they are batched by token count."""
        return self.load().embed([text.encode("utf-8", "replace").decode() for text in texts])


@cache
def load_embedder(name: str, **params: Any) -> Embedder:
    """Return the embedder `name` with these settings, the same one for a whole process.

    Its files are checked here, it is loaded at first use. Raises ConfigError on an unknown name,
    ResourceError where files are missing or not the published ones.
    """
    if name not in EMBEDDERS:
        raise ConfigError(f"no embedder is called {name}", where="text.embedder.name",
                          fix=f"use one of {', '.join(EMBEDDERS)}")  # fmt: skip
    return EMBEDDERS[name](**params)


def identity(name: str, **params: Any) -> dict[str, Any]:
    """All that determines an embedder's vectors, JSON-able; no model is loaded. Raises as `load_embedder`."""
    return load_embedder(name, **params).identity


def cosines(texts: Sequence[str], embedder: Embedder, *, reference: Embedder) -> npt.NDArray[np.float32]:
    """The cosine between both embedders' vectors of each text."""
    vectors, expected = embedder.embed(texts).vectors, reference.embed(texts).vectors
    norms = np.linalg.norm(vectors, axis=1) * np.linalg.norm(expected, axis=1)
    found: npt.NDArray[np.float32] = (vectors * expected).sum(1) / norms
    return found


def check_cosine(cosine: float) -> None:
    """Raise ResourceError below 0.99: an embedder, in int8 say, is then no stand-in for the one in float32."""
    if not cosine >= MIN_COSINE:
        raise ResourceError(
            f"int8 vectors have a mean cosine of {cosine:.4f} to float32 on a probe of these notes, expected "
            f"{MIN_COSINE}",
            where="text.embedder.precision",
            fix="set it to float32; int8 does not suit this CPU or model",
        )


# -- sentence-transformers ------------------------------------------------------------------------------


def sentence_transformers(
    *,
    model: str = model_files.PACKAGED,
    precision: Literal["auto", "float32", "int8"] = "auto",
    batch_size: int = 64,
    batch_tokens: int = 1024,
    device: Literal["auto", "cpu", "cuda"] = "auto",
) -> Embedder:
    """Embed by a sentence-transformers model: the packaged one, or a folder. No model hub is asked.

    precision: `auto` is float32, since training and scoring must embed alike, and a choice made by probe or
    by machine might differ between them; besides, a switch would embed the whole cache anew. `int8` is for
    BERT models on a CPU. Batches and device are no part
    of the identity; on a GPU (`auto` takes one) the last bits of a vector depend on its neighbours.
    """
    folder = model_files.model_folder(model)
    files = model_files.model_identity(model, folder)
    precision = "float32" if precision == "auto" else precision
    if precision == "int8" and (device == "cuda" or not model_files.is_plain_bert(folder)):
        raise ConfigError("int8 is for BERT models with mean pooling and unit vectors, on a CPU",
                          where="text.embedder.precision", fix="use float32")  # fmt: skip

    def load() -> Model:
        from churn_spark.notes import windows

        encoder = _encoder(folder, device=device, precision=precision)

        def embed(texts: Sequence[str]) -> Embedded:
            found = windows.encode(texts, encoder, batch_size=batch_size, batch_tokens=batch_tokens)
            return Embedded(*found, padded_tokens=found.tokens)

        return Model(encoder.dimension, embed)

    kind = {"provider": "sentence-transformers", "precision": precision, "version": VERSION}
    return Embedder(kind | files, load)


@cache
def _encoder(folder: Path, *, device: str = "cpu", precision: str = "float32") -> Encoder:
    from churn_spark.notes import bert, windows

    def build() -> model_files.Arrays:
        with windows.inference():
            return {name: r.numpy() for name, r in bert.input_ranges(bert.load_weights(folder)).items()}

    if precision == "float32":
        return windows.load_encoder(folder, device=device)
    weights = model_files.sha256(folder / "model.safetensors")
    ranges = model_files.built_once({"built": "int8 ranges", "version": VERSION, "weights": weights}, build)
    return windows.load_encoder(folder, device="cpu", ranges=ranges)


# -- static ---------------------------------------------------------------------------------------------


def static(*, model: str = model_files.PACKAGED, dimension: int | None = None) -> Embedder:
    """Embed by a table of token vectors distilled from a sentence-transformers model (model2vec's recipe).

    A token's vector is the model's for that token alone, on the first `dimension` (256) principal components,
    weighted by smooth inverse frequency; frequencies follow Zipf's law over the vocabulary's order. A text's
    vector is the mean of its tokens' at unit length, or zero where it has none. The table is built once, in
    about half a minute.
    """
    folder = model_files.model_folder(model)
    size = dimension or 256
    recipe = {"provider": "static", "dimension": size, "sif": SIF, "version": VERSION}
    recipe |= model_files.model_identity(model, folder)

    @cache
    def load() -> Model:
        def build() -> model_files.Arrays:
            return {"table": _token_vectors(folder, size)}

        table = model_files.built_once(recipe, build)["table"]
        tokenizer = model_files.load_tokenizer(folder)
        return Model(size, lambda texts: _embed_static(texts, tokenizer, table))

    return Embedder(recipe, load)


def _token_vectors(folder: Path, dimension: int) -> Matrix:
    from churn_spark.notes import windows

    encoder = _encoder(folder)
    vocabulary = encoder.tokenizer.get_vocab_size()
    *before, after = encoder.tokenizer.encode("").ids
    ids = [[*before, token, after] for token in range(vocabulary)]
    vectors = windows.encode_windows(ids, encoder, batch_size=256, batch_tokens=1024)
    vectors -= vectors.mean(0)
    components = np.linalg.eigh(vectors.T @ vectors).eigenvectors[:, ::-1][:, :dimension]
    components *= np.sign(components[np.abs(components).argmax(0), np.arange(dimension)])
    probability = 1 / np.arange(2, vocabulary + 2)
    weight = SIF / (SIF + probability / probability.sum())
    weight[list(encoder.tokenizer.get_added_tokens_decoder())] = 0  # [CLS], [UNK] and their like say nothing
    table: Matrix = (vectors @ components * weight[:, None]).astype(np.float32)
    return table


def _embed_static(texts: Sequence[str], tokenizer: Tokenizer, table: Matrix) -> Embedded:
    from scipy.sparse import csr_array

    ids = [e.ids for e in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]
    tokens = np.array([len(i) for i in ids], np.int32)
    ends = np.concatenate(([0], np.cumsum(tokens)))
    flat = np.fromiter(chain.from_iterable(ids), np.int32, count=ends[-1])
    counts = csr_array((np.ones(len(flat), np.float32), flat, ends), shape=(len(texts), len(table)))
    sums = counts @ table  # row by row, token by token: no neighbour matters
    norms = np.linalg.norm(sums, axis=1, keepdims=True)
    vectors = np.divide(sums, norms, out=np.zeros_like(sums), where=norms > 0)
    return Embedded(vectors, np.ones_like(tokens), tokens, tokens)


# -- openai ---------------------------------------------------------------------------------------------


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


EMBEDDERS: dict[str, Callable[..., Embedder]] = {
    "sentence-transformers": sentence_transformers,
    "static": static,
    "openai": openai,
}
