"""Why a customer has this score: the model's contributions, grouped by source column, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

BASELINE = "baseline"


class Reason(NamedTuple):
    """One column's effect on one score, in log-odds, and the sentence an agent reads."""

    column: str
    value: str | None
    effect: float
    text: str


def grouped_contributions(
    contributions: npt.NDArray[np.float32], sources: Sequence[str]
) -> tuple[list[str], npt.NDArray[np.float32]]:
    """Add up contributions by source column.

    `contributions` is xgboost's `pred_contribs`, shape (n, len(sources) + 1), the last column being the
    baseline (Lundberg et al. 2018, TreeSHAP). Inputs of one source stand next to each other. Returns the
    group names and float32 of shape (n, groups + 1), the baseline last: rows still add up to the margin.
    """
    groups = list(dict.fromkeys(sources))
    starts = [sources.index(g) for g in groups] + [len(sources), len(sources) + 1]
    wide = contributions.astype(np.float64)
    sums = [wide[:, a:b].sum(axis=1) for a, b in zip(starts, starts[1:], strict=False)]
    return groups, np.column_stack(sums).astype(np.float32)


def top_reasons(
    effects: npt.NDArray[np.float32],
    groups: Sequence[str],
    frame: pd.DataFrame,
    *,
    count: int,
    quotes: Mapping[str, Sequence[str | None]],
    templates: Mapping[str, str],
) -> list[list[Reason]]:
    """The `count` strongest reasons of every row, strongest first; what has no effect is no reason.

    `effects` has one column per group (a further column, the baseline, is ignored). `quotes` holds for
    each text column the words to quote per row; `templates` a sentence per column with {value} and
    {direction}.
    """
    strength = -np.abs(effects[:, : len(groups)])
    order = np.argsort(strength, axis=1, kind="stable")[:, :count]
    columns = {g: list(quotes[g]) if g in quotes else frame[g].tolist() for g in groups}
    return [
        [
            _reason(groups[j], columns[groups[j]][i], float(effects[i, j]), groups[j] in quotes, templates)
            for j in order[i]
            if effects[i, j]
        ]
        for i in range(len(frame))
    ]


def _reason(column: str, value: Any, effect: float, is_text: bool, templates: Mapping[str, str]) -> Reason:
    shown = format_value(value)
    direction = "raises" if effect > 0 else "lowers"
    if column in templates:
        text = templates[column].replace("{value}", shown or "unknown").replace("{direction}", direction)
    elif is_text and shown:
        text = f"What the notes say {direction} the risk: “{shown}”"
    elif is_text:
        text = f"Having no note {direction} the risk"
    elif shown:
        text = f"{_words(column)} {shown} {direction} the risk"
    else:
        text = f"{_words(column)} is not known, which {direction} the risk"
    return Reason(column, None if is_text else shown, effect, text)


def format_value(value: Any) -> str | None:
    """A value as an agent would write it; None where it is missing."""
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return None
    if isinstance(value, float):
        return f"{value:.2f}".rstrip("0").rstrip(".")
    return str(value)


def _words(column: str) -> str:
    return column.replace("_", " ").strip().capitalize()
