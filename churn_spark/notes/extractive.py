"""Summaries without a model: the most central sentences of a note."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from itertools import chain
from operator import mul
from typing import NamedTuple

import numpy as np

from churn_spark.notes.letters import own_words
from churn_spark.notes.sentences import split_sentences
from churn_spark.notes.summary import Summary, bounded
from churn_spark.notes.turns import Turn, is_courtesy, is_request, split_turns
from churn_spark.settings.notes import Summarizer

MAX_RANKED = 64  # sentences compared with each other
DAMPING = 0.85


def extractive(texts: Sequence[str], settings: Summarizer) -> list[Summary]:
    """Keep the most central sentences of each text, in their own order.

    LexRank (Erkan & Radev 2004, continuous form): the stationary distribution of a random walk over the
    sentences, whose steps go by the cosine of their TF-IDF vectors. Sentences are taken by rank while they
    fit into `max_chars`, at most `max_sentences`; where not one fits, the first is cut. A text of no more
    sentences passes through. Of a text with more than 64 different sentences, the 64 nearest to their
    centroid are ranked, so that time grows linearly with its length.

    Of an e-mail only the writer's own words count; greetings and thanks are worth nothing. In a chat a sentence
    keeps its speaker, and what the customer asks for comes before what is merely central.
    """
    return [_extract(text, settings) for text in texts]


class _Sentence(NamedTuple):
    text: str
    turn: Turn

    @property
    def shown(self) -> str:
        return f"{self.turn.speaker}: {self.text}" if self.turn.speaker else self.text


def _extract(text: str, settings: Summarizer) -> Summary:
    own = own_words(text)
    sentences = _sentences(own)
    if len(sentences) <= settings.max_sentences and len(text) <= settings.max_chars:
        return Summary(text, "passthrough")
    if not sentences:
        return bounded(text, "ok", settings)
    worthy = [s for s in sentences if not is_courtesy(s.text, s.turn.role)] or sentences
    chosen: list[int] = []
    room = settings.max_chars
    for place in _by_worth(worthy, is_letter=own != text):
        length = len(worthy[place].shown)
        if length < room and len(chosen) < settings.max_sentences:
            chosen.append(place)
            room -= length + 2
    if not chosen:
        return bounded(worthy[0].shown, "ok", settings)
    return Summary(_told([worthy[place] for place in sorted(chosen)], is_letter=own != text), "ok")


def _sentences(text: str) -> list[_Sentence]:
    """The different sentences of a text, with their turns."""
    turns = split_turns(text)
    spoken = [_Sentence(s, turn) for turn in turns for s in split_sentences(turn.text) if _WORD.search(s)]
    return list({(s.text, s.turn.speaker): s for s in reversed(spoken)}.values())[::-1]


def _told(sentences: Sequence[_Sentence], *, is_letter: bool) -> str:
    """Sentences one after the other; each speaker named where it changes; what a line ended gets a full stop."""
    parts, last = [], ""
    for sentence in sentences:
        part = sentence.text if sentence.turn.speaker == last else sentence.shown
        parts.append(f"{part}." if part[-1].isalnum() and (is_letter or sentence.turn.speaker) else part)
        last = sentence.turn.speaker
    return " ".join(parts)


def _by_worth(sentences: Sequence[_Sentence], *, is_letter: bool) -> list[int]:
    """The sentences' places by centrality; of a chat or letter the requests first, an agent's words last."""
    ranking = _by_centrality([s.text for s in sentences])
    if not is_letter and not any(s.turn.speaker for s in sentences):
        return ranking
    return sorted(ranking, key=lambda place: _rank(sentences[place]))


def _rank(sentence: _Sentence) -> int:
    if sentence.turn.role == "agent":
        return 2
    return 0 if is_request(sentence.text) else 1


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
