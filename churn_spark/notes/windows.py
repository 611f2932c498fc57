"""Texts of any length through a model with a window: cut into windows, batched by token count, pooled.

A batch holds windows of one token count: no padding, no mask. Together with one thread, that makes a text's
vector on a CPU depend on that text alone, bit for bit.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from threading import Lock
from typing import NamedTuple, cast

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer
from torch import Tensor

from churn_spark.arrays import Matrix
from churn_spark.errors import ResourceError
from churn_spark.notes import bert
from churn_spark.notes import weights as model_files

log = logging.getLogger(__name__)

Counts = npt.NDArray[np.int32]

OVERLAP = 32  # tokens that two neighbouring windows of a text share
CUDA_FACTOR = 32  # a GPU wants batches this many times a CPU's
MIN_TOKENS = 16  # matrix products of very few rows take other code paths, with other last bits


class Encoder(NamedTuple):
    """A model that reads windows: `forward` maps token ids (texts, length), none padding, to vectors."""

    tokenizer: Tokenizer
    forward: Callable[[Tensor], Tensor]
    device: str
    prompt: str = ""
    dimension: int = 0


def load_encoder(folder: Path, *, device: str, ranges: model_files.Arrays | None = None) -> Encoder:
    """Load a sentence-transformers folder; `ranges` (of `bert.input_ranges`) make it int8."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise ResourceError("torch finds no GPU", where="text.embedder.device", fix="set it to auto or cpu")
    if not model_files.is_plain_bert(folder):
        return _load_any(folder, device=device)
    weights = bert.load_weights(folder, device=device)
    tokenizer = model_files.load_tokenizer(folder)
    if ranges is None:
        model = bert.float32(weights)
    else:
        model = bert.int8(weights, {name: torch.from_numpy(range_) for name, range_ in ranges.items()})
    return checked(Encoder(_windowing(tokenizer, model_files.window(folder)), model, device))


def _load_any(folder: Path, *, device: str) -> Encoder:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device=device, local_files_only=True)
    tokenizer = Tokenizer.from_str(model.tokenizer.backend_tokenizer.to_str())

    def forward(ids: Tensor) -> Tensor:
        features = model({"input_ids": ids, "attention_mask": torch.ones_like(ids)})
        return cast(Tensor, features["sentence_embedding"])

    prompt = model.prompts.get(model.default_prompt_name or "") or ""
    window = model.max_seq_length
    return checked(Encoder(_windowing(tokenizer, window), forward, device, prompt))


def _windowing(tokenizer: Tokenizer, window: int | None) -> Tokenizer:
    tokenizer.no_padding()
    tokenizer.no_truncation()
    if window:
        tokenizer.enable_truncation(window, stride=min(OVERLAP, window // 4))
    return tokenizer


def checked(encoder: Encoder) -> Encoder:
    """The encoder, made to take one text at a time where its vectors vary with the number of texts."""
    ids = torch.arange(1, 9, device=encoder.device).repeat(33, 1)
    with inference():
        expected, *rows = *encoder.forward(ids[:2])[:1], *encoder.forward(ids)
    encoder = encoder._replace(dimension=len(expected))
    if encoder.device != "cpu" or all(torch.equal(expected, row) for row in rows):
        return encoder
    log.warning("step=embedder batching=off reason=vectors_vary_with_batch_size")
    forward = encoder.forward
    return encoder._replace(forward=lambda batch: torch.cat([forward(row[None]) for row in batch]))


class Encoded(NamedTuple):
    """Vectors (n, dimension) of n texts, how many windows each took, and their tokens in all of them."""

    vectors: Matrix
    n_chunks: Counts
    tokens: Counts


def encode(texts: Sequence[str], encoder: Encoder, *, batch_size: int, batch_tokens: int) -> Encoded:
    """Embed texts; one longer than the window becomes the mean of its windows, weighted by tokens.

    At most `batch_size` windows and `batch_tokens` tokens go through the model at once, `CUDA_FACTOR` times
    that on a GPU; neither changes a vector on a CPU.
    """
    encodings = encoder.tokenizer.encode_batch_fast([encoder.prompt + text for text in texts])
    of_texts = [[first.ids, *(rest.ids for rest in first.overflowing)] for first in encodings]
    ids = [window for windows in of_texts for window in windows]
    n_chunks = np.array([len(windows) for windows in of_texts], np.int32)
    lengths = np.array([len(window) for window in ids], np.int32)
    rows = encode_windows(ids, encoder, batch_size=batch_size, batch_tokens=batch_tokens)
    starts = np.cumsum(n_chunks) - n_chunks
    vectors = rows[starts]
    tokens = lengths[starts]
    for i in np.flatnonzero(n_chunks > 1):
        part = slice(starts[i], starts[i] + n_chunks[i])
        vectors[i], tokens[i] = _pooled(rows[part], lengths[part]), lengths[part].sum()
    return Encoded(vectors, n_chunks, tokens)


def encode_windows(
    ids: Sequence[Sequence[int]], encoder: Encoder, *, batch_size: int, batch_tokens: int
) -> Matrix:
    """Token ids of each window, special ones included -> vectors (windows, dimension).

    Torch's threads (one in a Spark worker, all cores in a service) take a batch each.
    """
    factor = CUDA_FACTOR if encoder.device == "cuda" else 1
    rows = np.empty((len(ids), encoder.dimension), np.float32)

    def fill(batch: list[int]) -> None:
        with inference():
            windows = torch.tensor([ids[i] for i in batch], device=encoder.device)
            copies = -(-MIN_TOKENS // windows.numel())
            rows[batch] = encoder.forward(windows.repeat(copies, 1))[: len(batch)].cpu().numpy()

    todo = list(batches(ids, batch_size=factor * batch_size, batch_tokens=factor * batch_tokens))
    threads = 1 if encoder.device == "cuda" else min(_threads.given(), len(todo))
    if threads > 1:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(fill, reversed(todo)))  # the longest first
    else:
        for batch in todo:
            fill(batch)
    return rows


def batches(ids: Sequence[Sequence[int]], *, batch_size: int, batch_tokens: int) -> Iterator[list[int]]:
    """Indices of windows, each batch of one length."""
    lengths = [len(window) for window in ids]
    for length, group in groupby(sorted(range(len(ids)), key=lengths.__getitem__), key=lengths.__getitem__):
        same = list(group)
        size = max(1, min(batch_size, batch_tokens // length))
        yield from (same[i : i + size] for i in range(0, len(same), size))


class _Threads:
    """How many threads torch was given, whichever of them are told to use one just now."""

    def __init__(self) -> None:
        self.lock, self.inside, self.before = Lock(), 0, 1

    def given(self) -> int:
        with self.lock:
            return self.before if self.inside else torch.get_num_threads()

    @contextmanager
    def one(self) -> Iterator[None]:
        with self.lock:
            if not self.inside:
                self.before = torch.get_num_threads()
            self.inside += 1
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(self.before)
            with self.lock:
                self.inside -= 1


_threads = _Threads()


@contextmanager
def inference() -> Iterator[None]:
    """Torch without gradients and on one thread: with more, how a sum is split depends on the batch."""
    with _threads.one(), torch.inference_mode():
        yield


def _pooled(rows: Matrix, lengths: Counts) -> Matrix:
    """The mean by token count, as long as the windows' vectors are on average."""
    mean = np.average(rows, axis=0, weights=lengths)
    norm = np.average(np.linalg.norm(rows, axis=1), weights=lengths)
    pooled: Matrix = (mean * (norm / np.linalg.norm(mean))).astype(np.float32)
    return pooled
