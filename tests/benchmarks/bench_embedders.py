"""Embedders against a bare sentence-transformers loop: `python tests/benchmarks/bench_embedders.py`.

All contenders take turns on the same notes in one process, on one thread and in CPU seconds, so that other
work on the machine falls on all alike. The loop is SentenceTransformer.encode over all notes of a turn, which
sorts them by length, in batches of 32. Ratios are medians over the turns of (loop seconds / contender
seconds); vectors are checked against the loop's.
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
CONTENDERS = {
    "float32": load_embedder("sentence-transformers", precision="float32"),
    "int8": load_embedder("sentence-transformers", precision="int8"),
    "static": load_embedder("static"),
}


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


def timed(embed: Callable[[list[str]], Matrix], texts: list[str]) -> tuple[float, Matrix]:
    start = time.process_time()
    vectors = embed(texts)
    return time.process_time() - start, vectors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=7)
    turns = parser.parse_args().turns
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(1)
    loop = SentenceTransformer(str(model_folder(PACKAGED)), device="cpu", local_files_only=True)

    def bare(texts: list[str]) -> Matrix:
        return loop.encode(texts, batch_size=32, show_progress_bar=False)

    for contender in [bare, *(e.embed for e in CONTENDERS.values())]:
        contender(["Warm up.", "The first call of a model costs more than those after it."])
    print(
        "| notes | tokens | loop tokens/s | contender | times the loop | mean cosine | largest difference |"
    )
    print("|---|---|---|---|---|---|---|")
    for mean_tokens in MEAN_TOKENS:
        ratios: dict[str, list[float]] = {name: [] for name in CONTENDERS}
        speeds, close = [], {}
        for turn in range(turns):
            texts = notes(mean_tokens, turn=turn)
            seconds, expected = timed(bare, texts)
            for name, embedder in CONTENDERS.items():
                own_seconds, vectors = timed(lambda t, e=embedder: e.embed(t).vectors, texts)
                ratios[name].append(seconds / own_seconds)
                if vectors.shape == expected.shape:
                    close[name] = (vectors * expected).sum(1).mean(), np.abs(vectors - expected).max()
            tokens = int(CONTENDERS["float32"].embed(texts).tokens.sum())
            speeds.append(tokens / seconds)
        if close["float32"][1] > 1e-5:
            raise SystemExit("float32 differs from the loop")
        for name in CONTENDERS:
            cosine, difference = (
                f"{c:.2g}" if i else f"{c:.4f}" for i, c in enumerate(close.get(name, (np.nan,) * 2))
            )
            print(f"| {len(texts)} | {tokens / len(texts):.0f} | {statistics.median(speeds):,.0f} | {name} "
                  f"| {statistics.median(ratios[name]):.2f} | {cosine} | {difference} |")  # fmt: skip


if __name__ == "__main__":
    main()
