"""The trees against other libraries' defaults, on real tables: `python tests/benchmarks/bench_peers.py FOLDER`.

Every table of FOLDER that is named in TABLES, three splits each, the same test rows for all. Ours is what `train` does
with a table without notes, in this process: cross-fitted, settings chosen, five boosters as one, calibrated. LightGBM
and CatBoost take part where they are installed. Printed: ROC-AUC and log-loss, and by how much ours is lower, with the
95 % interval of the difference row by row over all three splits.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score

from churn_spark.arrays import Matrix
from churn_spark.contract.folds import FOLDS
from churn_spark.model.calibration import fit_calibrator, log_losses
from churn_spark.model.crossfit import choose, lay_out
from churn_spark.model.features import Categorical, FeatureSpec, Numeric, assemble
from churn_spark.model.trees import averaged
from churn_spark.settings.sections import Training

# table: its label, and the columns that are an id, text, or written after the event
TABLES = {
    "telecom_usage": ("Churn", ()),
    "employees": ("Attrition", ("EmployeeNumber",)),
    "telco_feedback": ("Churn", ("customerID", "PromptInput", "CustomerFeedback")),
}
Floats = npt.NDArray[np.float64]
Rows = tuple[Matrix, Floats, Matrix]  # inputs and labels to learn from, inputs to score


def read(path: Path, label: str, dropped: tuple[str, ...]) -> tuple[FeatureSpec, Matrix, Floats]:
    raw = pd.read_csv(path).drop(columns=list(dropped), errors="ignore")
    churned = raw.pop(label).astype(str).str.lower().isin(["true", "yes", "1"]).to_numpy(float)
    numbers = [c for c in raw if pd.api.types.is_numeric_dtype(raw[c])]
    words = {c: raw[c].astype(str) for c in raw if c not in numbers}
    spec = FeatureSpec(
        tuple(map(Numeric, numbers)),
        tuple(Categorical(c, tuple(sorted(set(values)))) for c, values in words.items()),
    )
    return spec, assemble(spec, raw.assign(**words), vectors={}), churned


def ours(spec: FeatureSpec, rows: Rows) -> Floats:
    x, y, tested = rows
    fold = np.random.default_rng(0).integers(0, FOLDS, len(y))
    choice = choose(lay_out(x, y, fold, spec, max_bin=256), Training())
    booster = averaged(choice.fit.boosters, [spec.inputs_of(k) for k in range(FOLDS)], spec.types)
    calibrator = fit_calibrator(y, choice.fit.margin, fold=fold)
    return calibrator.apply(booster.inplace_predict(tested, predict_type="margin"))


def hist_gradient_boosting(spec: FeatureSpec, rows: Rows) -> Floats:
    x, y, tested = rows
    model = HistGradientBoostingClassifier(
        categorical_features=[t == "c" for t in spec.types], random_state=0
    )
    return model.fit(x, y).predict_proba(tested)[:, 1]


def lightgbm(spec: FeatureSpec, rows: Rows) -> Floats:
    from lightgbm import LGBMClassifier

    x, y, tested = rows
    categories = [i for i, kind in enumerate(spec.types) if kind == "c"]
    model = LGBMClassifier(verbose=-1, random_state=0).fit(x, y, categorical_feature=categories)
    return model.predict_proba(tested)[:, 1]


def catboost(spec: FeatureSpec, rows: Rows) -> Floats:
    from catboost import CatBoostClassifier

    x, y, tested = rows
    categories = [i for i, kind in enumerate(spec.types) if kind == "c"]

    def frame(matrix: Matrix) -> pd.DataFrame:
        return (
            pd.DataFrame(matrix).astype(dict.fromkeys(categories, int)).astype(dict.fromkeys(categories, str))
        )

    model = CatBoostClassifier(verbose=0, random_seed=0, cat_features=categories)
    return model.fit(frame(x), y).predict_proba(frame(tested))[:, 1]


PEERS: tuple[Callable[[FeatureSpec, Rows], Floats], ...] = (hist_gradient_boosting, lightgbm, catboost)


def compare(path: Path, *, seeds: int) -> Iterator[str]:
    spec, x, y = read(path, *TABLES[path.stem])
    losses: dict[str, list[Floats]] = {}
    aucs: dict[str, list[float]] = {}
    for seed in range(1, seeds + 1):
        test = np.random.default_rng(seed).random(len(y)) < 0.2
        for fit in (ours, *PEERS):
            try:
                p = np.clip(fit(spec, (x[~test], y[~test], x[test])), 1e-15, 1 - 1e-15)
            except ImportError:
                continue
            losses.setdefault(fit.__name__, []).append(log_losses(y[test], np.log(p / (1 - p))))
            aucs.setdefault(fit.__name__, []).append(roc_auc_score(y[test], p))
    own = np.concatenate(losses["ours"])
    for name, found in losses.items():
        every = np.concatenate(found)
        gain = every - own
        wide = 1.96 * gain.std() / np.sqrt(len(gain))
        yield (
            f"{path.stem:15s} {name:24s} ROC-AUC {np.mean(aucs[name]):.4f}  log-loss {every.mean():.4f}"
            f"  ours lower by {gain.mean():+.4f} ({gain.mean() - wide:+.4f} to {gain.mean() + wide:+.4f})"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    for table in TABLES:
        if (given.folder / f"{table}.csv").is_file():
            for line in compare(given.folder / f"{table}.csv", seeds=given.seeds):
                print(line, flush=True)
