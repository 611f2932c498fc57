"""How good a fitted booster is: calibrate, choose the threshold, and measure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from churn_spark import metrics
from churn_spark.calibration import fit_calibrator
from churn_spark.decisions import fit_policy
from churn_spark.model import ChurnModel
from churn_spark.scoring import with_scores
from churn_spark.splits import SPLITS
from churn_spark.text import status_column

MAX_ROWS = 2_000_000


@dataclass(frozen=True)
class Evaluation:
    """The finished model and everything measured on it, as rows of `churn_metrics` and `churn_curves`."""

    model: ChurnModel
    metrics: pd.DataFrame
    curves: pd.DataFrame
    rows: dict[str, int]

    def value(self, metric: str, *, split: str = "test") -> float:
        """One number of the `all` slice."""
        table = self.metrics
        found = table[(table["split"] == split) & (table["slice"] == "all") & (table["metric"] == metric)]
        return float(found["value"].iloc[0]) if len(found) else float("nan")

    @property
    def backtest(self) -> pd.DataFrame:
        """The rolling origins: as_of, metric, value, ci_low, ci_high, n; no rows where there were none."""
        rows = self.metrics[self.metrics["split"] == "backtest"]
        return rows.assign(as_of=rows["slice"].str.removeprefix("as_of="))


def collect_scores(df: DataFrame, model: ChurnModel, *, label: str) -> pd.DataFrame:
    """Score the split rows and bring them to the driver without text or vectors.

    Columns: the key, `split`, `label` (0/1), `margin`, the numeric and categorical columns, and for each
    text column `has_<column>`. At most two million rows, chosen by hash of the key beyond.
    """
    contract = model.contract
    shown = [c.name for c in contract.role("numeric", "categorical")]
    has = {f"has_{t.name}": F.col(status_column(t.name)) != "empty" for t in contract.texts}
    rows = df.where(F.col("split").isNotNull()).withColumns({"label": F.col(label).cast("int"), **has})
    total = rows.count()
    if total > MAX_ROWS:
        share = F.pmod(F.xxhash64(F.lit("evaluate"), contract.id.name), F.lit(1_000_000))
        rows = rows.where(share < 1_000_000 * MAX_ROWS // total)
    keep = tuple(dict.fromkeys([*contract.key, "split", "label", *shown, *has]))
    scored = with_scores(rows, model, top=0, templates={}, keep=keep)
    collected: pd.DataFrame = scored.select(*keep, F.col("churn_score_raw").alias("margin")).toPandas()
    return collected.sort_values(list(contract.key), ignore_index=True)


def evaluate(
    provisional: ChurnModel, scored: pd.DataFrame, *, losses: dict[str, Sequence[float]]
) -> Evaluation:
    """Calibrate on the calibration rows, choose threshold and bands there, and measure on every split."""
    split = scored["split"].to_numpy()
    label, margin = scored["label"].to_numpy(float), scored["margin"].to_numpy(np.float32)
    held = split == "calibration"
    calibrator = fit_calibrator(label[held], margin[held])
    probability = calibrator.apply(margin)
    value = _customer_value(provisional, scored)
    typical = (
        replace(provisional.policy, customer_value=float(np.nanmedian(value)))
        if value is not None
        else provisional.policy
    )
    policy = fit_policy(probability[held], typical, population=len(scored))
    model = replace(provisional, calibrator=calibrator, policy=policy)
    slices = slice_columns(scored, model)
    tables, points = [], []
    for name in SPLITS:
        rows = split == name
        worth = None if value is None else value[rows]
        measured = metrics.evaluate(
            label[rows],
            probability[rows],
            policy=policy,
            split=name,
            value=worth,
            customer=scored.loc[rows, model.contract.id.name].to_numpy(),
            slices=slices[rows].reset_index(drop=True) if name == "test" else None,
        )
        tables.append(measured)
        points.append(metrics.curves(label[rows], probability[rows], policy=policy, split=name, value=worth))
    for name, loss in losses.items():
        if len(loss):
            points.append(metrics.learning_curve(loss, split=name, n=int((split == name).sum())))
    return Evaluation(
        model=model,
        metrics=pd.concat(tables, ignore_index=True),
        curves=pd.concat(points, ignore_index=True),
        rows={name: int((split == name).sum()) for name in SPLITS},
    )


def slice_columns(scored: pd.DataFrame, model: ChurnModel) -> pd.DataFrame:
    """The columns that metrics are broken down by: categories, bands of the numbers, with and without text."""
    contract = model.contract
    columns = [c.name for c in contract.role("categorical", "numeric")] + [
        f"has_{t.name}" for t in contract.texts
    ]
    return scored[columns]


def _customer_value(model: ChurnModel, scored: pd.DataFrame) -> np.ndarray[Any, Any] | None:
    column = model.manifest["customer_value_column"]
    return None if column is None else scored[column].to_numpy(dtype=float, na_value=np.nan)
