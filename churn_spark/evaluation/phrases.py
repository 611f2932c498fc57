"""The phrases that set apart the notes of those who leave from the notes of those who stay."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

WORDS = 3  # in a phrase, at most
FEWEST = 10  # notes a phrase must stand in: rarer ones are chance, and could tell of a person
PRIOR = 10.0  # notes' worth of belief that a phrase is as common among both
SURE = 3.0  # standard errors from being as common among both
SHOWN = 8  # phrases of each kind

# What a phrase never crosses: punctuation, anything with a digit, a placeholder of personal data.
_BREAK = re.compile(r"\[[A-Z]+\]|\S*[\d@_]\S*|[^\w\s'’-]+")
_NEGATIONS = {"no", "not", "never", "nothing", "none", "cannot", "without", "nobody"}
_FILLERS = frozenset(ENGLISH_STOP_WORDS) - _NEGATIONS


def count_phrases(notes: Sequence[str], label: npt.ArrayLike) -> pd.DataFrame:
    """Count in how many notes of each kind every phrase of one to three words stands.

    `notes` are redacted, `label` says 1 where the customer left. Columns: phrase, n_churned, n_stayed. Phrases
    in fewer than ten notes, or that begin or end with a filler such as "the", are left out.
    """
    churned = np.asarray(label, bool)
    segments = [[s.lower().split() for s in _BREAK.split(note) if s.strip()] for note in notes]
    frequent: set[str] = set()
    tables = []
    for words in range(1, WORDS + 1):
        found = [_phrases(note, words, frequent) for note in segments]
        total = Counter(p for phrases in found for p in phrases)
        frequent = {p for p, n in total.items() if n >= FEWEST}
        left = Counter(p for phrases, y in zip(found, churned, strict=True) if y for p in phrases & frequent)
        tables.append(pd.DataFrame([(p, left[p], total[p] - left[p]) for p in sorted(frequent)]))
    table = pd.concat(tables, ignore_index=True).reindex(columns=range(3))
    table = table.set_axis(["phrase", "n_churned", "n_stayed"], axis=1)
    telling = [not {p.split(" ")[0], p.split(" ")[-1]} & _FILLERS for p in table["phrase"]]
    chosen: pd.DataFrame = table[np.array(telling, bool)].reset_index(drop=True)
    return chosen


def _phrases(segments: Iterable[Sequence[str]], words: int, frequent: Collection[str]) -> set[str]:
    """The phrases of so many words in a note, each of whose parts is frequent (Agrawal & Srikant 1994)."""
    found = set()
    for segment in segments:
        for start in range(len(segment) - words + 1):
            shorter = words == 1 or (
                " ".join(segment[start : start + words - 1]) in frequent
                and " ".join(segment[start + 1 : start + words]) in frequent
            )
            if shorter:
                found.add(" ".join(segment[start : start + words]))
    return found


def separating_phrases(counts: pd.DataFrame, label: npt.ArrayLike) -> pd.DataFrame:
    """The phrases that separate best, each kind's strongest first: phrase, effect, n_churned, n_stayed.

    `counts` is `count_phrases`' table of notes with these labels. `effect` is the log-odds ratio with an
    informative Dirichlet prior; phrases less than three standard errors from 0 are left out, and so is one
    that contains or repeats a stronger one (Monroe, Colaresi & Quinn 2008).
    """
    churned, notes = int(np.sum(label)), len(np.asarray(label))
    y1, y0 = (counts[c].to_numpy(np.float64) for c in ("n_churned", "n_stayed"))
    prior = np.minimum(PRIOR * (y1 + y0) / max(notes, 1), 0.99 * PRIOR)
    effect = np.log((y1 + prior) / (churned + PRIOR - y1 - prior)) - np.log(
        (y0 + prior) / (notes - churned + PRIOR - y0 - prior)
    )
    score = effect / np.sqrt(1 / (y1 + prior) + 1 / (y0 + prior))
    telling = score * np.sqrt(counts["phrase"].str.count(" ") + 1)  # a longer phrase says more
    table = counts.assign(effect=effect, score=telling)[np.abs(score) >= SURE]
    table = table.sort_values(["score", "phrase"], ascending=[False, True])
    strongest = [*_apart(table[table["score"] > 0]), *_apart(table[table["score"] < 0].iloc[::-1])]
    chosen: pd.DataFrame = table.loc[strongest, ["phrase", "effect", "n_churned", "n_stayed"]]
    return chosen.reset_index(drop=True)


def _apart(table: pd.DataFrame) -> list[int]:
    """The first SHOWN rows whose phrases share no word."""
    kept: list[int] = []
    seen: set[str] = set()
    for index, phrase in table["phrase"].items():
        words = set(phrase.split(" ")) - _FILLERS
        if len(kept) < SHOWN and not words & seen:
            kept.append(index)  # type: ignore[arg-type]
            seen |= words
    return kept
