"""What the report and the model card speak about."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from churn_spark.evaluation.findings import Insights
from churn_spark.evaluation.measures import on_test
from churn_spark.model.policy import Policy

THOUSAND = 1000  # money is told per this many customers


@dataclass(frozen=True, eq=False)
class Facts(Insights):
    """Everything a report says beyond metrics and curves. What is empty is left out.

    A text's vector is one source of importance, named in `text_columns`. `backtest`: as_of, metric, value,
    ci_low, ci_high, n.
    """

    model_id: str
    run_id: str
    created_at: dt.datetime
    input: str = ""
    label_basis: str = ""
    split_mode: str = ""
    rows: Mapping[str, int] = field(default_factory=dict)
    split_rows: Mapping[str, int] = field(default_factory=dict)
    rejects_by_rule: Mapping[str, int] = field(default_factory=dict)
    text: Mapping[str, Any] = field(default_factory=dict)
    text_columns: tuple[str, ...] = ()
    policy: Policy = field(default_factory=Policy)
    calibrator: str = ""
    n_trees: int | None = None
    num_workers: int | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    champion: str = ""
    promoted: bool | None = None
    reason: str = ""
    agreement: Mapping[str, float] = field(default_factory=dict)
    quotes: bool = False
    backtest: pd.DataFrame = field(default_factory=pd.DataFrame)


def points(curves: pd.DataFrame, curve: str, *, split: str = "test") -> pd.DataFrame:
    """The points x, y, n of one curve, in order; no rows where it is undefined."""
    if curves.empty:
        return pd.DataFrame({"x": [], "y": [], "n": []})
    rows = curves[(curves["curve"] == curve) & (curves["split"] == split)]
    return rows.sort_values("bin")[["x", "y", "n"]].reset_index(drop=True)


def contacted_share(metrics: pd.DataFrame) -> float:
    """The share of test customers at or above the threshold."""
    flagged = on_test(metrics, "true_positive").value + on_test(metrics, "false_positive").value
    n = on_test(metrics, "true_positive").n
    return flagged / n if n else math.nan


def slice_table(metrics: pd.DataFrame) -> pd.DataFrame:
    """The ROC-AUC of every slice `column=value` of the test customers where it is known."""
    rows = metrics[(metrics["split"] == "test") & (metrics["metric"] == "roc_auc")]
    return rows[rows["slice"].str.contains("=")].dropna(subset=["value"]).reset_index(drop=True)


def profit_share(metrics: pd.DataFrame, curves: pd.DataFrame) -> float:
    """The share of customers contacted for the measured profit.

    NaN where that is not the share above the threshold: customers with values of their own are contacted by
    expected value.
    """
    line, share, profit = points(curves, "profit"), contacted_share(metrics), on_test(metrics, "profit").value
    if line.empty or not math.isfinite(share + profit):
        return math.nan
    there = float(np.interp(share, line["x"], line["y"]))
    return share if abs(there - profit) <= 0.03 * (line["y"].max() - line["y"].min()) else math.nan
