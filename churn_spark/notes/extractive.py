"""Summaries without a model: the most central sentences of a note."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from itertools import chain
from operator import mul

import numpy as np

from churn_spark.notes.sentences import split_sentences
from churn_spark.notes.summary import Summary, bounded
from churn_spark.settings.sections import Summarizer

MAX_RANKED = 64  # sentences compared with each other
DAMPING = 0.85


def extractive(texts: Sequence[str], settings: Summarizer) -> list[Summary]:
    """Keep the most central sentences of each text, in their own order.

    LexRank (Erkan & Radev 2004, continuous form): the stationary distribution of a random walk over the
    sentences, whose steps go by the cosine of their TF-IDF vectors. Sentences are taken by rank while they
    fit into `max_chars`, at most `max_sentences`; where not one fits, the first is cut. A text of no more
    sentences passes through. Of a text with more than 64 different sentences, the 64 nearest to their
    centroid are ranked, so that time grows linearly with its length.
    """
    return [_extract(text, settings) for text in texts]


def _extract(text: str, settings: Summarizer) -> Summary:
    sentences = [s for s in dict.fromkeys(split_sentences(text)) if _WORD.search(s)]
    if len(sentences) <= settings.max_sentences and len(text) <= settings.max_chars:
        return Summary(text, "passthrough")
    if not sentences:
        return bounded(text, "ok", settings)
    kept: list[int] = []
    room = settings.max_chars
    for place in _by_centrality(sentences):
        if len(sentences[place]) <= room and len(kept) < settings.max_sentences:
            kept.append(place)
            room -= len(sentences[place]) + 1
    if not kept:
        return bounded(sentences[0], "ok", settings)
    return Summary(" ".join(sentences[place] for place in sorted(kept)), "ok")


_WORD = re.compile(r"\w+")


def _by_centrality(sentences: Sequence[str]) -> list[int]:
    """Return the sentences' places, most central first. Rounding keeps ties, and so the order, stable."""
    vectors = _tfidf(sentences)
    places = list(range(len(sentences)))
    if len(places) > MAX_RANKED:
        centroid: dict[str, float] = {}
        for word, weight in chain.from_iterable(v.items() for v in vectors):
            centroid[word] = centroid.get(word, 0.0) + weight
        nearness = [sum([weight * centroid[word] for word, weight in v.items()]) for v in vectors]
        places = sorted(sorted(places, key=lambda i: (-round(nearness[i], 9), i))[:MAX_RANKED])
    scores = _lexrank([vectors[i] for i in places])
    return [places[i] for i in sorted(range(len(places)), key=lambda i: (-round(scores[i], 9), i))]


def _tfidf(sentences: Sequence[str]) -> list[dict[str, float]]:
    """Unit vectors; a sentence without words is the zero vector."""
    counts = [Counter(_WORD.findall(s.lower())) for s in sentences]
    within = Counter(word for count in counts for word in count)
    idf = {word: 1 + math.log((1 + len(sentences)) / (1 + n)) for word, n in within.items()}
    vectors = [{word: n * idf[word] for word, n in count.items()} for count in counts]
    norms = [math.sqrt(sum(map(mul, v.values(), v.values()))) or 1.0 for v in vectors]
    return [{word: x / norm for word, x in v.items()} for v, norm in zip(vectors, norms, strict=True)]


def _lexrank(vectors: Sequence[dict[str, float]]) -> list[float]:
    """The walk's stationary distribution, solved for: the walk stays in place often, so iterating is slow."""
    similar = np.array(_cosines(vectors))
    n = len(vectors)
    steps = similar / similar.sum(axis=0)
    scores = np.linalg.solve(np.eye(n) - DAMPING * steps, np.full(n, (1 - DAMPING) / n))
    return [float(x) for x in scores]


def _cosines(vectors: Sequence[dict[str, float]]) -> list[list[float]]:
    """Cosines between unit vectors, summed up word by word, since few words are shared."""
    similar = [[float(i == j) for j in range(len(vectors))] for i in range(len(vectors))]
    holders: dict[str, list[tuple[int, float]]] = {}
    for i, vector in enumerate(vectors):
        for word, weight in vector.items():
            for j, other in (others := holders.setdefault(word, [])):
                similar[i][j] += weight * other
                similar[j][i] = similar[i][j]
            others.append((i, weight))
    return similar
