"""What the report and the model card speak about, and how they write a number."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from churn_spark.model.policy import Policy

Severity = Literal["fail", "warn", "ok"]
THOUSAND = 1000  # money is told per this many customers


class Finding(NamedTuple):
    """One thing the leak audit has to say; `column` is empty where no single column is meant.

    `message` holds no value of the table; `phrases` are words of notes, for the report only.
    """

    severity: Severity
    name: str
    message: str
    column: str = ""
    phrases: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False, kw_only=True)
class Insights:
    """What the leak audit, the ablations and the interpretation found; texts are redacted.

    `findings`: None where there was no audit, () where it found nothing. `comparison`: variant, metric,
    value, ci_low, ci_high, n, for `base rate`, `table only`, `text only`, `champion`, `without calibration`
    and others. `differences`: baseline (a variant), metric, value, ci_low, ci_high, by how much this model
    exceeds it on the same rows (`metrics.compare`); without them the verdict sets two intervals against each
    other, which is more cautious. `importance`: source, gain (share), contribution (mean absolute log-odds).
    `dependence`: column, value, effect (log-odds), n. `phrases`: phrase, effect (above 0: customers leave),
    n_churned, n_stayed. `examples`: direction (up, down), summary, effect. `reasons_sample`:
    churn_probability, risk_band, reason_1_text to reason_3_text.
    """

    findings: tuple[Finding, ...] | None = None
    comparison: pd.DataFrame = field(default_factory=pd.DataFrame)
    differences: pd.DataFrame = field(default_factory=pd.DataFrame)
    importance: pd.DataFrame = field(default_factory=pd.DataFrame)
    dependence: pd.DataFrame = field(default_factory=pd.DataFrame)
    phrases: pd.DataFrame = field(default_factory=pd.DataFrame)
    examples: pd.DataFrame = field(default_factory=pd.DataFrame)
    reasons_sample: pd.DataFrame = field(default_factory=pd.DataFrame)


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
    text: Mapping[str, int] = field(default_factory=dict)
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
    backtest: pd.DataFrame = field(default_factory=pd.DataFrame)


class Measure(NamedTuple):
    """A number with its 95 % interval, measured on `n` customers; NaN where it is not known."""

    value: float = math.nan
    low: float = math.nan
    high: float = math.nan
    n: int = 0

    @property
    def known(self) -> bool:
        return math.isfinite(self.value)

    def times(self, factor: float) -> Measure:
        """The measure in another unit."""
        return Measure(self.value * factor, self.low * factor, self.high * factor, self.n)


def find(table: pd.DataFrame, **where: str) -> Measure:
    """The measure in the one row of `table` whose columns have these values; unknown where there is none."""
    if table.empty:
        return Measure()
    rows = table
    for column, wanted in where.items():
        rows = rows[rows[column] == wanted]
    if rows.empty:
        return Measure()
    row = rows.iloc[0]
    return Measure(float(row["value"]), float(row["ci_low"]), float(row["ci_high"]), int(row.get("n", 0)))


def on_test(metrics: pd.DataFrame, metric: str) -> Measure:
    """A metric over all test customers."""
    return find(metrics, split="test", slice="all", metric=metric)


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


def percent(share: float, *, digits: int = 0) -> str:
    """A share as a percentage; a dash where it is not known."""
    return f"{100 * share + 0.0:.{digits}f}%" if math.isfinite(share) else "–"


def in_points(share: float) -> str:
    """A difference of shares in percentage points."""
    return f"{100 * share:.1f} points" if math.isfinite(share) else "–"


def number(value: float, *, digits: int = 3) -> str:
    """A number with a true minus sign, never -0; a dash where it is not known."""
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "−") if math.isfinite(value) else "–"


def signed(value: float, *, digits: int = 3) -> str:
    """A number with its sign always shown."""
    written = number(value, digits=digits)
    return written if written[0] in "−–" else f"+{written}"


def amount(value: float) -> str:
    """A sum of money, or a count, to three significant digits."""
    if not math.isfinite(value):
        return "–"
    digits = max(0, math.floor(math.log10(abs(value))) - 2) if abs(value) >= 1 else 0
    return f"{round(value, -digits) + 0.0:,.0f}".replace("-", "−")


def interval(measure: Measure, show: Any = number) -> str:
    """The 95 % interval in words."""
    return f"{show(measure.low)} to {show(measure.high)}" if math.isfinite(measure.low) else "unknown"


def plain(text: object, *, limit: int = 0) -> str:
    """Any name or text on one line, without control characters, cut in the middle beyond `limit`."""
    line = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
    if not limit or len(line) <= limit:
        return line
    return line[: limit // 2].rstrip() + "…" + line[len(line) - (limit - limit // 2 - 1) :].lstrip()
