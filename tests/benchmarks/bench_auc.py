"""What a cheaper embedder costs in ROC-AUC, and a whole note brings: `python bench_auc.py [--raw FILE --config YAML]`.

The same folds of a customer table, embedded by float32, int8 and static, through the kernel's own note code
(redaction, summary, vector, projection) and native xgboost with shallow trees. Paired differences over
repeated folds tell a loss from chance.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import xgboost
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold

from churn_spark.model.features import FeatureSpec
from churn_spark.model.projection import FOLDS, assemble_unseen, fit_projection, text_moments
from churn_spark.notes import prepare as notes
from churn_spark.settings.layers import load_config

VARIANTS = {  # what is embedded, and by which embedder
    "float32": ("summary", {"precision": "float32"}),
    "int8": ("summary", {"precision": "int8"}),
    "static": ("summary", {"name": "static"}),
    "notes": ("note", {"precision": "float32"}),
}
ROUNDS = 120
TREES = {"max_depth": 2, "learning_rate": 0.1, "reg_lambda": 10.0}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--raw", default="data/sample/customers.csv")
    parser.add_argument("--config", action="append", default=[])
    parser.add_argument("--repeats", type=int, default=1, help="times five folds")
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    options = parser.parse_args()
    if not Path(options.raw).is_file():
        print(f"skipped: {options.raw} is not here")
        return
    config = load_config(options.config)
    contract = config.contract
    raw = pd.read_csv(options.raw, dtype=str)
    label = (
        raw[contract.label.raw_name]
        .str.lower()
        .map({"1": 1, "0": 0, "yes": 1, "no": 0, "true": 1, "false": 0})
    )
    raw, label = raw[label.notna()], label.dropna().to_numpy(int)
    table = pd.DataFrame(
        {c.name: pd.to_numeric(raw[c.raw_name], errors="coerce") for c in contract.role("numeric")}
        | {c.name: raw[c.raw_name].astype("category").cat.codes for c in contract.role("categorical")}
    ).to_numpy(np.float32)
    table[np.isinf(table)] = np.nan
    texts = raw[contract.texts[0].raw_name].tolist()
    scores = {}
    for name in options.variants:
        source, embedder = VARIANTS[name]
        settings = config.text.of(contract.texts[0].name)
        embedding = settings.embedder.model_copy(update=embedder)
        text = settings.model_copy(update={"source": source, "embedder": embedding})
        start = time.process_time()
        _, vectors = notes.prepare(texts, text)
        seconds = time.process_time() - start
        training = config.training.model_copy(update=TREES)
        scores[name] = fold_aucs(table, vectors, label, training, repeats=options.repeats)
        change = scores[name] - scores[options.variants[0]]
        error = change.std(ddof=1) / np.sqrt(len(change))
        print(f"{name:8s} ROC-AUC {scores[name].mean():.4f}  change {change.mean():+.4f} (standard error {error:.4f})"
              f"  text {seconds:.0f} CPU s", flush=True)  # fmt: skip


def fold_aucs(
    table: npt.NDArray, vectors: npt.NDArray, y: npt.NDArray, training: object, *, repeats: int
) -> npt.NDArray:
    """ROC-AUC of each fold's held-out rows."""
    names = ("max_depth", "learning_rate", "subsample", "reg_lambda", "min_child_weight", "max_bin")
    settings = {name: getattr(training, name) for name in names}
    found = []
    for seed in range(repeats):
        for train, test in StratifiedKFold(5, shuffle=True, random_state=seed).split(table, y):
            fold = np.full(len(y), -1)
            fold[train] = np.arange(len(train)) % FOLDS
            moments = text_moments(vectors[train], y[train], fold[train])
            text, unseen = fit_projection("note", moments, width=1, folded=False)
            spec = FeatureSpec(texts=(text,))
            said = assemble_unseen(spec, [[t] for t in unseen], {}, vectors={"note": vectors}, fold=fold)
            x = np.hstack([table, said])
            model = xgboost.XGBClassifier(n_estimators=ROUNDS, n_jobs=2, random_state=seed, **settings)
            model.fit(x[train], y[train])
            found.append(roc_auc_score(y[test], model.predict_proba(x[test])[:, 1]))
    return np.array(found)


if __name__ == "__main__":
    main()
