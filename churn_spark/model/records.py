"""Answers to records: columns of values as one dict a record, and what became of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from churn_spark.contract.rules import Problem

NOT_A_RECORD = Problem("not_a_record", "the record is not a mapping of column names to values", ())


def row_status(problems: Sequence[Problem]) -> tuple[str, str | None]:
    """`score_status` and `status_detail` of a row with a usable key."""
    return ("degraded", "; ".join(p.message for p in problems)) if problems else ("ok", None)


def as_records(table: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows as plain Python values, None for missing."""
    columns = [values.tolist() if isinstance(values, np.ndarray) else values for values in table.values()]
    return [
        {name: None if v != v else v for name, v in zip(table, row, strict=True)}
        for row in zip(*columns, strict=True)
    ]
