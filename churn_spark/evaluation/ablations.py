"""What the model owes to its table and to its notes: the same trees without one of them, and simpler models.

Everything is fitted in this process, on a bounded sample of the rows, and measured on the same test rows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.linear_model import LogisticRegression

from churn_spark.arrays import Floats, Matrix
from churn_spark.evaluation import metrics
from churn_spark.evaluation.findings import Insights
from churn_spark.evaluation.measures import Measure, find
from churn_spark.model.calibration import fit_calibrator
from churn_spark.model.crossfit import cross_fit, lay_out
from churn_spark.model.features import FeatureSpec
from churn_spark.model.model import ChurnModel
from churn_spark.model.projection import Unseen, assemble_unseen
from churn_spark.model.sample import Sample
from churn_spark.settings.sections import Training

TABLE, TEXT, BOTH = "table only", "text only", "table and text"


@dataclass(frozen=True, eq=False)
class Ablations:
    """Variants against the model: see `Facts.comparison` and `Facts.differences`.

    `text`, `table` and `gain` are ROC-AUCs among the test customers who have a note, and their difference.
    """

    comparison: pd.DataFrame
    differences: pd.DataFrame
    text: Measure
    table: Measure
    gain: Measure


def measure_ablations(
    model: ChurnModel, rows: Sample, *, training: Training, unseen: Unseen = ()
) -> Ablations:
    """Fit the variants on the learning rows and compare them with the model on the test rows.

    `unseen` are the text projections by fold; `rows` have `_fold`, and `training` is the model's. Where they are not
    the whole table, the model they are compared with is fitted anew on them, so that no difference is owed to the
    number of rows.
    """
    test = (rows.frame["split"] == "test").to_numpy()
    fold = np.where(test, -1, rows.frame["_fold"]).astype(np.int64)
    matrix = assemble_unseen(model.spec, unseen, rows.frame, vectors=rows.vectors, fold=fold)
    own = model.calibrator.apply(model.margin(matrix[test]))
    variants = _variants(model.spec, rows, matrix, fold, training)
    label, customer = rows.label[test], rows.frame.loc[test, model.contract.id.name].to_numpy()
    policy, full = model.policy, variants.get(BOTH, own)

    def measured(probability: Floats) -> pd.DataFrame:
        return metrics.evaluate(label, probability, policy=policy, split="test", customer=customer)

    def exceeds(probability: Floats, baseline: Floats) -> pd.DataFrame:
        return metrics.compare(label, probability, baseline=baseline, policy=policy, customer=customer)

    comparison = pd.concat([measured(p).assign(variant=name) for name, p in variants.items()])
    differences = pd.concat(
        [exceeds(full, p).assign(baseline=name, n=len(label)) for name, p in variants.items() if name != BOTH]
    )
    tables = comparison.reset_index(drop=True), differences.reset_index(drop=True)
    if TEXT not in variants:
        return Ablations(*tables, Measure(), Measure(), Measure())
    noted = np.any([~np.isnan(rows.vectors[t.name][test, 0]) for t in model.spec.texts], axis=0)
    text, table = (np.where(noted, variants[name], np.nan) for name in (TEXT, TABLE))
    return Ablations(
        *tables,
        text=find(measured(text), metric="roc_auc"),
        table=find(measured(table), metric="roc_auc"),
        gain=find(exceeds(text, table), metric="roc_auc"),
    )


def variant_metrics(insights: Insights) -> pd.DataFrame:
    """The comparison as rows of `churn_metrics`: slices such as `table only`, and `gain over table only`."""
    gains = insights.differences.assign(slice="gain over " + insights.differences["baseline"])
    table = pd.concat([insights.comparison.assign(slice=insights.comparison["variant"]), gains])
    return table.assign(split="test")


def _variants(
    spec: FeatureSpec, rows: Sample, matrix: Matrix, fold: npt.NDArray[np.int64], training: Training
) -> dict[str, Floats]:
    """Every variant's probabilities of the test rows."""
    learn, test = fold >= 0, fold < 0
    tabular = len(spec.numeric) + len(spec.categorical)
    table = replace(spec, texts=())
    variants = {"base rate": np.full(test.sum(), rows.label[learn].mean())}
    if tabular:
        design = _design(table, matrix[:, :tabular], learn)
        logistic = LogisticRegression(max_iter=500).fit(design[learn], rows.label[learn])
        variants["logistic regression"] = logistic.predict_proba(design[test])[:, 1]
    chosen = {TABLE: table, TEXT: replace(spec, numeric=(), categorical=())} if tabular and spec.texts else {}
    if not rows.whole:
        chosen[BOTH] = spec
    for name, part in chosen.items():
        inputs = matrix[:, tabular:] if name == TEXT else matrix[:, : len(part.names)]
        variants[name] = _tree_probabilities(part, inputs, rows.label, fold, training)
    return variants


def _tree_probabilities(
    spec: FeatureSpec, inputs: Matrix, label: Floats, fold: npt.NDArray[np.int64], training: Training
) -> Floats:
    """The probabilities of the test rows by the model's trees, cross-fitted and calibrated on these inputs."""
    learn, test = fold >= 0, np.ascontiguousarray(inputs[fold < 0])
    learning = lay_out(inputs[learn], label[learn], fold[learn], spec, max_bin=training.max_bin)
    fit = cross_fit(learning, training)
    margins = [
        booster.inplace_predict(
            np.ascontiguousarray(test[:, spec.inputs_of(part.fold)]), predict_type="margin"
        )
        for part, booster in zip(learning.parts, fit.boosters, strict=True)
    ]
    calibrator = fit_calibrator(label[learn], fit.margin, fold=fold[learn])
    return np.asarray(calibrator.apply(np.mean(margins, axis=0)), np.float64)


def _design(spec: FeatureSpec, table: Matrix, learn: npt.NDArray[np.bool_]) -> Floats:
    """Model inputs for a linear model: numbers standardised, missing values marked, categories one by one."""
    columns = []
    for kind, values in zip(spec.types, table.T.astype(np.float64), strict=False):
        if kind == "c":
            columns += [values == code for code in np.unique(values[learn & ~np.isnan(values)])]
        else:
            known = values[learn & ~np.isnan(values)]
            middle, scale = (known.mean(), known.std() or 1.0) if len(known) else (0.0, 1.0)
            columns.append(np.nan_to_num((values - middle) / scale).clip(-5, 5))
        columns.append(np.isnan(values))
    return np.column_stack(columns).astype(np.float64)
