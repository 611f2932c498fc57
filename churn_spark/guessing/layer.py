"""The guesses as a settings layer that a person reads."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from churn_spark.contract.columns import Column
from churn_spark.contract.values import FALSE, TRUE
from churn_spark.guessing.columns import Table


def as_yaml(table: Table, *, raw: str, form: Mapping[str, Any] | None = None) -> str:
    """The layer: how the files are written (`form` and the table's notation), and one commented line a column."""
    lines = {f"  {g.column.name}: {{{_spec(g.column)}}}": g.why for g in table.guesses}
    width = max(map(len, lines), default=0)
    roles = [g.column.role for g in table.guesses]
    todo = (
        ["# No column looks like the label (who left): give one the role label."]
        if "label" not in roles and "label" not in table.sections
        else []
    )
    written = {**(form or {}), **table.notation}
    return "\n".join(
        [
            "# A guess from names and contents: read every line, above all the roles and what is ignored.",
            f"#   churn-spark train --raw {raw} --config THIS_FILE --dry-run",
            "# Roles: id, snapshot, label, numeric, categorical, date, text, passthrough, ignore.",
            *todo,
            *(
                ["input:", *(f"  {key}: {_plain(value)}" for key, value in written.items())]
                if written
                else []
            ),
            "columns:",
            *(f"{line:<{width}}  # {why}" for line, why in lines.items()),
            *_sections(table.sections),
            "",
        ]
    )


def _spec(column: Column) -> str:
    written = column.model_dump(by_alias=True, exclude_defaults=True, exclude={"name"}, exclude_none=True)
    return ", ".join(f"{k}: {_plain(v)}" for k, v in {"role": column.role, **written}.items())


def _sections(sections: Mapping[str, Any]) -> list[str]:
    """Sections of a layer, as YAML."""
    return [f"{name}: {_plain(section)}" for name, section in sections.items()]


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_plain(k)}: {_plain(v)}' for k, v in value.items())}}}"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_plain, value))}]"
    is_word = re.fullmatch(r"[A-Za-z_][\w ]*[A-Za-z0-9_]", value) and value.lower() not in (
        *TRUE,
        *FALSE,
        "null",
    )
    if is_word:
        return str(value)
    return json.dumps(value) if re.search(r"[\t\n\\]", value) else "'" + value.replace("'", "''") + "'"
