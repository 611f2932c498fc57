"""Measurements for the tests of figures, verdict and report: real metrics of known probabilities."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd

from churn_spark.evaluation import curves, metrics
from churn_spark.evaluation.findings import Finding
from churn_spark.model.policy import Policy
from churn_spark.report.facts import Facts

HOSTILE = "<script>alert(1)</script>"
POLICY = Policy(threshold=0.164, bands=(0.16, 0.25, 0.5))


def facts(**changed: object) -> Facts:
    """The fewest facts a report can be made of, and what a test adds."""
    known = {"policy": POLICY, **changed}
    return Facts("m-1", "r-1", dt.datetime(2025, 6, 10, tzinfo=dt.UTC), **known)  # type: ignore[arg-type]


def simulate(n: int, *, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn from known probabilities, about a quarter churners."""
    rng = np.random.default_rng(seed)
    probability = rng.beta(0.6, 1.8, n)
    return (rng.random(n) < probability).astype(float), probability


def measure(
    label: object, probability: object, *, split: str = "test", slices: pd.DataFrame | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Metrics and curves of one split."""
    y, p = np.asarray(label, float), np.asarray(probability, float)
    table = metrics.evaluate(y, p, policy=POLICY, split=split, slices=slices, resamples=50)
    return table, curves.curves(y, p, policy=POLICY, split=split)


def measured() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Metrics and curves of all splits of a good model, with slices and a learning curve."""
    tables, points = [], []
    for seed, split in enumerate(("learn", "test")):
        label, probability = simulate(800, seed=seed)
        plan = pd.DataFrame({"plan<b>": np.where(np.arange(800) % 2, "monthly", HOSTILE)})
        table, lines = measure(label, probability, split=split, slices=plan if split == "test" else None)
        tables.append(table)
        points.append(lines)
    loss = 0.3 + 0.2 * np.exp(-np.arange(40) / 8)
    points += [curves.learning_curve(loss, split=split, n=800) for split in ("learn", "unseen")]
    return pd.concat(tables, ignore_index=True), pd.concat(points, ignore_index=True)


def comparison(**aucs: float) -> pd.DataFrame:
    """Variants, written table_only for `table only`, with a ROC-AUC and an interval of ±0.01."""
    rows = [(name.replace("_", " "), "roc_auc", auc, auc - 0.01, auc + 0.01) for name, auc in aucs.items()]
    return pd.DataFrame(rows, columns=["variant", "metric", "value", "ci_low", "ci_high"])


def everything() -> Facts:
    """Facts that fill every section; each text that could come from data is hostile."""
    return facts(
        input=HOSTILE, label_basis="cross_section", split_mode="hash", text_columns=("notes",),
        rows={"in": 110, "valid": 100, "rejected": 7, "duplicates": 3}, split_rows={"learn": 60, "test": 40},
        rejects_by_rule={f"{HOSTILE}:above_max": 7}, text={"notes": 80, "computed": 20, "redacted": 5},
        calibrator="platt", n_trees=30, num_workers=2, parameters={"search": {HOSTILE: HOSTILE}},
        versions={"xgboost": HOSTILE}, seconds={"fit": 1.5}, reason=HOSTILE, champion="m-0", promoted=True, quotes=True,
        findings=(Finding("warn", "named_after_the_event", HOSTILE),),
        importance=pd.DataFrame({"source": [HOSTILE, "notes", "$x^$"], "gain": [0.5, 0.3, 0.2],
                                 "contribution": [0.5, 0.3, 0.1]}),
        comparison=comparison(table_only=0.7, text_only=0.6, logistic_regression=0.65),
        dependence=pd.DataFrame({"column": ["age", "age", HOSTILE], "value": [1, 2, HOSTILE],
                                 "effect": [-0.1, 0.1, 0.3], "n": [5, 5, 5]}),
        phrases=pd.DataFrame({"phrase": [HOSTILE, "thanks"], "effect": [1.0, -1.0], "n_churned": [9, 1],
                              "n_stayed": [2, 8]}),
        examples=pd.DataFrame({"direction": ["up", "down"], "summary": [HOSTILE, "fine"],
                               "effect": [0.5, -0.5]}),
        reasons_sample=pd.DataFrame({"churn_probability": [0.8], "risk_band": ["very_high"],
                                     "reason_1_text": [HOSTILE], "reason_2_text": [None]}),
        backtest=pd.DataFrame({"as_of": ["2025-01", HOSTILE], "metric": "roc_auc", "value": [0.7, 0.8],
                               "ci_low": [0.6, 0.7], "ci_high": [0.8, 0.9], "n": [90, 90]}),
    )  # fmt: skip
