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
Words = npt.NDArray[np.object_]

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
    `texts` are (groups, n); a text column has no value. `order` ranks the groups of each row by the
    strength of their effect. `named` ranks those worth naming, -1 where there are no more.
    """

    groups: tuple[str, ...]
    effects: Matrix
    values: Words
    texts: Words
    order: Places
    named: Places

    def top(self, rank: int) -> tuple[Words, Matrix, Words]:
        """Column, effect and sentence of each row's reason number `rank` (from 1); empty where there is none."""
        rows = len(self.effects)
        if rank > len(self.groups):
            none = np.full(rows, None)
            return none, np.full(rows, np.nan, np.float32), none
        chosen, row = self.named[:, rank - 1], np.arange(rows)
        known = chosen >= 0
        effect = np.where(known, self.effects[row, chosen], np.nan).astype(np.float32)
        names, texts = np.array(self.groups, object)[chosen], self.texts[chosen, row]
        names[~known] = texts[~known] = None
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
    values = np.full((len(groups), len(effects)), None)
    texts = values.copy()
    for place, group in enumerate(groups):
        is_text = group in quotes
        raw = list(quotes[group]) if is_text else python_values(columns[group])
        say = _Words(group, is_text, templates.get(group), (wording or {}).get(group, Wording()))
        told = (subjects or {}).get(group) or [None] * len(raw)
        written, texts[place] = _told(raw, told, effects[:, place], say)
        if not is_text:
            values[place] = written
    own = effects[:, : len(groups)]
    order = np.argsort(-np.abs(own), axis=1, kind="stable")
    named = worth_naming(own, order, raising_first=raising_first)
    return Reasons(tuple(groups), effects, values, texts, order, named)


def _told(
    raw: Sequence[Any], subjects: Sequence[str | None], effects: Matrix, say: _Words
) -> tuple[Words, Words]:
    """Each value as it is written, and its sentence; both are made once for what is the same."""
    places: dict[Any, int] = {}
    pairs = zip(raw, subjects, strict=True)
    which = np.array([places.setdefault(pair, len(places)) for pair in pairs], np.intp)
    distinct = list(places)
    written = [format_value(value) for value, _ in distinct]
    sign = (effects > 0).astype(np.intp) - (effects < 0)
    kinds, kind = np.unique(3 * which + sign + 1, return_inverse=True)
    said = []
    for place, direction in zip(*divmod(kinds, 3), strict=True):
        value, subject = distinct[place]
        said.append(say(value, written[place], subject, int(direction) - 1))
    return np.array(written, object)[which], np.array(said, object)[kind]


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
    """The sentence for one column's effect: called with its value, or the words to quote, and the effect's sign."""

    def __init__(self, column: str, is_text: bool, template: str | None, wording: Wording) -> None:
        self.has_description, self.name = wording.is_name, wording.spoken_of(column)
        self.capital = capital(self.name)
        self.typical = format_value(wording.typical)
        self.unit = f" {wording.unit}" if wording.unit else ""
        self.is_text, self.template, self.is_flag = is_text, template, wording.is_flag
        self.is_kind = column.lower().rpartition("_")[2] in KINDS
        self.is_plural = not self.has_description and (
            self.name.endswith("s") and not self.name.endswith(("ss", "us", "is"))
        )

    def __call__(self, value: Any, written: str | None, subject: str | None, sign: int) -> str:
        direction = ("lowers", "does not change", "raises")[sign + 1]
        if self.template is not None:
            return self.template.replace("{value}", written or "unknown").replace("{direction}", direction)
        if subject is not None:
            return f"{subject}, which {direction} the risk"
        if self.is_text:
            quoted = f"What the notes say {direction} the risk: “{written}”"
            return quoted if written else f"Having no note {direction} the risk"
        if written is None:
            be = "are" if self.is_plural else "is"
            return f"{self.capital} {be} not known, which {direction} the risk"
        if self.is_plural:
            direction = ("lower", "do not change", "raise")[sign + 1]
        is_code = self.is_flag and written in ("0", "1")
        subject = self._word(written) if is_code or isinstance(value, str) else self._amount(written)
        return f"{subject} {direction} the risk"

    def _amount(self, written: str) -> str:
        compared = f" (typical: {self.typical})" if self.typical and self.typical != written else ""
        return f"{self.capital}{self._of}{written}{self.unit}{compared}"

    @property
    def _of(self) -> str:
        return ": " if self.has_description else " of "

    def _word(self, written: str) -> str:
        word = written.lower()
        if word in CODES and not self.is_kind:
            return self.capital if CODES[word] == "yes" else f"{self.capital}: no"
        if word in (*YES, *NO) and not self.has_description:
            return self.capital if word in YES else f"No {self.name}"
        return f"{self.capital}: {written}" if self.has_description else f"{self.capital} “{written}”"


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def format_value(value: Any) -> str | None:
    """A value as an agent would write it; None where it is missing."""
    if value is None or value != value:
        return None
    if not isinstance(value, float):
        return str(value)
    if value.is_integer():
        return f"{value + 0.0:.0f}"  # no -0
    return f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.3g}"
