"""Scoring against xgboost's own ways: `python tests/benchmarks/bench_scoring.py [--rows 1000000] [--cores 2]`.

A model of 388 inputs (a vector of 384, three numbers, one category) scores a Parquet table of prepared rows. The
contenders take turns in one Spark session: with_scores without reasons and with three, both with every other column
of churn_scores; `SparkXGBClassifierModel.transform` on the assembled features; and, without Spark, a loop of
`inplace_predict` over the Arrow batches of the file, on as many threads. Their margins are checked to be equal. Then
`predict` in this process, one record and ten, with remembered and with new notes of 40 words.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xgboost as xgb
from pyspark.ml.functions import vector_to_array
from pyspark.sql import functions as F
from xgboost.spark import SparkXGBClassifier, SparkXGBClassifierModel

from churn_spark.arrays import list_array, vector_array, vector_matrix
from churn_spark.model.calibration import Calibrator
from churn_spark.model.features import Categorical, FeatureSpec, Numeric, TextVector, assemble
from churn_spark.model.model import ChurnModel
from churn_spark.model.policy import Policy
from churn_spark.sample.wording import TOPICS, write_note
from churn_spark.settings.layers import load_config
from churn_spark.spark.scoring.scores import with_scores
from churn_spark.spark.session import get_session

DIMENSION = 384
BATCH = 10_000
PLANS = ("annual", "monthly", "weekly")


def rows(count: int, seed: int) -> tuple[dict[str, Any], Any]:
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(count, DIMENSION)).astype(np.float32) / np.float32(np.sqrt(DIMENSION))
    columns = {
        "customer_id": [f"C{seed:05d}{i:05d}" for i in range(count)],
        "age": random.integers(18, 90, count).astype(float),
        "tenure": random.exponential(20, count).round(),
        "spend_rate": random.normal(60, 20, count).round(2),
        "plan_type": random.choice(PLANS, count),
        "ticket_notes__summary": random.choice(["The bill was wrong again. No refund.", "All fine."], count),
    }
    return columns, vectors


def trained() -> ChurnModel:
    spec = FeatureSpec(
        numeric=(Numeric("age"), Numeric("tenure"), Numeric("spend_rate")),
        categorical=(Categorical("plan_type", PLANS),),
        texts=(TextVector("ticket_notes", DIMENSION),),
    )
    columns, vectors = rows(4000, seed=99_999)
    matrix = assemble(spec, columns, vectors={"ticket_notes": vectors})
    odds = vectors[:, :8].sum(axis=1) * 8 - columns["tenure"] / 20
    label = (odds + np.random.default_rng(1).logistic(size=len(odds)) > 0).astype(float)
    data = xgb.DMatrix(
        matrix, label, feature_names=spec.names, feature_types=spec.types, enable_categorical=True
    )
    booster = xgb.train(
        {"objective": "binary:logistic", "max_depth": 6, "lambda": 100, "nthread": 1}, data, 80
    )
    booster.set_param({"nthread": 1})
    config = load_config()
    return ChurnModel(
        "m-bench", booster, spec, Calibrator("platt", (0.0, 1.0), (0.1, 1.0)), Policy(threshold=0.4),
        config.contract, config.text, {"quote_from": "very_high"},
    )  # fmt: skip


def write_table(path: Path, model: ChurnModel, count: int) -> None:
    writer = None
    for seed in range(-(-count // BATCH)):
        columns, vectors = rows(min(BATCH, count - seed * BATCH), seed)
        features = assemble(model.spec, columns, vectors={"ticket_notes": vectors})
        batch = pa.RecordBatch.from_pydict(
            {**columns, "ticket_notes__inputs": vector_array(vectors), "features": list_array(features)}
        )
        writer = writer or pq.ParquetWriter(path, batch.schema, compression="none")
        writer.write_batch(batch)
    if writer is not None:
        writer.close()


def native(path: Path, model: ChurnModel, threads: int) -> float:
    """A loop over Arrow batches; returns the mean margin."""
    model.booster.set_param({"nthread": threads})
    names = ["age", "tenure", "spend_rate", "plan_type", "ticket_notes__inputs"]
    total, count = 0.0, 0
    for batch in pq.ParquetFile(path).iter_batches(BATCH, columns=names):
        vectors = vector_matrix(batch.column("ticket_notes__inputs"), DIMENSION)
        margin = model.margin(assemble(model.spec, batch, vectors={"ticket_notes": vectors}))
        total, count = total + float(margin.sum(dtype=np.float64)), count + len(margin)
    model.booster.set_param({"nthread": 1})
    return total / count


def in_turns(contenders: dict[str, Callable[[], float]], turns: int, count: int) -> None:
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    means: dict[str, float] = {}
    for _ in range(turns):
        for name, run in contenders.items():
            started = time.perf_counter()
            means[name] = run()
            seconds[name].append(time.perf_counter() - started)
    np.testing.assert_allclose(list(means.values()), means["native loop"], rtol=1e-4)
    best = {name: count / statistics.median(found) for name, found in seconds.items()}
    for name, speed in best.items():
        ratios = ", ".join(f"{speed / best[o]:.2f} x {o}" for o in ("transform", "native loop") if o != name)
        print(f"{name:<18} {speed:>9,.0f} rows/s   {ratios}")


def latencies(model: ChurnModel, calls: int = 300) -> None:
    def record(note: str) -> dict[str, Any]:
        return {"customer_id": "C1", "age": 50, "tenure": 10, "spend_rate": 100, "plan_type": "monthly",
                "ticket_notes": note}  # fmt: skip

    numbers = iter(range(1 << 30))

    def new_note() -> str:
        words: list[str] = []
        while len(words) < 40:
            words += write_note([(len(words) % len(TOPICS), True)], next(numbers)).split()
        return " ".join([f"case{next(numbers)}", *words[:39]])

    known = "Billing issue that was resolved quickly."
    for name, records in (
        ("one record, known note", lambda: [record(known)]),
        ("one record, new note", lambda: [record(new_note())]),
        ("ten records, known notes", lambda: [record(known)] * 10),
        ("ten records, new notes", lambda: [record(new_note()) for _ in range(10)]),
    ):
        model.predict(records())
        taken = []
        for _ in range(calls if "new" not in name else calls // 4):
            batch = records()
            started = time.perf_counter()
            model.predict(batch)
            taken.append(1000 * (time.perf_counter() - started))
        print(f"{name:<26} p50 {np.percentile(taken, 50):6.2f} ms   p99 {np.percentile(taken, 99):6.2f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--cores", type=int, default=2)
    options = parser.parse_args()
    model = trained()
    latencies(model)
    spark = get_session("bench", conf={"spark.master": f"local[{options.cores}]"})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "prepared.parquet"
        write_table(path, model, options.rows)
        table = spark.read.parquet(str(path))
        sklearn = xgb.XGBClassifier()
        sklearn._Booster, sklearn.n_classes_ = model.booster, 2
        transformer = SparkXGBClassifier()._copyValues(SparkXGBClassifierModel(xgb_sklearn_model=sklearn))

        def ours(top: int) -> float:
            scored = with_scores(table.drop("features"), model, top=top, templates={})
            return float(scored.selectExpr("avg(churn_score_raw)", "count(reason_1_text)").collect()[0][0])

        def theirs() -> float:
            made = transformer.transform(table.select("features"))
            margin = vector_to_array("rawPrediction")[1]
            return float(made.select(F.avg(margin)).collect()[0][0])

        contenders = {
            "native loop": lambda: native(path, model, options.cores),
            "transform": theirs,
            "without reasons": lambda: ours(0),
            "three reasons": lambda: ours(3),
        }
        in_turns(contenders, options.turns, options.rows)


if __name__ == "__main__":
    main()
