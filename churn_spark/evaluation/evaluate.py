"""From scored rows to the finished model and everything measured on it: calibrate, choose the threshold, measure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from churn_spark.arrays import Floats
from churn_spark.contract.columns import SPLITS
from churn_spark.evaluation import curves, metrics
from churn_spark.model.calibration import IDENTITY, fit_calibrator
from churn_spark.model.model import ChurnModel
from churn_spark.model.offers import Terms, best_offers
from churn_spark.model.policy import fit_policy

CALIBRATED = ("log_loss", "brier", "ece")  # measured without calibration, too, as <metric>_raw


@dataclass(frozen=True)
class Scores:
    """Scored rows: split, label (0/1), margin, customer, weight and, with terms of their own, those of each offer.

    Learning rows are scored out of fold and have their `fold`.

    Of a large table the rows are cells, which stand for `weight` rows each and whose `customer` is a group of
    customers. `slices` are columns aligned with the rows; of a large table, `cells` are the test rows by slice.
    `population` is how many different customers there are.
    """

    rows: pd.DataFrame
    population: int
    slices: pd.DataFrame | None = None
    cells: Mapping[str, pd.DataFrame] = field(default_factory=dict)


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


def evaluate(provisional: ChurnModel, scores: Scores, *, losses: dict[str, Sequence[float]]) -> Evaluation:
    """Calibrate and choose threshold and bands on the learning rows, scored out of fold; measure on every split."""
    model, rows = _finished(provisional, scores), scores.rows
    tables, points = [], []
    for name in SPLITS:
        part = rows[rows["split"] == name]
        slices = None if scores.slices is None or name != "test" else scores.slices.loc[part.index]
        tables.append(_measured(model, part, split=name, slices=slices))
        points.append(_drawn(model, part, split=name))
    test = rows[rows["split"] == "test"]
    raw = replace(model, calibrator=IDENTITY)
    plain = _measured(raw, test, split="test")
    tables.append(plain[plain["metric"].isin(CALIBRATED)].assign(metric=lambda t: t["metric"] + "_raw"))
    uncorrected = _drawn(raw, test, split="test")
    points.append(uncorrected[uncorrected["curve"] == "calibration"].assign(curve="calibration_raw"))
    cutoff = metrics.contact_cutoff(model.policy, **_known(model, test))
    for slice_name, cells in scores.cells.items():
        if cells["weight"].sum() >= metrics.MIN_SLICE:
            tables.append(_measured(model, cells, split="test", slice_name=slice_name, cutoff=cutoff))
    sizes = {name: round(rows.loc[rows["split"] == name, "weight"].sum()) for name in SPLITS}
    points += [
        curves.learning_curve(loss, split=name, n=sizes["learn"])
        for name, loss in losses.items()
        if len(loss)
    ]
    return Evaluation(
        model=model,
        metrics=pd.concat(tables, ignore_index=True),
        curves=pd.concat(points, ignore_index=True),
        rows=sizes,
    )


def _finished(provisional: ChurnModel, scores: Scores) -> ChurnModel:
    """The model with calibrator, threshold and bands."""
    rows = scores.rows
    held = rows[rows["split"] == "learn"]
    calibrator = fit_calibrator(held["label"], held["margin"], weight=held["weight"], fold=held["fold"])
    base_rate = float(np.average(held["label"], weights=held["weight"]))
    policy = fit_policy(
        calibrator.apply(held["margin"]),
        provisional.policy,
        weight=held["weight"],
        population=scores.population,
    )
    manifest = {**provisional.manifest, "base_rate": base_rate}
    return replace(provisional, calibrator=calibrator, policy=policy, manifest=manifest)


def _known(model: ChurnModel, rows: pd.DataFrame) -> dict[str, Any]:
    probability, terms = model.calibrator.apply(rows["margin"]), told_terms(rows)
    return {
        "label": rows["label"].to_numpy(float),
        "probability": probability,
        "weight": rows["weight"].to_numpy(float),
        "terms": None if terms is None else best_offers(terms, probability).terms,
    }


def terms_columns(terms: Terms) -> dict[str, Floats]:
    """The terms of each offer, (rows, offers), as columns of `Scores.rows`."""
    return {f"{part}_{place}": column for part, columns in terms._asdict().items()
            for place, column in enumerate(columns.T)}  # fmt: skip


def told_terms(rows: pd.DataFrame) -> Terms | None:
    """What `terms_columns` wrote down; None where all rows are of typical terms."""
    names = [[c for c in rows if str(c).startswith(f"{part}_")] for part in Terms._fields]
    return Terms(*(rows[columns].to_numpy(np.float64) for columns in names)) if names[0] else None


def _measured(model: ChurnModel, rows: pd.DataFrame, **how: Any) -> pd.DataFrame:
    customer = rows["customer"].to_numpy()
    return metrics.evaluate(**_known(model, rows), policy=model.policy, customer=customer, **how)


def _drawn(model: ChurnModel, rows: pd.DataFrame, *, split: str) -> pd.DataFrame:
    return curves.curves(**_known(model, rows), policy=model.policy, split=split)
