"""Does promotion tell better from luckier? `python tests/benchmarks/bench_promotion.py [--trials 40]`.

On made-up customers, in this process and without notes: a model against another one learned from as many other rows
(A/A; nothing newer: a promotion is a mistake), and a retrain on four times the rows (newer: a refusal is a miss), each
compared on the same test rows by the default rule. Printed: how many of the trials ended in a promotion.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from bench_peers import Floats, ours

from churn_spark.evaluation import metrics
from churn_spark.evaluation.gates import Challenge, _beats
from churn_spark.model.features import Categorical, FeatureSpec, Numeric, assemble
from churn_spark.model.policy import Policy
from churn_spark.sample.customers import PLANS, write_csv
from churn_spark.settings.sections import Promotion

SPEC = FeatureSpec(
    tuple(map(Numeric, ("age", "tenure", "spend_rate"))), (Categorical("plan_type", tuple(PLANS)),)
)


def customers(rows: int, seed: int) -> tuple[np.ndarray, Floats]:
    with tempfile.TemporaryDirectory() as folder:
        write_csv(Path(folder) / "raw.csv", rows, seed=seed)
        raw = pd.read_csv(Path(folder) / "raw.csv", dtype=str)
    raw = raw[raw["churn"].isin(["0", "1"])]
    numbers = {
        n.name: pd.to_numeric(raw[n.name], errors="coerce").where(lambda v: v.abs() < 1e6)
        for n in SPEC.numeric
    }
    return assemble(SPEC, raw.assign(**numbers), vectors={}), raw["churn"].to_numpy(float)


def promoted(new: Floats, old: Floats, label: Floats, *, newer: bool) -> bool:
    policy = Policy()
    measured = metrics.evaluate(label, old, policy=policy, split="test", resamples=10)
    differences = metrics.compare(label, new, baseline=old, policy=policy)
    return _beats(Promotion(), Challenge("m-0", measured, differences, {}, "", newer)).met


def trial(seed: int, *, rows: int) -> tuple[bool, bool]:
    """Whether a model as good, and one on four times the rows, took the champion's place."""
    x, y = customers(6 * rows + rows // 2, seed)
    champion, twin, more = slice(0, rows), slice(rows, 2 * rows), slice(0, 4 * rows)
    tested, label = x[6 * rows :], y[6 * rows :]
    old, other, retrained = (ours(SPEC, (x[part], y[part], tested)) for part in (champion, twin, more))
    return promoted(other, old, label, newer=False), promoted(retrained, old, label, newer=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--rows", type=int, default=2000)
    given = parser.parse_args()
    found = np.array([trial(100 + seed, rows=given.rows) for seed in range(given.trials)])
    print(
        f"A/A promoted {found[:, 0].sum()} of {len(found)}; retrained on four times the rows {found[:, 1].sum()}"
    )
