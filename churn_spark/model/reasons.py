"""Why a customer has this score: the model's contributions, grouped by source column, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from churn_spark.arrays import Columns, Matrix, python_values

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
    baseline (Lundberg et al. 2018, TreeSHAP). Returns the
    group names and float32 of shape (n, groups + 1), the baseline last: rows still add up to the margin.
    """
    groups = tuple(dict.fromkeys(sources))
    places = [[i for i, source in enumerate(sources) if source == g] for g in groups] + [[len(sources)]]
    wide = contributions.astype(np.float64)
    sums = [wide[:, of_group].sum(axis=1) for of_group in places]
    return groups, np.column_stack(sums).astype(np.float32)


def in_words(
    effects: Matrix,
    groups: Sequence[str],
    columns: Columns,
    *,
    quotes: Mapping[str, Sequence[str | None]],
    templates: Mapping[str, str],
) -> Reasons:
    """Put grouped effects into words.

    `columns` holds the values by name, `quotes` for each text column the words to quote per row; `templates` a
    sentence per column with {value} and {direction}, instead of the built-in wording.
    """
    values: list[list[str | None]] = []
    texts: list[list[str]] = []
    for place, group in enumerate(groups):
        is_text = group in quotes
        raw = list(quotes[group]) if is_text else python_values(columns[group])
        say = _Words(group, is_text, templates.get(group))
        texts.append([say(v, e) for v, e in zip(raw, effects[:, place].tolist(), strict=True)])
        values.append([None] * len(raw) if is_text else [format_value(v) for v in raw])
    order = np.argsort(-np.abs(effects[:, : len(groups)]), axis=1, kind="stable")
    return Reasons(tuple(groups), effects, tuple(values), tuple(texts), order)


YES = ("1", "yes", "true", "y", "t")
NO = ("0", "no", "false", "n", "f")


class _Words:
    """The sentence for one column's effect: called with its value, or the words to quote, and the effect."""

    def __init__(self, column: str, is_text: bool, template: str | None) -> None:
        self.name = column.replace("_", " ").strip()
        self.is_text, self.template = is_text, template
        self.is_plural = self.name.endswith("s") and not self.name.endswith(("ss", "us", "is"))

    def __call__(self, value: Any, effect: float) -> str:
        direction = "raises" if effect > 0 else "lowers" if effect < 0 else "does not change"
        shown = format_value(value)
        if self.template is not None:
            return self.template.replace("{value}", shown or "unknown").replace("{direction}", direction)
        if self.is_text:
            known = f"What the notes say {direction} the risk: “{shown}”"
            return known if shown else f"Having no note {direction} the risk"
        if shown is None:
            be = "are" if self.is_plural else "is"
            return f"{_capital(self.name)} {be} not known, which {direction} the risk"
        if self.is_plural:
            direction = "raise" if effect > 0 else "lower" if effect < 0 else "do not change"
        return f"{self._subject(value, shown)} {direction} the risk"

    def _subject(self, value: Any, shown: str) -> str:
        if not isinstance(value, str):
            return f"{_capital(self.name)} of {shown}"
        if shown.lower() in NO:
            return f"No {self.name}"
        return _capital(self.name) if shown.lower() in YES else f"{_capital(self.name)} “{shown}”"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def format_value(value: Any) -> str | None:
    """A value as an agent would write it; None where it is missing."""
    if value is None or value != value:
        return None
    if not isinstance(value, float):
        return str(value)
    if value.is_integer():
        return f"{value:.0f}"
    return f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.3g}"
