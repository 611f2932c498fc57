"""What embedding costs: `python tests/benchmarks/bench_embedders.py [--tokens 73] [--turns 5]`.

As many processes as cores, one thread each, take turns with all contenders on notes of their own, all on the same
contender at the same time. CPU seconds are compared, so that other work on the machine falls on all alike.

loop      SentenceTransformer.encode over all notes of a turn, which sorts them by length, in batches of 32
original  the design this one replaced: a pool of 4 threads, one note a call of SentenceTransformer.encode
padded    our own float32 model on batches that are padded to their longest: what bit-identity saves or costs
float32, int8, static: our embedders

Float32, padded and original vectors are checked to equal the loop's within 1e-5.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

os.environ["TOKENIZERS_PARALLELISM"] = "false"

import numpy as np
import torch
import torch.nn.functional as F
from corpora import sized_notes
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from churn_spark.arrays import Matrix
from churn_spark.notes import bert, windows
from churn_spark.notes.embedders import load_embedder
from churn_spark.notes.weights import PACKAGED, model_folder

MEAN_TOKENS = (12, 73, 129)
EQUAL = ("original", "padded", "float32")
Embed = Callable[[list[str]], Matrix]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--tokens", type=int, action="append", help=f"tokens a note, default {MEAN_TOKENS}")
    parser.add_argument("--turn-tokens", type=int, default=12_000, help="tokens in a turn of one process")
    options = parser.parse_args()
    spawn = multiprocessing.get_context("spawn")
    cores = len(os.sched_getaffinity(0))
    for mean_tokens in options.tokens or MEAN_TOKENS:
        barrier, results = spawn.Barrier(cores), spawn.Queue()
        args = (mean_tokens, options.turns, options.turn_tokens, barrier, results)
        workers = [spawn.Process(target=measure, args=(i, *args), daemon=True) for i in range(cores)]
        for worker in workers:
            worker.start()
        show(mean_tokens, [results.get() for _ in workers])
        for worker in workers:
            worker.join()


def measure(process: int, mean_tokens: int, turns: int, tokens: int, barrier: Any, results: Any) -> None:
    """Put seconds and mean cosine to the loop, by contender and turn, into `results`."""
    torch.set_num_threads(1)
    contenders = load_contenders()
    for embed in contenders.values():
        embed(["Warm up.", "A model's first call costs more than those after it."])
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    cosines: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(turns):
        texts = sized_notes(mean_tokens, seed=1000 * process + turn, tokens=tokens)
        expected = None
        for name, embed in contenders.items():
            barrier.wait()
            start = time.process_time()
            vectors = embed(texts)
            seconds[name].append((time.process_time() - start) / len(texts))
            expected = vectors if expected is None else expected
            if name in EQUAL:
                np.testing.assert_allclose(vectors, expected, atol=1e-5)
            same = vectors.shape == expected.shape
            cosines[name].append(float((vectors * expected).sum(1).mean()) if same else np.nan)
    results.put((seconds, cosines))


def load_contenders() -> dict[str, Embed]:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(model_folder(PACKAGED)), device="cpu", local_files_only=True)
    pool = ThreadPoolExecutor(4)
    encoder = windows.load_encoder(model_folder(PACKAGED), device="cpu")

    def original(texts: list[str]) -> Matrix:
        return np.array(list(pool.map(lambda text: model.encode(text, show_progress_bar=False), texts)))

    def ours(name: str, **settings: Any) -> Embed:
        embedder = load_embedder(name, **settings)
        return lambda texts: embedder.embed(texts).vectors

    return {
        "loop": lambda texts: model.encode(texts, batch_size=32, show_progress_bar=False),
        "original": original,
        "padded": lambda texts: embed_padded(texts, encoder),
        "float32": ours("sentence-transformers", precision="float32"),
        "int8": ours("sentence-transformers", precision="int8"),
        "static": ours("static"),
    }


def embed_padded(texts: Sequence[str], encoder: windows.Encoder, *, batch_tokens: int = 1024) -> Matrix:
    """Embed by batches of notes sorted by length and padded to the longest, as is usual."""
    ids = [encoding.ids for encoding in encoder.tokenizer.encode_batch_fast(list(texts))]
    rows = np.empty((len(ids), encoder.dimension), np.float32)
    order = sorted(range(len(ids)), key=lambda i: -len(ids[i]))
    with windows.inference():
        while order:
            size = max(1, min(64, batch_tokens // len(ids[order[0]])))
            batch, order = order[:size], order[size:]
            tokens = pad_sequence([torch.tensor(ids[i]) for i in batch], batch_first=True, padding_value=-1)
            rows[batch] = masked(encoder.forward, tokens.clamp(min=0), tokens >= 0).numpy()
    return rows


def masked(model: Any, ids: Tensor, mask: Tensor) -> Tensor:
    """`bert.Bert.__call__` with a mask."""
    assert isinstance(model, bert.Bert)
    texts, length = ids.shape
    hidden = model.words.shape[1]
    x = F.embedding(ids, model.words) + model.positions[:length]
    x = F.layer_norm(x, (hidden,), *model.norm, model.epsilon).view(-1, hidden)
    for layer in model.layers:
        qkv = layer.attention_in(x).view(texts, length, 3, model.heads, -1).permute(2, 0, 3, 1, 4)
        context = F.scaled_dot_product_attention(*qkv, attn_mask=mask[:, None, None])
        context = context.transpose(1, 2).reshape(-1, hidden)
        x = F.layer_norm(
            layer.attention_out(context).add_(x), (hidden,), *layer.attention_norm, model.epsilon
        )
        x = F.layer_norm(layer.down(layer.up(x)).add_(x), (hidden,), *layer.norm, model.epsilon)
    weight = mask[..., None].float()
    return F.normalize((x.view(texts, length, hidden) * weight).sum(1) / weight.sum(1), dim=1)


def show(mean_tokens: int, results: Sequence[tuple[dict[str, list[float]], dict[str, list[float]]]]) -> None:
    """Print a line per contender: the median over turns and processes of its ratio to loop and float32."""
    names = list(results[0][0])
    seconds = {name: [s for found, _ in results for s in found[name]] for name in names}
    cosines = {name: statistics.mean(c for _, found in results for c in found[name]) for name in names}

    def times(slow: str, fast: str) -> float:
        return statistics.median(a / b for a, b in zip(seconds[slow], seconds[fast], strict=True))

    print(f"\n{mean_tokens} tokens a note, {len(results)} processes")
    print(
        "| contender | notes/s a core | times the loop | times the original | times float32 | mean cosine |"
    )
    print("|---|---|---|---|---|---|")
    for name in names:
        print(
            f"| {name} | {1 / statistics.median(seconds[name]):,.0f} | {times('loop', name):.2f} "
            f"| {times('original', name):.2f} | {times('float32', name):.2f} | {cosines[name]:.4f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
