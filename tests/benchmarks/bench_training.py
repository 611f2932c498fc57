"""Training against native xgboost: `python tests/benchmarks/bench_training.py`.

Both read the same Parquet of an id, `features array<float>`, and `label`, use the same cores and
settings, and take turns; the first turn warms up. Native is pyarrow, QuantileDMatrix and `xgb.train` in one
process with a thread per core. A fit of ten rows shows the fixed start-up of xgboost.spark, which is taken off
before the ratio: three barriers polled once a second. Both must reach the same validation loss within 2 %.

With `--dimensions 16,32,64` it says instead what a projection of the text vectors gains and costs: the training job on
the sample, and on the Telco table where that is there, with all dimensions and with those.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xgboost as xgb

from churn_spark import cli
from churn_spark.arrays import Matrix, list_array, vector_matrix
from churn_spark.model.calibration import log_losses
from churn_spark.model.features import FeatureSpec, Numeric
from churn_spark.model.trees import native_parameters
from churn_spark.settings.sections import Training
from churn_spark.spark.session import get_session
from churn_spark.spark.training.fit import fit_booster

TREES = {"max_depth": 2, "learning_rate": 0.1, "reg_lambda": 10.0}
BASE_SCORE = 0.3


def write(path: Path, rows: int, inputs: int, *, seed: int = 0) -> None:
    """A few inputs that matter among noise like an embedding's, in files of 10,000 rows."""
    path.mkdir()
    for first in range(0, rows, 10_000):
        count = min(10_000, rows - first)
        random = np.random.default_rng([first, seed])
        x = random.normal(size=(count, inputs)).astype(np.float32)
        risk = 1 / (1 + np.exp(2 - x[:, 0] - x[:, 1] * x[:, 2] - x[:, :20].sum(1) / 4))
        columns = {
            "customer_id": pa.array([f"C{first + i}" for i in range(count)]),
            "features": list_array(x),
            "label": pa.array((random.random(count) < risk).astype(float)),
        }
        pq.write_table(pa.table(columns), path / f"part-{first:08d}.parquet")


def native(path: Path, spec: FeatureSpec, training: Training) -> xgb.Booster:
    table = pq.read_table(path)
    matrix: Matrix = vector_matrix(table["features"], len(spec.names))
    learn = xgb.QuantileDMatrix(
        matrix, table["label"].to_numpy(), feature_types=spec.types, max_bin=training.max_bin
    )
    settings = native_parameters(training, spec.names, base_score=BASE_SCORE) | {"nthread": os.cpu_count()}
    return xgb.train(settings, learn, training.n_estimators)


def held_loss(booster: xgb.Booster, spec: FeatureSpec, folder: Path) -> float:
    """The log-loss on rows that nobody learnt from."""
    path = folder / "held"
    if not path.exists():
        write(path, 10_000, len(spec.names), seed=1)
    table = pq.read_table(path)
    margin = booster.inplace_predict(vector_matrix(table["features"], len(spec.names)), predict_type="margin")
    return float(log_losses(table["label"].to_numpy(), margin).mean())


def projections(widths: list[str]) -> None:
    """Train on each table with every width; text is computed once, by the first run."""
    telco = Path(os.environ.get("CHURN_SPARK_REAL_TABLES", ".")) / "telco_feedback.csv"
    tables = {"sample": ["--raw", "data/sample/customers.csv"]}
    if telco.exists():
        tables["telco"] = ["--raw", str(telco), "--config", "conf/examples/telco.yaml"]
    print("| table | dimensions | fit, seconds | ROC-AUC | log-loss | exit code |\n|---|---|---|---|---|---|")
    for name, options in tables.items():
        with tempfile.TemporaryDirectory() as output:
            for width in ("null", *widths):
                place = [*options, "--output", output, "--set", f"features.text_dimensions={width}"]
                code = cli.main(["train", "-q", *place])
                newest = max(Path(output).glob("_runs/*/run.json"), key=lambda path: path.stat().st_mtime)
                run = json.loads(newest.read_text())
                manifest = Path(output, "models", run["model_id"], "manifest.json")
                losses = json.loads(manifest.read_text())["metrics"]["test"]["log_loss"]
                seconds, auc = run["seconds"]["fit"], run["metrics"]["roc_auc"]
                print(f"| {name} | {width} | {seconds} | {auc:.4f} | {losses:.4f} | {code} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--inputs", type=int, default=390)
    parser.add_argument("--trees", type=int, default=100)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--dimensions", default="")
    given = parser.parse_args()
    if given.dimensions:
        projections(given.dimensions.split(","))
        return
    cores = os.cpu_count() or 1
    spark = get_session("bench_training", conf={"spark.master": f"local[{cores}]"})
    spec = FeatureSpec(tuple(Numeric(f"x{i}") for i in range(given.inputs)))
    training = Training(n_estimators=given.trees, **TREES)
    with tempfile.TemporaryDirectory() as scratch:
        whole, tiny = Path(scratch) / "rows", Path(scratch) / "tiny"
        write(whole, given.rows, given.inputs)
        write(tiny, 10 * cores, given.inputs)

        def by_spark(path: Path) -> xgb.Booster:
            rows = spark.read.parquet(str(path))
            return fit_booster(rows, spec, key=["customer_id"], training=training, base_score=BASE_SCORE)

        contenders = {
            "start-up": lambda: by_spark(tiny),
            "native": lambda: native(whole, spec, training),
            "churn_spark": lambda: by_spark(whole),
        }
        seconds: dict[str, list[float]] = {name: [] for name in contenders}
        losses = {}
        for turn in range(given.turns + 1):
            for name, fit in contenders.items():
                started = time.perf_counter()
                booster = fit()
                if turn:
                    seconds[name].append(time.perf_counter() - started)
                losses[name] = held_loss(booster, spec, Path(scratch))
        spark.stop()
    np.testing.assert_allclose(losses["churn_spark"], losses["native"], rtol=0.02)
    middle = {name: statistics.median(times) for name, times in seconds.items()}
    print(
        f"{given.rows:,} x {given.inputs}, {given.trees} trees, {cores} cores, median of {given.turns} turns"
    )
    print("| contender | seconds | each turn | loss on other rows |\n|---|---|---|---|")
    for name, times in seconds.items():
        print(
            f"| {name} | {middle[name]:.1f} | {', '.join(f'{t:.1f}' for t in times)} | {losses[name]:.4f} |"
        )
    beyond = (middle["churn_spark"] - middle["start-up"]) / middle["native"]
    print(
        f"beyond the start-up {beyond:.2f} times native; in all {middle['churn_spark'] / middle['native']:.2f}"
    )


if __name__ == "__main__":
    main()
