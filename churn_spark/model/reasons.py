"""Why a customer has this score: the model's contributions, grouped by source column, in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from churn_spark.arrays import Columns, Matrix, python_values

Places = npt.NDArray[np.intp]
Flags = npt.NDArray[np.bool_]

BASELINE = "baseline"
BASELINE_TEXT = "Where every customer starts"


LEAST_EFFECT, LEAST_SHARE = 0.1, 0.1  # log-odds, and of all effects together: what is less is not named


LONGEST_DESCRIPTION = 40  # characters that still read as a name


class Wording(NamedTuple):
    """How a column is spoken of: its description and unit as declared, and the value that half of customers exceed.

    `is_flag`: its numbers are 1 for yes and 0 for no.
    """

    description: str | None = None
    unit: str | None = None
    typical: float | None = None
    is_flag: bool = False

    @property
    def is_name(self) -> bool:
        """Whether the description is short enough to be one."""
        return 0 < len(self.description or "") <= LONGEST_DESCRIPTION

    def spoken_of(self, column: str) -> str:
        """The column's name in a sentence."""
        return str(self.description) if self.is_name else column.replace("_", " ").strip()


def typical_values(frame: pd.DataFrame, columns: Iterable[str]) -> dict[str, float]:
    """The medians of numeric columns of the learning rows, to compare a customer's value with; four digits."""
    numeric = [c for c in columns if c in frame and pd.api.types.is_numeric_dtype(frame[c])]
    medians = {c: frame[c].astype("float64").median() for c in numeric if frame[c].notna().any()}
    return {c: float(f"{median:.4g}") for c, median in medians.items()}


def flags(frame: pd.DataFrame, columns: Iterable[str]) -> list[str]:
    """The numeric columns of the learning rows that are yes or no: 1 or 0, and both occur."""
    return [c for c in columns if c in frame and set(frame[c].dropna().unique()) == {0, 1}]


@dataclass(frozen=True)
class Reasons:
    """Every column's effect on every score, in log-odds, and the sentence an agent reads.

    `effects` is float32 (n, groups + 1), the baseline last: rows add up to the booster's margin. `values` and
    `texts` hold one list per group; a text column has no value. `order` ranks the groups of each row by the
    strength of their effect. `named` ranks those worth naming, -1 where there are no more.
    """

    groups: tuple[str, ...]
    effects: Matrix
    values: tuple[list[str | None], ...]
    texts: tuple[list[str], ...]
    order: Places
    named: Places

    def top(self, rank: int) -> tuple[list[str | None], Matrix, list[str | None]]:
        """Column, effect and sentence of each row's reason number `rank` (from 1); empty where there is none."""
        rows = len(self.effects)
        if rank > len(self.groups):
            return [None] * rows, np.full(rows, np.nan, np.float32), [None] * rows
        chosen = self.named[:, rank - 1]
        effect = np.where(chosen < 0, np.nan, self.effects[np.arange(rows), chosen]).astype(np.float32)
        names = [self.groups[j] if j >= 0 else None for j in chosen]
        texts = [self.texts[j][i] if j >= 0 else None for i, j in enumerate(chosen)]
        return names, effect, texts


def worth_naming(effects: Matrix, order: Places, *, raising_first: Flags | None = None) -> Places:
    """The groups to name, by rank, -1 where there are no more; `effects` (n, groups) and their `order` by strength.

    An effect counts from a tenth of a log-odds and a tenth of all effects on. Rows of `raising_first` (customers to
    be contacted) name what raises their risk before what lowers it, and nothing where nothing raises it.
    """
    strength = np.abs(effects)
    counts = strength >= np.maximum(LEAST_EFFECT, LEAST_SHARE * strength.sum(axis=1, keepdims=True))
    raising = counts & (effects > 0)
    if raising_first is None:
        raising_first = np.zeros(len(effects), bool)
    counts &= ~raising_first[:, None] | raising.any(axis=1, keepdims=True)
    group = np.where(counts, np.where(raising & raising_first[:, None], 0, 1), 2)
    place = np.argsort(np.take_along_axis(group, order, axis=1), axis=1, kind="stable")
    ranked = np.take_along_axis(order, place, axis=1)
    return np.where(np.take_along_axis(counts, ranked, axis=1), ranked, -1)


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
    wording: Mapping[str, Wording] | None = None,
    subjects: Mapping[str, Sequence[str | None]] | None = None,
    raising_first: Flags | None = None,
) -> Reasons:
    """Put grouped effects into words.

    `columns` holds the values by name, `quotes` for each text column the words to quote per row; `templates` a
    sentence per column with {value} and {direction}, instead of the built-in wording; `subjects` what a sentence
    says of a column's history, None where it says its value. `raising_first`: see `worth_naming`.
    """
    values: list[list[str | None]] = []
    texts: list[list[str]] = []
    for place, group in enumerate(groups):
        is_text = group in quotes
        raw = list(quotes[group]) if is_text else python_values(columns[group])
        say = _Words(group, is_text, templates.get(group), (wording or {}).get(group, Wording()))
        told = (subjects or {}).get(group) or [None] * len(raw)
        texts.append([say(*row) for row in zip(raw, effects[:, place].tolist(), told, strict=True)])
        values.append([None] * len(raw) if is_text else [format_value(v) for v in raw])
    own = effects[:, : len(groups)]
    order = np.argsort(-np.abs(own), axis=1, kind="stable")
    named = worth_naming(own, order, raising_first=raising_first)
    return Reasons(tuple(groups), effects, tuple(values), tuple(texts), order, named)


YES, NO = ("yes", "true"), ("no", "false")
CODES = {"1": "yes", "y": "yes", "t": "yes", "0": "no", "n": "no", "f": "no"}
KINDS = (
    "gender",
    "sex",
    "type",
    "class",
    "code",
    "group",
    "segment",
    "category",
    "plan",
    "level",
    "tier",
    "region",
)


class _Words:
    """The sentence for one column's effect: called with its value, or the words to quote, and the effect."""

    def __init__(self, column: str, is_text: bool, template: str | None, wording: Wording) -> None:
        self.has_description, self.name = wording.is_name, wording.spoken_of(column)
        self.is_text, self.template, self.wording = is_text, template, wording
        self.is_kind = column.lower().rpartition("_")[2] in KINDS
        self.is_plural = not self.has_description and (
            self.name.endswith("s") and not self.name.endswith(("ss", "us", "is"))
        )

    def __call__(self, value: Any, effect: float, subject: str | None) -> str:
        direction = "raises" if effect > 0 else "lowers" if effect < 0 else "does not change"
        written = format_value(value)
        if self.template is not None:
            return self.template.replace("{value}", written or "unknown").replace("{direction}", direction)
        if subject is not None:
            return f"{subject}, which {direction} the risk"
        if self.is_text:
            quoted = f"What the notes say {direction} the risk: “{written}”"
            return quoted if written else f"Having no note {direction} the risk"
        if written is None:
            be = "are" if self.is_plural else "is"
            return f"{capital(self.name)} {be} not known, which {direction} the risk"
        if self.is_plural:
            direction = "raise" if effect > 0 else "lower" if effect < 0 else "do not change"
        is_code = self.wording.is_flag and written in ("0", "1")
        subject = self._word(written) if is_code or isinstance(value, str) else self._amount(written)
        return f"{subject} {direction} the risk"

    def _amount(self, written: str) -> str:
        unit = f" {self.wording.unit}" if self.wording.unit else ""
        typical = format_value(self.wording.typical)
        compared = f" (typical: {typical})" if typical and typical != written else ""
        return f"{capital(self.name)}{self._of}{written}{unit}{compared}"

    @property
    def _of(self) -> str:
        return ": " if self.has_description else " of "

    def _word(self, written: str) -> str:
        word = written.lower()
        if word in CODES and not self.is_kind:
            return capital(self.name) if CODES[word] == "yes" else f"{capital(self.name)}: no"
        if word in (*YES, *NO) and not self.has_description:
            return capital(self.name) if word in YES else f"No {self.name}"
        return (
            f"{capital(self.name)}: {written}"
            if self.has_description
            else f"{capital(self.name)} “{written}”"
        )


def capital(text: str) -> str:
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
