"""How close a trained model comes to the truth, which the generated table knows of every customer.

    python tests/benchmarks/bench_truth.py [--rows 5000 --seed 1 ...] [-- options of `churn-spark train`]

Each test customer with a valid row counts as `true_probability` of a churner and the rest of a stayer, so that chance
in the labels cancels out. Printed: ROC-AUC of the model and of the truth, their Brier scores, and what each would earn.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from churn_spark import ChurnModel
from churn_spark.cli import main
from churn_spark.evaluation.counts import Counts, money_metrics, probability_metrics, ranking_metrics
from churn_spark.sample.customers import write_csv
from churn_spark.settings.layers import load_config
from churn_spark.spark.session import get_session
from churn_spark.spark.training.splits import with_split


def train_and_compare(folder: Path, *, rows: int, seed: int, options: list[str]) -> dict[str, float]:
    """Train on a generated table through the command line, and hold the test customers against the truth."""
    raw, truth = folder / f"{rows}-{seed}.csv", folder / f"{rows}-{seed}_truth.csv"
    write_csv(raw, rows, seed=seed)
    write_csv(truth, rows, seed=seed, form="truth")
    output = folder / f"out-{rows}-{seed}"
    code = main(["train", "-q", "--raw", str(raw), "--output", str(output), *options])
    if code:
        raise SystemExit(f"train ended with {code}")
    config = load_config(settings=[o for o in options if o != "--set"])
    known = pd.read_csv(raw, dtype=str, keep_default_na=False).merge(pd.read_csv(truth), on="customer_id")
    known = known[known["churn"].isin(["0", "1"])].drop_duplicates("customer_id")
    split = with_split(
        get_session().createDataFrame(known[["customer_id"]]), config.contract, split=config.split
    )
    held = known.merge(split.where("split = 'test'").select("customer_id").toPandas(), on="customer_id")
    model = ChurnModel.load(output / "models")
    answers = model.predict(held.drop(columns=["churn", "true_probability"]).to_dict("records"))
    reached = np.array([a["churn_probability"] for a in answers], dtype=float)
    valid = np.array([a["score_status"] == "ok" for a in answers])
    return against_truth(held["true_probability"].to_numpy()[valid], reached[valid], model)


def against_truth(true: np.ndarray, reached: np.ndarray, model: ChurnModel) -> dict[str, float]:
    """ROC-AUC, Brier score and profit per 1,000 customers, of the model and of the true probabilities."""
    found: dict[str, float] = {"n": len(true)}
    for name, score in (("model", reached), ("truth", true)):
        counts = Counts.of(true, score)
        money = money_metrics(counts, model.policy, cutoff=model.policy.break_even)
        found |= {
            f"roc_auc_{name}": float(ranking_metrics(counts)["roc_auc"]),
            f"brier_{name}": float(probability_metrics(counts)["brier"]),
            f"profit_{name}": 1000 * float(money["profit"]),
        }
    found["brier_excess"] = found["brier_model"] / found["brier_truth"] - 1
    found["profit_share"] = found["profit_model"] / found["profit_truth"]
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[5_000, 100_000])
    parser.add_argument("--seed", type=int, nargs="+", default=[1])
    chosen, train_options = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as scratch:
        for size in chosen.rows:
            for number in chosen.seed:
                numbers = train_and_compare(
                    Path(scratch), rows=size, seed=number, options=[o for o in train_options if o != "--"]
                )
                print(
                    json.dumps({"rows": size, "seed": number, **{k: round(v, 4) for k, v in numbers.items()}})
                )
