"""What an embedding model is, wherever it computes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from churn_spark.arrays import Matrix
from churn_spark.notes.remote import Result

Counts = npt.NDArray[np.int32]


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
