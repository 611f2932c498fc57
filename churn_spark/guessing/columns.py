"""A first table contract, guessed from the names and contents of a table that nobody has described yet.

Every guess says what it was made from, in counts and shares: a person reads it and decides.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from itertools import count
from typing import Any, NamedTuple

import pandas as pd

from churn_spark.contract.columns import INNER, RESERVED, Column
from churn_spark.contract.rules import check_value
from churn_spark.contract.values import FALSE, TRUE, word
from churn_spark.evaluation.audit import single_column_aucs, sounds_after_the_event
from churn_spark.guessing import past
from churn_spark.guessing.content import Content, Settings, table_notation
from churn_spark.guessing.words import CODE, CUSTOMER, ID, KEY, LABELS, LEFT, STAYED, SURE

MOST_CATEGORIES = 200
LEAST_LEAVERS = 5  # with a value that no other customer has


class Guess(NamedTuple):
    """A declared column and what it was guessed from."""

    column: Column
    why: str


class Table(NamedTuple):
    """The guessed columns, how the whole table is written, and sections besides: what it tells of time."""

    guesses: tuple[Guess, ...]
    notation: Settings
    sections: Mapping[str, Any] = {}


def guess_table(frame: pd.DataFrame, *, max_auc: float = 0.995, separator: str = ",") -> Table:
    """Guess role, type and rules of every column of a table of strings (null where missing).

    Where no column identifies a row, an id made from the rows' content is declared. A column that sounds like
    something known only after a customer left, that only leavers have, or that alone separates the classes with a
    ROC-AUC above `max_auc`, gets role ignore and says so.
    """
    names = column_names(map(str, frame.columns))
    contents = [Content.of(str(s), n, frame[s]) for s, n in zip(frame, names, strict=True)]
    notation = table_notation(contents, separator)
    snapshot = past.panel_date(contents, frame)
    key, why = _id(contents, frame, snapshot)
    label = _label([c for c in contents if c is not key])
    left = past.leaving_date(contents) if label is None and snapshot is not None else None
    log = past.event_log(contents, notation) if label is None and snapshot is None else None
    if log is not None:
        return Table(_made_columns(log), {**notation, **(log.date.date() or {})}, past.log_layer(log))
    kinds = _Kinds(key, label, snapshot, left)
    guesses = [_guess(c, notation, kinds) for c in contents]
    guesses = _without_copies(guesses, contents)
    if label is not None:
        guesses = _with_leaks(guesses, frame, label.content, label.column(), max_auc=max_auc)
    if key is None:
        name = next(n for n in ("row_id", "row_id_2", "churn_row_id") if n not in names)
        guesses = [Guess(Column(name=name, role="id", generated=True), why), *guesses]
    made = {"label": {"from": left.name, "horizon_days": past.HORIZON_DAYS}} if left is not None else {}
    return Table(tuple(guesses), notation, made)


def _made_columns(log: past.Log) -> tuple[Guess, ...]:
    """The columns of the panel that is made of a log."""
    customer, many = log.customer, past.log_name(log)
    return (
        Guess(Column(name=customer.name, role="id", source=customer.source), customer.why),
        Guess(Column(name="month", role="snapshot"), f"made: the end of each month, {log.date.why}"),
        Guess(Column(name=many, role="numeric"), "made: how many there were in the month"),
        *(Guess(Column(name=v.source, role="numeric"), "made: its sum in the month") for v in log.values),
        Guess(
            Column(name="churn", role="label"),
            "made: none any more within label.horizon_days; DECIDE how many",
        ),
    )


def guess_columns(frame: pd.DataFrame, *, max_auc: float = 0.995) -> list[Guess]:
    """The columns of `guess_table`."""
    return list(guess_table(frame, max_auc=max_auc).guesses)


# -- names ----------------------------------------------------------------------------------------------


def column_names(sources: Iterable[str]) -> list[str]:
    """A name for each column; one that another has already gets a number."""
    names: list[str] = []
    for name in map(_name, sources):
        tries = (f"{name}_{n}" if n > 1 else name for n in count(1))
        names.append(next(t for t in tries if t not in names))
    return names


def _name(source: str) -> str:
    """A name that needs no quotes anywhere: snake_case, from CamelCase too."""
    plain = unicodedata.normalize("NFKD", source).encode("ascii", "ignore").decode()  # \u00e9 -> e
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", plain.strip())
    snake = re.sub(r"\W+", "_", snake).strip("_").lower() or "column"
    reserved = (*RESERVED, *INNER, "label")
    return f"c_{snake}" if snake in reserved or snake[0].isdigit() else snake


# -- the id and the label -------------------------------------------------------------------------------


def _id(
    contents: Sequence[Content], frame: pd.DataFrame, snapshot: Content | None
) -> tuple[Content | None, str]:
    """The column that identifies a customer, or None and why there is none."""
    unique = [c for c in contents if _identifies(c, frame, snapshot)]
    codes = [c for c in unique if c.matches(r"^\S*[0-9]\S*$") and not c.matches(r"^[-+]?[0-9]*[.,][0-9]+$")]
    named = [c for c in unique if ID.search(c.name)]
    chosen = max(named, key=lambda c: (bool(CUSTOMER.search(c.name)), c.distinct), default=None)
    chosen = chosen or next(
        (c for c in codes if c.values.str.contains(r"[A-Za-z]").all() or c is contents[0]), None
    )
    others = [c.name for c in unique if c is not chosen]
    if chosen is not None:
        return chosen, ""
    failed = [f"{c.name} has {c.distinct} values in {c.rows} rows" for c in contents if ID.search(c.name)]
    reason = "; ".join(failed) or "no column is named like an id"
    offered = f"; these have a value of their own in every row: {', '.join(others[:5])}" if others else ""
    return None, f"no column identifies a customer ({reason}{offered}): ids are made from the rows' content"


def _identifies(content: Content, frame: pd.DataFrame, snapshot: Content | None) -> bool:
    if content.identifies:
        return True
    if snapshot is None or content is snapshot or not ID.search(content.name):
        return False
    pairs = frame[[content.source, snapshot.source]].dropna().drop_duplicates()
    return len(pairs) >= 0.99 * content.rows and content.distinct > 1


class Label(NamedTuple):
    """The label's column, the word in it that means "left" where that is not a usual one, and whether it is known."""

    content: Content
    positive: str | None
    is_known: bool

    def column(self, **source: Any) -> Column:
        return Column(name=self.content.name, role="label", positive=self.positive, **source)


def _label(contents: Sequence[Content]) -> Label | None:
    """The first column named like a label whose values say who left, by how sure the name is."""
    for pattern in LABELS:
        named = [label for c in contents if re.search(pattern, c.name, re.I) if (label := _as_label(c))]
        is_vague = pattern == LABELS[-1]
        named = [label for label in named if label.is_known or not is_vague]
        if named:
            return max(named, key=lambda label: label.is_known)
    known = (label for c in contents if c.distinct == 2 if (label := _as_label(c)) and label.is_known)
    return next((label for label in known if word(label.positive or "") in SURE), None)


def _as_label(content: Content) -> Label | None:
    words = {word(v): v for v in content.values.unique()[:50]}
    left, stayed = [w for w in words if w in LEFT], [w for w in words if w in STAYED]
    if set(words) <= {*TRUE, *FALSE} and left and stayed:
        return Label(content, None, is_known=True)
    if len(left) == 1 and 2 <= len(words) <= 5 and (stayed or not left[0].isdigit()):
        return Label(content, words[left[0]], is_known=True)
    if len(words) == 2 and len(stayed) == 1:
        return Label(content, next(v for w, v in words.items() if w not in stayed), is_known=True)
    return Label(content, None, is_known=False) if len(words) == 2 else None


# -- one column -----------------------------------------------------------------------------------------


class _Kinds(NamedTuple):
    """The columns of a table that stand out."""

    key: Content | None
    label: Label | None
    snapshot: Content | None
    left: Content | None


def _guess(content: Content, table: Settings, kinds: _Kinds) -> Guess:
    source = {} if content.source == content.name else {"source": content.source}

    def declared(role: Any, why: str = content.why, **rules: Any) -> Guess:
        return Guess(Column(name=content.name, role=role, **source, **rules), why)

    if content is kinds.key:
        return declared("id")
    if kinds.label is not None and content is kinds.label.content:
        return _guessed_label(kinds.label, source)
    if content.distinct < 2:
        is_label = kinds.label is None and re.search(LABELS[0], content.name, re.I)
        why = "named like the label, but every row says the same" if is_label else "nothing to learn from"
        return declared("ignore", f"{content.why}: {why}")
    if (date := content.date()) is not None:
        role = "snapshot" if content is kinds.snapshot else "date"
        why = "the label is made of it" if content is kinds.left else "dates"
        return declared(role, f"{why}, {content.why}", **date)
    if CUSTOMER.search(content.name) and KEY.search(content.name) and content.distinct > MOST_CATEGORIES:
        return declared("passthrough", f"{content.why}: names customers, but not one a row")
    is_code = CODE.search(content.name) is not None
    if content.distinct > 2 and not is_code and (number := content.number(table)) is not None:
        return declared(
            "numeric", **number, **_bounds(content, Column(role="numeric", **{**table, **number}))
        )
    if content.is_text:
        return declared("text", f"{content.values.str.len().mean():.0f} characters on average, {content.why}")
    if content.distinct <= min(MOST_CATEGORIES, max(2, len(content.values) // 5)):
        return declared("categorical")
    return declared("passthrough", f"{content.why}: too many for a category")


def _guessed_label(label: Label, source: Any) -> Guess:
    column = label.column(**source)
    if not label.is_known:
        return Guess(
            column, "DECIDE: which of its two values means that the customer left? add positive: THAT VALUE"
        )
    left = label.content.share(lambda v: check_value(column, v)[0] is True)
    return Guess(column, f"{left:.1%} left")


def _bounds(content: Content, column: Column) -> dict[str, Any]:
    """A minimum of 0 where nothing lies below; other bounds are for people who know the column."""
    parsed = [check_value(column, v)[0] for v in content.values.unique()]
    return {"min": 0.0} if min(v for v in parsed if v is not None) >= 0 else {}


def _without_copies(guesses: Sequence[Guess], contents: Sequence[Content]) -> list[Guess]:
    """Columns with the same values as an earlier one are not read."""
    first: dict[int, str] = {}
    unique = []
    for guess, content in zip(guesses, contents, strict=True):
        values = hash(tuple(zip(content.values.index, content.values, strict=True)))
        twin = first.setdefault(values, content.name)
        is_copy = twin != content.name and guess.column.role in (
            "numeric",
            "categorical",
            "date",
            "passthrough",
            "text",
        )
        unique.append(_ignored(guess, f"a copy of {twin}") if is_copy else guess)
    return unique


def _ignored(guess: Guess, why: str) -> Guess:
    return Guess(Column(name=guess.column.name, role="ignore", source=guess.column.source), why)


# -- leaks ----------------------------------------------------------------------------------------------


def _with_leaks(
    guesses: Sequence[Guess], frame: pd.DataFrame, label: Content, column: Column, *, max_auc: float
) -> list[Guess]:
    said = frame[label.source].map(lambda v: None if pd.isna(v) else check_value(column, v)[0])
    rows, y = frame[said.notna()], said[said.notna()].astype(float)
    inputs = [g.column for g in guesses if g.column.role in ("numeric", "categorical")]
    typed = pd.DataFrame({c.name: [check_value(c, v)[0] for v in rows[c.raw_name]] for c in inputs})
    aucs = single_column_aucs(typed, y.to_numpy(), columns=[c.name for c in inputs])
    return [
        _unless_leak(g, aucs.get(g.column.name, 0.5), _only_leavers(g, rows, y), max_auc=max_auc)
        for g in guesses
    ]


def _only_leavers(guess: Guess, rows: pd.DataFrame, y: pd.Series) -> bool:
    """Whether only customers who left have a value, while others have none."""
    if guess.column.raw_name not in rows:
        return False
    present = rows[guess.column.raw_name].notna() & (
        rows[guess.column.raw_name].astype(str).str.strip() != ""
    )
    return bool(present.sum() >= LEAST_LEAVERS and y[present].mean() > 0.98 and y[~present].mean() < 0.5)


def _unless_leak(guess: Guess, auc: float, only_leavers: bool, *, max_auc: float) -> Guess:
    column = guess.column
    if column.role not in ("numeric", "categorical", "date", "passthrough"):
        return guess
    if only_leavers:
        return _ignored(guess, f"suspected leak: only customers who left have a value (was {column.role})")
    if auc > max_auc:
        return _ignored(
            guess,
            f"suspected leak: alone it separates the classes with ROC-AUC {auc:.3f} (was {column.role})",
        )
    if sounds_after_the_event(column.name):
        why = f"suspected leak: sounds like something known only after a customer left (was {column.role})"
        return _ignored(guess, why)
    return guess
