"""Is anything giving the answer away? Suspicions about single columns, before the trees are fitted."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.metrics import roc_auc_score

from churn_spark.facts import Finding

# Names of things that only exist once a customer has left.
AFTER_THE_EVENT = re.compile(
    r"(^|_)(cancel(l?ed|lation)?|churn(ed)?|closed|closing|terminat(ed|ion)|left|exit|deactivat(ed|ion)|lost)"
    r"_?(date|at|on|time|reason|day|month|flag|score|label)?$|_reason$",
    re.I,
)
FOLDS = 5


def audit_columns(
    aucs: Mapping[str, float], *, max_auc: float, allow: Sequence[str], names: Sequence[str]
) -> list[Finding]:
    """Judge single columns: those that all but are the label, and those named after the event.

    `aucs` are single-column AUCs, `names` all feature columns. Columns in `allow` are never reported.
    """
    findings = [
        Finding(
            "fail",
            "column_is_the_label",
            f"{name} alone separates churners from the others with ROC-AUC {auc:.3f}",
            name,
        )
        for name, auc in aucs.items()
        if auc > max_auc and name not in allow
    ]
    findings += [
        Finding(
            "warn",
            "named_after_the_event",
            f"{name} sounds like something known only after a customer left",
            name,
        )
        for name in names
        if AFTER_THE_EVENT.search(name) and name not in allow
    ]
    return findings


def single_column_aucs(
    frame: pd.DataFrame, label: npt.ArrayLike, *, columns: Sequence[str]
) -> dict[str, float]:
    """The ROC-AUC each column reaches alone, in [0.5, 1].

    Numbers are used as they are, in the better direction, or by whether they are missing; categories by their
    churn rate in the other folds, so that a column of unique values does not look like the label.
    """
    y = np.asarray(label, dtype=float)
    if len(set(y)) < 2:
        return {}
    return {
        c: _numeric_auc(frame[c], y) if _is_number(frame[c]) else _category_auc(frame[c], y) for c in columns
    }


def _is_number(column: pd.Series) -> bool:
    return bool(pd.api.types.is_numeric_dtype(column))


def _numeric_auc(column: pd.Series, y: npt.NDArray[np.float64]) -> float:
    values = column.to_numpy(dtype=float, na_value=np.nan)
    missing = np.isnan(values)
    filled = np.where(missing, np.nanmedian(values) if not missing.all() else 0.0, values)
    scores = [roc_auc_score(y, filled), roc_auc_score(y, missing)]
    return float(max(max(s, 1 - s) for s in scores))


def _category_auc(column: pd.Series, y: npt.NDArray[np.float64]) -> float:
    values = column.astype("string").fillna("").to_numpy(dtype=object)
    fold = np.arange(len(y)) % FOLDS
    rate = np.empty(len(y))
    for k in range(FOLDS):
        train = fold != k
        base = y[train].mean()
        stats = pd.Series(y[train]).groupby(values[train]).agg(["sum", "count"])
        smooth = (stats["sum"] + base) / (stats["count"] + 1)
        rate[~train] = pd.Series(values[~train]).map(smooth).fillna(base)
    return float(max(0.5, roc_auc_score(y, rate)))
