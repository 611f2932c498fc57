"""Which sentence of a summary moved a score most: each is left out in turn, and the score looked at again.

Occlusion (Zeiler & Fergus 2014) on sentences. It takes as many embeddings as a summary has sentences, so only
customers from a risk band on get it. Which ones do is decided row by row: a record gets what its table would.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from churn_spark.arrays import Matrix
from churn_spark.contract.history import APART
from churn_spark.model.features import FeatureSpec, TextVector, loudest, text_inputs
from churn_spark.model.policy import BANDS, Policy
from churn_spark.model.scorer import Scorer
from churn_spark.notes.sentences import split_sentences

Places = npt.NDArray[np.intp]
# Vectors (NaN where there is none) of texts that were made from the texts of these rows: column, rows, texts.
Embed = Callable[[str, Places, list[str]], Matrix]
# How far the score of each row moves towards its text's effect by what is missing in the text.
Moves = Callable[[Places, list[str]], Matrix]
OWN_EFFECT = 0.05  # log-odds: a sentence whose absence moves the score less is not what moved it


def telling_notes(
    text: TextVector, summaries: Sequence[str | None], vectors: Matrix, towards: Matrix
) -> list[str | None]:
    """Of several notes the summary of the one that speaks most for the column's effect on the score, `towards`."""
    split = (summary.split(APART) if summary else [None] for summary in summaries)
    places = loudest(text, vectors, towards).tolist()
    return [notes[min(place, len(notes) - 1)] for notes, place in zip(split, places, strict=True)]


def cut_off(policy: Policy, band: str) -> float:
    """The probability at which a risk band begins; infinite for none."""
    return dict(zip((*BANDS, "none"), (0.0, *policy.bands, np.inf), strict=True))[band]


def left_out(summary: str | None) -> dict[str, str]:
    """What remains of a summary without each of its sentences; nothing where there is but one."""
    sentences = split_sentences(summary or "")
    if len(sentences) < 2:
        return {}
    return {s: " ".join([*sentences[:i], *sentences[i + 1 :]]) for i, s in enumerate(sentences)}


def telling_sentences(
    summaries: Sequence[str | None], wanted: npt.NDArray[np.bool_], moves: Moves
) -> list[str | None]:
    """The summaries, and for the rows `wanted` only the sentence that moved the score most.

    A summary stays whole where it has one sentence, where none has an effect of its own, or where a vector could not
    be had.
    """
    told = list(summaries)
    parts = {row: found for row in np.flatnonzero(wanted).tolist() if (found := left_out(summaries[row]))}
    if not parts:
        return told
    rows = np.repeat(list(parts), [len(found) for found in parts.values()])
    moved = moves(rows, [text for found in parts.values() for text in found.values()])
    start = 0
    for row, found in parts.items():
        of_row = moved[start : start + len(found)]
        start += len(found)
        if np.max(of_row) >= OWN_EFFECT:  # never so where a vector is missing
            told[row] = list(found)[int(np.argmax(of_row))]
    return told


def moves_of(
    text: TextVector,
    spec: FeatureSpec,
    matrix: Matrix,
    trees: Scorer,
    *,
    sign: Matrix,
    margin: Matrix,
    embed: Embed,
) -> Moves:
    """What tells by how much parts of a text move the scores: their change where only the rest of it is read."""
    start = spec.sources.index(text.name)

    def moves(rows: Places, parts: list[str]) -> Matrix:
        vectors = embed(text.name, rows, parts)
        altered = matrix[rows]
        altered[:, start : start + text.width] = text_inputs(text, vectors, len(rows))
        moved = sign[rows] * (margin[rows] - trees.of(rows).margin(altered))
        return np.where(np.isnan(vectors[:, 0]), np.nan, moved)

    return moves
