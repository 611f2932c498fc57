"""What the model owes to its table and to its notes: the same trees without one of them, and simpler models.

Everything is fitted in this process, on a bounded sample of the rows, and measured on the same test rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import xgboost as xgb
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression

from churn_spark.arrays import Floats, Matrix
from churn_spark.evaluation import metrics
from churn_spark.evaluation.findings import Insights
from churn_spark.evaluation.measures import Measure, find
from churn_spark.model.calibration import fit_calibrator
from churn_spark.model.features import FeatureSpec
from churn_spark.model.model import ChurnModel
from churn_spark.model.projection import Unseen, assemble_unseen
from churn_spark.model.rows import Rows
from churn_spark.model.search import SPACE
from churn_spark.settings.sections import Training

TABLE, TEXT, BOTH = "table only", "text only", "table and text"
TEXT_INPUTS = 32
TREES = (*SPACE, "reg_alpha", "max_bin", "scale_pos_weight")


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


def measure_ablations(model: ChurnModel, rows: Rows, *, training: Training, unseen: Unseen = ()) -> Ablations:
    """Fit the variants on the training rows and compare them with the model on the test rows.

    `unseen` are the text projections by fold; `rows` then have `_fold`. Where they are not the whole table, the
    model they are compared with is fitted anew on them, so that no difference is owed to the number of rows.
    """
    train, test = ((rows.frame["split"] == name).to_numpy() for name in ("train", "test"))
    fold = np.where(train, rows.frame["_fold"] if unseen else 0, -1)
    matrix = assemble_unseen(model.spec, unseen, rows.frame, vectors=rows.vectors, fold=fold)
    own = model.calibrator.apply(model.margin(matrix))[test]
    variants = _variants(model.spec, rows, matrix, training)
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


def _variants(spec: FeatureSpec, rows: Rows, matrix: Matrix, training: Training) -> dict[str, Floats]:
    """Every variant's probabilities of the test rows."""
    split = rows.frame["split"].to_numpy()
    train, test = split == "train", split == "test"
    texts = {t.name for t in spec.texts}
    is_text = np.array([source in texts for source in spec.sources])
    table, text = matrix[:, ~is_text], _narrowed(matrix[:, is_text], train)
    variants = {"base rate": np.full(test.sum(), rows.label[train].mean())}
    if table.shape[1]:
        design = _design(spec, table, train)
        logistic = LogisticRegression(max_iter=500).fit(design[train], rows.label[train])
        variants["logistic regression"] = _calibrated(logistic.decision_function(design), rows)
    chosen = {TABLE: table, TEXT: text} if table.shape[1] and text.shape[1] else {}
    if not rows.whole:
        chosen[BOTH] = np.hstack([table, text])
    for name, inputs in chosen.items():
        tabular = 0 if name == TEXT else table.shape[1]
        variants[name] = _calibrated(_tree_margins(spec, rows, inputs, tabular, training), rows)
    return variants


def _narrowed(text: Matrix, train: npt.NDArray[np.bool_]) -> Matrix:
    """Text vectors by their first principal components, which cost little ranking and save most of the time."""
    known = ~np.isnan(text).any(axis=1)
    if min(text.shape[1], (known & train).sum()) <= TEXT_INPUTS:
        return text
    narrow = np.full((len(text), TEXT_INPUTS), np.nan, np.float32)
    reduction = PCA(TEXT_INPUTS, svd_solver="covariance_eigh").fit(text[known & train])
    narrow[known] = reduction.transform(text[known])
    return narrow


def _tree_margins(spec: FeatureSpec, rows: Rows, inputs: Matrix, tabular: int, training: Training) -> Floats:
    """The log-odds of all rows by the configured trees, fitted as the model is, on these inputs.

    The first `tabular` inputs are those of the table, in the order of `spec`; the others come from text.
    """
    split = rows.frame["split"].to_numpy()
    types = spec.types[:tabular] + ["q"] * (inputs.shape[1] - tabular)
    settings = {name: getattr(training, name) for name in TREES}
    if any(training.monotone.values()):
        signs = [training.monotone.get(n, 0) for n in spec.names[:tabular]]
        settings["monotone_constraints"] = tuple(signs + [0] * (inputs.shape[1] - tabular))
    settings |= {
        "objective": "binary:logistic",
        "eval_metric": "logloss",
        "seed": training.seed,
        "nthread": 1,
    }

    def data(chosen: npt.NDArray[np.bool_]) -> xgb.DMatrix:
        return xgb.DMatrix(inputs[chosen], rows.label[chosen], feature_types=types, enable_categorical=True)

    booster = xgb.train(
        settings,
        data(split == "train"),
        num_boost_round=training.n_estimators,
        evals=[(data(split == "validation"), "validation")],
        early_stopping_rounds=training.early_stopping_rounds,
        verbose_eval=False,
    )
    best = (0, booster.best_iteration + 1)
    every = data(np.ones(len(split), bool))
    return booster.predict(every, iteration_range=best, output_margin=True).astype(np.float64)


def _calibrated(margin: Floats, rows: Rows) -> Floats:
    """Probabilities of the test rows, calibrated on the rows that the model is calibrated on."""
    split = rows.frame["split"].to_numpy()
    held = split == "calibration"
    calibrator = fit_calibrator(rows.label[held], margin[held].astype(np.float32))
    return np.asarray(calibrator.apply(margin[split == "test"].astype(np.float32)), np.float64)


def _design(spec: FeatureSpec, table: Matrix, train: npt.NDArray[np.bool_]) -> Floats:
    """Model inputs for a linear model: numbers standardised, missing values marked, categories one by one."""
    columns = []
    for kind, values in zip(spec.types, table.T.astype(np.float64), strict=False):
        if kind == "c":
            columns += [values == code for code in np.unique(values[train & ~np.isnan(values)])]
        else:
            known = values[train & ~np.isnan(values)]
            middle, scale = (known.mean(), known.std() or 1.0) if len(known) else (0.0, 1.0)
            columns.append(np.nan_to_num((values - middle) / scale).clip(-5, 5))
        columns.append(np.isnan(values))
    return np.column_stack(columns).astype(np.float64)
