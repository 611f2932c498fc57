"""What declared columns must fulfil together; each check raises ValueError, which names the setting and no value."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Mapping

from churn_spark.contract import published
from churn_spark.contract.columns import INNER, RESERVED, Column, Contract


def roles_are_held_once(columns: Mapping[str, Column]) -> None:
    """One id; at most one label, one snapshot and one group."""
    roles = Counter(c.role for c in columns.values())
    for role, least in (("id", 1), ("label", 0), ("snapshot", 0), ("group", 0)):
        if not least <= roles[role] <= 1:  # type: ignore[index]
            names = [c.name for c in columns.values() if c.role == role]
            hint = (
                ""
                if names
                else "; where no column identifies a customer: row_id: {role: id, generated: true}"
            )
            raise ValueError(f"columns: exactly one column has role {role}, found {names or 'none'}{hint}")


def names_are_free(columns: Mapping[str, Column]) -> None:
    """No column bears a name of our own tables' columns."""
    ours = {f.name for f in (*published.KEYS, *published.SCORES, *published.LINEAGE)} - {"customer_id"}
    taken = [n for n in columns if n.lower() in (*RESERVED, *INNER, *ours) or "." in n]
    taken += [n for n, c in columns.items() if n == "label" and c.role != "label"]
    if taken:
        raise ValueError(f"columns: {taken} are reserved names or hold a dot; rename them with `from:`")


def sources_are_read_once(columns: Mapping[str, Column]) -> None:
    """No two columns read the same source, whatever its case."""
    sources = Counter(c.raw_name.lower() for c in columns.values())
    twice = sorted(source for source, count in sources.items() if count > 1)
    if twice:
        raise ValueError(f"columns: two columns read the same source {twice}")


def is_a_group(named: str | None, columns: Mapping[str, Column]) -> None:
    """Of `split.group`: a column of words that is read, and the one with role group where there is one."""
    if named is None:
        return
    column = columns.get(named)
    if (
        column is None
        or column.role not in ("group", "categorical", "passthrough")
        or column.kind != "string"
    ):
        raise ValueError(f"split.group: {named} is no column with role group, categorical or passthrough")
    others = sorted(name for name, c in columns.items() if c.role == "group" and name != named)
    if others:
        raise ValueError(f"split.group: {named}, but the column with role group is {others[0]}")


def are_texts(named: Iterable[str], contract: Contract) -> None:
    """Of `text.columns`: each column named has role text."""
    strangers = sorted(set(named) - {c.name for c in contract.texts})
    if strangers:
        raise ValueError(f"text.columns: {strangers} are no columns with role text")


def constraints_are_of_numbers(monotone: Iterable[str], columns: Mapping[str, Column]) -> None:
    """Of `training.monotone`: each column named is numeric."""
    numeric = [n for n, c in columns.items() if c.role == "numeric"]
    for name in sorted(set(monotone) - set(numeric)):
        close = difflib.get_close_matches(name, numeric, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise ValueError(f"training.monotone.{name}: not a numeric column{hint}")


def are_dates(named: Mapping[str, str | None], columns: Mapping[str, Column]) -> None:
    """Of `leakage`: each column named is declared as a date."""
    for key, date in named.items():
        if date is not None and (date not in columns or columns[date].kind != "date"):
            raise ValueError(f"leakage.{key}: not a declared column of type date")


def names_differ(names: Iterable[str]) -> None:
    """Of `offers`: each has a name of its own."""
    twice = sorted(name for name, count in Counter(names).items() if count > 1 or not name.strip())
    if twice:
        raise ValueError(f"offers: {twice} are names of several offers, or of none")


def are_amounts(settings: Mapping[str, object], columns: Mapping[str, Column]) -> None:
    """Of money: each setting in words names a numeric column, which may be one that is only passed through."""
    for key, value in settings.items():
        if isinstance(value, str) and not _has_numbers(columns.get(value)):
            raise ValueError(f"{key}: neither a number nor a column of numbers (role numeric, or passthrough "
                             "with type double)")  # fmt: skip


def are_told_apart(is_range: Mapping[str, bool], columns: Mapping[str, Column]) -> None:
    """Of an offer's `who`: each column is there, with numbers for a range and words for a list of them."""
    for name, of_numbers in is_range.items():
        column = columns.get(name)
        if column is None or column.role not in ("numeric", "categorical", "passthrough"):
            raise ValueError(f"offers: who: {name} is no numeric, categorical or passthrough column")
        if of_numbers != _has_numbers(column):
            raise ValueError(f"offers: who: {name} has {column.kind} values, so that "
                             f"{'words' if of_numbers else 'min and max'} are asked for")  # fmt: skip


def _has_numbers(column: Column | None) -> bool:
    return (
        column is not None
        and column.role in ("numeric", "passthrough")
        and column.kind in ("double", "bigint")
    )


def is_a_label_of_snapshots(date: str, contract: Contract, *, is_made: bool) -> None:
    """Of `label.from`: a date of leaving, in a table with snapshots that are not made of events."""
    column = next((c for c in contract.columns if c.name == date), None)
    if column is None or column.kind != "date" or column.role == "snapshot":
        raise ValueError(f"label.from: {date} is neither `events` nor a declared column with a date")
    if contract.snapshot is None or is_made:
        raise ValueError(
            f"label.from: {date} says of each snapshot whether its customer left within the horizon, which needs a "
            "table with a column of role snapshot; a table of one moment needs a column with role label that says who "
            "left"
        )
    names = [c.name for c in contract.columns]
    if contract.label and names.count(contract.label.name) > 1:
        raise ValueError(
            f"columns: {contract.label.name} is the label made of {date}; rename yours with `from:`"
        )
