"""Why a customer has this score: the model's contributions, grouped by source column, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from churn_spark.arrow import Matrix

BASELINE = "baseline"
BASELINE_TEXT = "Where every customer starts"


@dataclass(frozen=True)
class Reasons:
    """Every column's effect on every score, in log-odds, and the sentence an agent reads.

    `effects` is float32 (n, groups + 1), the baseline last: rows add up to the booster's margin. `values` and
    `texts` hold one list per group; a text column has no value. `order` ranks the groups of each row by the
    strength of their effect.
    """

    groups: tuple[str, ...]
    effects: Matrix
    values: tuple[list[str | None], ...]
    texts: tuple[list[str], ...]
    order: npt.NDArray[np.intp]

    def top(self, rank: int) -> tuple[list[str | None], Matrix, list[str | None]]:
        """Column, effect and sentence of each row's reason number `rank` (from 1); empty where none has effect."""
        rows = len(self.effects)
        if rank > len(self.groups):
            return [None] * rows, np.full(rows, np.nan, np.float32), [None] * rows
        chosen = self.order[:, rank - 1]
        effect = self.effects[np.arange(rows), chosen]
        told = effect != 0
        names = [self.groups[j] if t else None for j, t in zip(chosen, told, strict=True)]
        texts = [self.texts[j][i] if t else None for i, (j, t) in enumerate(zip(chosen, told, strict=True))]
        return names, np.where(told, effect, np.nan).astype(np.float32), texts


def grouped_contributions(contributions: Matrix, sources: Sequence[str]) -> tuple[tuple[str, ...], Matrix]:
    """Add up contributions by source column.

    `contributions` is xgboost's `pred_contribs`, shape (n, len(sources) + 1), the last column being the
    baseline (Lundberg et al. 2018, TreeSHAP). Inputs of one source stand next to each other. Returns the
    group names and float32 of shape (n, groups + 1), the baseline last: rows still add up to the margin.
    """
    groups = tuple(dict.fromkeys(sources))
    starts = [sources.index(g) for g in groups] + [len(sources), len(sources) + 1]
    wide = contributions.astype(np.float64)
    sums = [wide[:, a:b].sum(axis=1) for a, b in pairwise(starts)]
    return groups, np.column_stack(sums).astype(np.float32)


def in_words(
    effects: Matrix,
    groups: Sequence[str],
    frame: pd.DataFrame,
    *,
    quotes: Mapping[str, Sequence[str | None]],
    templates: Mapping[str, str],
) -> Reasons:
    """Put grouped effects into words.

    `quotes` holds for each text column the words to quote per row; `templates` a sentence per column with
    {value} and {direction}, instead of the built-in wording.
    """
    values: list[list[str | None]] = []
    texts: list[list[str]] = []
    for place, group in enumerate(groups):
        is_text = group in quotes
        shown = list(quotes[group]) if is_text else [format_value(v) for v in frame[group].tolist()]
        phrase = _phrases(group, is_text, templates)
        texts.append([phrase(s, e) for s, e in zip(shown, effects[:, place].tolist(), strict=True)])
        values.append([None] * len(shown) if is_text else shown)
    order = np.argsort(-np.abs(effects[:, : len(groups)]), axis=1, kind="stable")
    return Reasons(tuple(groups), effects, tuple(values), tuple(texts), order)


def _phrases(column: str, is_text: bool, templates: Mapping[str, str]) -> Any:
    words = column.replace("_", " ").strip().capitalize()
    template = templates.get(column)

    def phrase(shown: str | None, effect: float) -> str:
        direction = "raises" if effect > 0 else "lowers" if effect < 0 else "does not change"
        if template is not None:
            return template.replace("{value}", shown or "unknown").replace("{direction}", direction)
        if is_text:
            return (
                f"What the notes say {direction} the risk: “{shown}”"
                if shown
                else f"Having no note {direction} the risk"
            )
        return (
            f"{words} {shown} {direction} the risk"
            if shown
            else f"{words} is not known, which {direction} the risk"
        )

    return phrase


def format_value(value: Any) -> str | None:
    """A value as an agent would write it; None where it is missing."""
    if value is None or value != value:
        return None
    if isinstance(value, float):
        return f"{value:.2f}".rstrip("0").rstrip(".")
    return str(value)
