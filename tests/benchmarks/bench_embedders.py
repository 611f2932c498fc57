"""Embedders against a bare sentence-transformers loop: `python tests/benchmarks/bench_embedders.py`.

All contenders take turns on the same notes in one process, on one thread and in CPU seconds, so that other
work on the machine falls on all alike. The loop is SentenceTransformer.encode over all notes of a turn, which
sorts them by length, in batches of 32. Float32 vectors are checked to equal the loop's within 1e-5.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable

os.environ["TOKENIZERS_PARALLELISM"] = "false"

import numpy as np
import torch

from churn_spark.arrow import Matrix
from churn_spark.embedders import load_embedder
from churn_spark.model_files import PACKAGED, model_folder
from churn_spark.sample_notes import TOPICS, write_note

MEAN_TOKENS = (12, 73, 129)
TOKENS_A_TURN = 12_000
TOKENS_A_WORD = 1.3


def notes(mean_tokens: int, *, turn: int) -> list[str]:
    """Distinct notes whose lengths spread from 0.6 to 1.4 times the mean."""
    random = np.random.default_rng((mean_tokens, turn))
    texts = []
    for seed in random.integers(1 << 31, size=TOKENS_A_TURN // mean_tokens):
        words: list[str] = []
        wanted = int(random.uniform(0.6, 1.4) * (mean_tokens - 2) / TOKENS_A_WORD)
        while len(words) < wanted:
            words += write_note([(len(words) % len(TOPICS), True)], int(seed) + len(words)).split()
        texts.append(" ".join(words[:wanted]))
    return texts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=7)
    turns = parser.parse_args().turns
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(1)
    loop = SentenceTransformer(str(model_folder(PACKAGED)), device="cpu", local_files_only=True)
    contenders: dict[str, Callable[[list[str]], Matrix]] = {
        "loop": lambda texts: loop.encode(texts, batch_size=32, show_progress_bar=False),
        "float32": lambda texts: (
            load_embedder("sentence-transformers", precision="float32").embed(texts).vectors
        ),
        "int8": lambda texts: load_embedder("sentence-transformers", precision="int8").embed(texts).vectors,
        "static": lambda texts: load_embedder("static").embed(texts).vectors,
    }
    for embed in contenders.values():
        embed(["Warm up.", "A model's first call costs more than those after it."])
    print(
        "| tokens a note | contender | notes/s | times the loop | times float32 | mean cosine | max difference |"
    )
    print("|---|---|---|---|---|---|---|")
    for mean_tokens in MEAN_TOKENS:
        corpora = [notes(mean_tokens, turn=turn) for turn in range(turns)]
        seconds: dict[str, list[float]] = {name: [] for name in contenders}
        vectors: dict[str, Matrix] = {}
        for texts in corpora:
            for name, embed in contenders.items():
                start = time.process_time()
                vectors[name] = embed(texts)
                seconds[name].append(time.process_time() - start)
            np.testing.assert_allclose(vectors["float32"], vectors["loop"], atol=1e-5)
        for name in contenders:
            closeness = "– | –"
            if vectors[name].shape == vectors["loop"].shape:
                cosine = (vectors[name] * vectors["loop"]).sum(1).mean()
                closeness = f"{cosine:.4f} | {np.abs(vectors[name] - vectors['loop']).max():.1g}"
            speed = len(corpora[0]) / statistics.median(seconds[name])
            print(
                f"| {mean_tokens} | {name} | {speed:,.0f} | {times(seconds['loop'], seconds[name]):.2f} "
                f"| {times(seconds['float32'], seconds[name]):.2f} | {closeness} |"
            )


def times(slow: list[float], fast: list[float]) -> float:
    """The median over the turns of how many times faster the second one is."""
    return statistics.median(a / b for a, b in zip(slow, fast, strict=True))


if __name__ == "__main__":
    main()
