"""What declared columns must fulfil together; each check raises ValueError, which names the setting and no value."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Mapping

from churn_spark.contract import published
from churn_spark.contract.columns import INNER, RESERVED, Column


def roles_are_held_once(columns: Mapping[str, Column]) -> None:
    """One id; at most one label and one snapshot."""
    roles = Counter(c.role for c in columns.values())
    for role, least in (("id", 1), ("label", 0), ("snapshot", 0)):
        if not least <= roles[role] <= 1:  # type: ignore[index]
            names = [c.name for c in columns.values() if c.role == role]
            raise ValueError(f"columns: exactly one column has role {role}, found {names or 'none'}")


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


def are_texts(named: Iterable[str], columns: Mapping[str, Column]) -> None:
    """Of `text.columns`: each column named has role text."""
    strangers = sorted(set(named) - {n for n, c in columns.items() if c.role == "text"})
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
