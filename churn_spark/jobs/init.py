"""A first table contract, guessed from the names and contents of a table that nobody has described yet.

Every guess says what it was made from, in counts and shares, never in values: a person reads it and decides.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import count
from typing import Any, NamedTuple

import pandas as pd

from churn_spark.contract.columns import INNER, RESERVED, Column
from churn_spark.contract.rules import check_value
from churn_spark.contract.values import FALSE, MISSING, SPACE, TRUE
from churn_spark.evaluation.audit import single_column_aucs, sounds_after_the_event

LABEL = re.compile(r"churn|attrition|(^|_)(label|target|exited|left|cancel(l?ed)?)$", re.I)
ID = re.compile(r"(^|_)(id|key|number|no|nr|code|uuid|guid)$", re.I)
CUSTOMER = re.compile(r"customer|client|subscriber|account|member|user|cust", re.I)
SNAPSHOT = re.compile(r"snapshot|as_?of|observ|report(ing)?_?(date|day|month)|period", re.I)
MOSTLY = 0.99  # the share of values that must fit a type, the rest being what validation is there for
TEXT_CHARS, TEXT_WORDS = 25, 4  # free text is longer than this on average ...
TEXT_DISTINCT = 20  # ... and says more than a handful of things
MOST_CATEGORIES = 200


class Guess(NamedTuple):
    """A declared column and what it was guessed from."""

    column: Column
    why: str


class _Seen(NamedTuple):
    """One column's contents: its values without the missing ones, trimmed."""

    source: str
    name: str
    values: pd.Series
    rows: int

    @property
    def distinct(self) -> int:
        return int(self.values.nunique())

    def share(self, fits: Callable[[str], bool]) -> float:
        counts = self.values.value_counts()
        return float(counts[[fits(v) for v in counts.index]].sum() / max(1, counts.sum()))

    def parses(self, column: Column) -> bool:
        return len(self.values) > 0 and self.share(lambda v: check_value(column, v)[1] is None) >= MOSTLY

    @property
    def why(self) -> str:
        missing = 1 - len(self.values) / max(1, self.rows)
        return f"{self.distinct} distinct values, {missing:.0%} missing"


def guess_columns(frame: pd.DataFrame, *, max_auc: float = 0.995) -> list[Guess]:
    """Guess role, type and rules of every column of a table of strings (null where missing).

    A column that sounds like something known only after a customer left, or that alone separates the classes
    with a ROC-AUC above `max_auc`, gets role ignore and says so.
    """
    names = _names(map(str, frame.columns))
    seen = [_look(str(source), name, frame[source]) for source, name in zip(frame, names, strict=True)]
    key = _best_id(seen)
    label = next((s for s in seen if s is not key and LABEL.search(s.name) and _is_binary(s)), None)
    guesses = [_guess(s, is_id=s is key, is_label=s is label) for s in seen]
    return guesses if label is None else _with_leaks(guesses, frame, label, max_auc=max_auc)


def as_yaml(guesses: Sequence[Guess], *, raw: str) -> str:
    """The guesses as a settings layer, one commented line a column."""
    lines = {f"  {g.column.name}: {{{_spec(g.column)}}}": g.why for g in guesses}
    width = max(map(len, lines), default=0)
    roles = [g.column.role for g in guesses]
    todo = [f"# No column looks like the {what}: give one the role {role}." for role, what in
            (("id", "customer's id"), ("label", "label (who left)")) if role not in roles]  # fmt: skip
    return "\n".join(
        [
            "# A guess from names and contents: read every line, above all the roles and what is ignored.",
            f"#   churn-spark train --raw {raw} --config THIS_FILE --dry-run",
            "# Roles: id, snapshot, label, numeric, categorical, text, passthrough, ignore.",
            *todo,
            "columns:",
            *(f"{line:<{width}}  # {why}" for line, why in lines.items()),
            "",
        ]
    )


def _spec(column: Column) -> str:
    written = column.model_dump(by_alias=True, exclude_defaults=True, exclude={"name"})
    shown: Mapping[str, Any] = {"role": column.role, **written}
    return ", ".join(f"{k}: {_plain(v)}" for k, v in shown.items())


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    is_word = re.fullmatch(r"[A-Za-z_][\w ]*", str(value)) and str(value).lower() not in (
        *TRUE,
        *FALSE,
        "null",
    )
    return str(value) if is_word else "'" + str(value).replace("'", "''") + "'"


# -- one column -----------------------------------------------------------------------------------------


def _look(source: str, name: str, column: pd.Series) -> _Seen:
    values = column.dropna().astype(str).str.strip(SPACE)
    values = values[~values.str.lower().isin(MISSING)]
    return _Seen(source, name, values, len(column))


def _names(sources: Iterable[str]) -> list[str]:
    """A name for each column; one that another has already gets a number."""
    names: list[str] = []
    for name in map(_name, sources):
        tries = (f"{name}_{n}" if n > 1 else name for n in count(1))
        names.append(next(t for t in tries if t not in names))
    return names


def _name(source: str) -> str:
    """A name that needs no quotes anywhere: snake_case, from CamelCase too."""
    plain = unicodedata.normalize("NFKD", source).encode("ascii", "ignore").decode()  # é -> e
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", plain.strip())
    snake = re.sub(r"\W+", "_", snake).strip("_").lower() or "column"
    reserved = (*RESERVED, *INNER, "label")
    return f"c_{snake}" if snake in reserved or snake[0].isdigit() else snake


def _best_id(seen: Sequence[_Seen]) -> _Seen | None:
    """The fullest column that is named like an id; of several, the one named after the customer."""
    named = [s for s in seen if ID.search(s.name) and len(s.values) >= MOSTLY * s.rows and s.distinct > 1]
    return max(named, key=lambda s: (bool(CUSTOMER.search(s.name)), s.distinct), default=None)


def _is_binary(seen: _Seen) -> bool:
    return seen.distinct >= 2 and seen.parses(Column(role="label"))


def _guess(seen: _Seen, *, is_id: bool, is_label: bool) -> Guess:
    source = {} if seen.source == seen.name else {"source": seen.source}

    def declared(role: Any, why: str = seen.why, **rules: Any) -> Guess:
        return Guess(Column(name=seen.name, role=role, **source, **rules), why)

    if is_id:
        return declared("id")
    if is_label:
        left = seen.share(lambda v: v.lower() in TRUE)
        return declared("label", f"{left:.1%} left")
    if seen.distinct < 2:
        return declared("ignore", f"{seen.why}: nothing to learn from")
    if seen.parses(Column(role="passthrough", type="date")):
        return declared("snapshot" if SNAPSHOT.search(seen.name) else "passthrough", f"dates, {seen.why}",
                        type="date")  # fmt: skip
    if seen.distinct > 2 and seen.parses(whole := Column(role="numeric", type="bigint")):
        return declared("numeric", type="bigint", **_bounds(seen, whole))
    if seen.distinct > 2 and seen.parses(number := Column(role="numeric")):
        return declared("numeric", **_bounds(seen, number))
    chars, words = seen.values.str.len().mean(), 1 + seen.values.str.count(r"\s+").mean()
    if chars > TEXT_CHARS and words > TEXT_WORDS and seen.distinct > TEXT_DISTINCT:
        return declared("text", f"{chars:.0f} characters on average, {seen.why}")
    if seen.distinct <= min(MOST_CATEGORIES, max(2, len(seen.values) // 5)):
        return declared("categorical")
    return declared("passthrough", f"{seen.why}: too many for a category")


def _bounds(seen: _Seen, column: Column) -> dict[str, Any]:
    """A minimum of 0 where nothing lies below; other bounds are for people who know the column."""
    parsed = [check_value(column, v)[0] for v in seen.values.unique()]
    return {"min": 0.0} if min(v for v in parsed if v is not None) >= 0 else {}


# -- leaks ----------------------------------------------------------------------------------------------


def _with_leaks(
    guesses: Sequence[Guess], frame: pd.DataFrame, label: _Seen, *, max_auc: float
) -> list[Guess]:
    known = frame[label.source].notna()
    y = [str(v).strip(SPACE).lower() in TRUE for v in frame.loc[known, label.source]]
    inputs = [g.column for g in guesses if g.column.role in ("numeric", "categorical")]
    typed = pd.DataFrame(
        {c.name: [check_value(c, v)[0] for v in frame.loc[known, c.raw_name]] for c in inputs}
    )
    aucs = single_column_aucs(typed, y, columns=[c.name for c in inputs])
    return [_unless_leak(g, aucs.get(g.column.name, 0.5), max_auc=max_auc) for g in guesses]


def _unless_leak(guess: Guess, auc: float, *, max_auc: float) -> Guess:
    column = guess.column
    if column.role not in ("numeric", "categorical", "passthrough"):
        return guess
    if auc > max_auc:
        why = f"suspected leak: alone it separates the classes with ROC-AUC {auc:.3f} (was {column.role})"
    elif sounds_after_the_event(column.name):
        why = f"suspected leak: sounds like something known only after a customer left (was {column.role})"
    else:
        return guess
    return Guess(Column(name=column.name, role="ignore", source=column.source), why)
