"""Notes to measure on, each counted from a seed."""

from __future__ import annotations

import numpy as np

from churn_spark.sample.wording import TOPICS, write_note

TOKENS_A_WORD = 1.3


def sized_notes(mean_tokens: int, *, seed: int, tokens: int) -> list[str]:
    """Distinct notes of so many tokens in all, whose lengths spread from 0.6 to 1.4 times the mean."""
    random = np.random.default_rng((mean_tokens, seed))
    texts = []
    for number in random.integers(1 << 31, size=tokens // mean_tokens):
        words: list[str] = []
        wanted = int(random.uniform(0.6, 1.4) * (mean_tokens - 2) / TOKENS_A_WORD)
        while len(words) < wanted:
            words += _note(len(words), int(number) + len(words)).split()
        texts.append(" ".join(words[:wanted]))
    return texts


def realistic_table(rows: int, *, seed: int) -> list[str]:
    """Notes as support agents leave them, shuffled: a fifth empty, the others from 12 to 150 words, each five times."""
    random = np.random.default_rng(seed)
    distinct: dict[str, None] = {}
    while len(distinct) < rows * 4 // 25:
        number = int(random.integers(1 << 31))
        note = " ".join(_note(number, number).split())  # one line, so that all contenders see the same text
        if len(note.split()) <= 150:  # within the model's window
            distinct[note] = None
    filled = list(distinct) * 5
    table = filled + [""] * (rows - len(filled))
    return [table[i] for i in random.permutation(rows)]


def _note(topic: int, seed: int) -> str:
    return write_note([(topic % len(TOPICS), True)], seed)
