"""The points of every figure, so that each can be redrawn in SQL."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from churn_spark.arrays import Floats
from churn_spark.evaluation.counts import Counts, ratio, reliability
from churn_spark.evaluation.metrics import count_rows, line_up
from churn_spark.model.offers import Terms
from churn_spark.model.policy import Policy

CURVE_POINTS = 200
HISTOGRAM_BINS = 50


def curves(
    label: ArrayLike,
    probability: ArrayLike,
    *,
    policy: Policy,
    split: str,
    weight: ArrayLike | None = None,
    terms: Terms | None = None,
) -> pd.DataFrame:
    """Return the points of every figure: columns split, curve, bin, x, y, n; an undefined curve has none.

    roc: x false and y true positive rate. pr: recall, precision. gains: share contacted, share of churners
    found. profit: share contacted, money per customer. calibration: mean probability, share that churned.
    score_churned, score_stayed: probability, share of that class. `n` is how many customers a point rests on.
    """
    rows = line_up(label, probability, weight=weight, terms=terms)
    counts, money = count_rows(rows)
    above, contacted = _thinned(counts), _thinned(money)
    recall, everybody = ratio(above.churned, above.churned[-1]), above.customers[-1]
    profit = contacted.campaign(policy).profit
    pooled = reliability(counts)
    points = {
        "roc": (ratio(above.stayed, above.stayed[-1]), recall, above.customers),
        "pr": (recall, ratio(above.churned, above.customers), above.customers),
        "gains": (ratio(above.customers, everybody), recall, above.customers),
        "profit": (ratio(contacted.customers, everybody), ratio(profit, everybody), contacted.customers),
        "calibration": (pooled.score, ratio(pooled.churned, pooled.customers), pooled.customers),
        "score_churned": _histogram(counts.score, counts.churned),
        "score_stayed": _histogram(counts.score, counts.stayed),
    }
    return pd.concat([_curve(name, *xyn, split=split) for name, xyn in points.items()], ignore_index=True)


def learning_curve(loss: ArrayLike, *, split: str, n: int) -> pd.DataFrame:
    """Return the loss after each tree as rows of `curves`; `n` is how many customers it was measured on."""
    y = np.asarray(loss, np.float64)
    shown = np.unique(np.linspace(0, len(y) - 1, min(len(y), CURVE_POINTS)).round().astype(int))
    return _curve("learning", shown + 1.0, y[shown], np.full(len(shown), float(n)), split=split)


def _thinned(counts: Counts) -> Counts:
    """Cumulative counts from nobody to everybody, at no more than CURVE_POINTS equally spaced shares."""
    above = counts.cumulative()
    goals = np.linspace(0, above.customers[-1], CURVE_POINTS - 1)
    shown = np.unique(np.searchsorted(above.customers, goals).clip(max=len(counts.score) - 1))
    return above.each(lambda column: np.r_[0.0, column[shown]])


def _histogram(score: Floats, customers: Floats) -> tuple[Floats, Floats, Floats]:
    height, edges = np.histogram(score, bins=HISTOGRAM_BINS, range=(0, 1), weights=customers)
    return (edges[:-1] + edges[1:]) / 2, ratio(height, customers.sum()), height


def _curve(name: str, x: Floats, y: Floats, n: Floats, *, split: str) -> pd.DataFrame:
    points = pd.DataFrame({"split": split, "curve": name, "bin": np.arange(len(x)), "x": x, "y": y, "n": n})
    return points.astype({"n": np.int64}).dropna(subset=["x", "y"])
