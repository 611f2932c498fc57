"""The extractive summarizer against the textbook's LexRank: `python tests/benchmarks/bench_summarizers.py`.

The textbook is scikit-learn's TF-IDF and cosines, and networkx's PageRank, on the same sentences. Both take
turns on the same notes of about 350 characters, in one thread and in CPU seconds; their summaries are compared.
"""

from __future__ import annotations

import argparse
import statistics
import time

import networkx as nx
from sklearn.feature_extraction.text import TfidfVectorizer

from churn_spark.notes.extractive import DAMPING
from churn_spark.notes.sentences import split_sentences
from churn_spark.notes.summarizers import summarize
from churn_spark.sample.wording import TOPICS, write_note
from churn_spark.settings.notes import Summarizer

SETTINGS = Summarizer(max_chars=100_000)  # the textbook knows no longest summary
CHARS = 285  # where a note may end; they are about 350 long
NOTES_A_TURN = 100


def notes(turn: int) -> list[str]:
    """Distinct notes of more sentences than are kept, about 350 characters long."""
    texts = []
    for n in range(NOTES_A_TURN):
        sentences: list[str] = []
        seed = 1000 * (turn * NOTES_A_TURN + n)
        while sum(map(len, sentences)) < CHARS or len(sentences) <= SETTINGS.max_sentences:
            sentences += split_sentences(write_note([(seed % len(TOPICS), True)], seed))[:2]
            seed += 1
        texts.append(" ".join(sentences))
    return texts


def textbook(text: str) -> str:
    """LexRank (Erkan & Radev 2004) by libraries."""
    sentences = list(dict.fromkeys(split_sentences(text)))
    vectors = TfidfVectorizer(token_pattern=r"\w+").fit_transform(sentences)
    ranks = nx.pagerank(nx.from_numpy_array((vectors @ vectors.T).toarray()), alpha=DAMPING, tol=1e-9)
    best = sorted(ranks, key=lambda place: (-round(ranks[place], 6), place))[: SETTINGS.max_sentences]
    return " ".join(sentences[place] for place in sorted(best))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=7)
    turns = parser.parse_args().turns
    contenders = {
        "textbook": lambda texts: [textbook(text) for text in texts],
        "extractive": lambda texts: [s.text for s in summarize(texts, SETTINGS)],
    }
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    equal, lengths = [], []
    for turn in range(turns + 1):
        texts, made = notes(turn), {}
        for name, run in contenders.items():
            started = time.process_time()
            made[name] = run(texts)
            rates[name].append(len(texts) / (time.process_time() - started))
        equal += [a == b for a, b in zip(made["textbook"], made["extractive"], strict=True)]
        lengths += [len(text) for text in texts]
    assert statistics.mean(equal) > 0.9, "the summaries differ"
    print(f"{statistics.mean(lengths):.0f} characters a note; {statistics.mean(equal):.1%} equal summaries")
    for name, measured in rates.items():
        ratios = [a / b for a, b in zip(measured[1:], rates["textbook"][1:], strict=True)]
        print(
            f"{name:<12} {statistics.median(measured[1:]):>9,.0f} notes/s  {statistics.median(ratios):>6.1f} times"
        )


if __name__ == "__main__":
    main()
