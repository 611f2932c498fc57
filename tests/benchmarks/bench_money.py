"""Decisions by each row's own costs: `python tests/benchmarks/bench_money.py [--repeats N]`.

The table is that of TV subscriptions in the package `empulse` (a company's, published by Bahnsen et al. 2015): each row
has the cost of a true and a false positive and negative. Savings, out of fold, are the share of the cost of the cheaper
of "contact nobody" and "contact everybody" that a model's decisions save. Ours contacts where the expected value by
`model.offers` is above zero: the costs as an offer that everyone takes, by column. Beside it: a logistic regression
with the same rule, and empulse's cost-sensitive boosting.
"""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from bench_peers import ours
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from churn_spark.model.features import FeatureSpec, Numeric, assemble
from churn_spark.model.policy import campaign_policy
from churn_spark.settings.decision import Decision

Floats = npt.NDArray[np.float64]
EVERYONE = Decision(contact_cost=0, offer_cost="given", accept_rate=1, customer_value="kept")


def table() -> pd.DataFrame | None:
    package = importlib.util.find_spec("empulse")
    if package is None or package.origin is None:
        return None
    data = pd.read_csv(Path(package.origin).parent / "datasets/data/churn_tv_subscriptions.csv.gz")
    # Contacting saves C_FN - C_TP of a churner and costs C_FP - C_TN of a stayer: an offer that all take.
    return data.assign(given=data["C_FP"] - data["C_TN"]).assign(
        kept=lambda d: d["C_FN"] - d["C_TP"] + d["given"]
    )


def by_expected_value(p: Floats, rows: pd.DataFrame) -> npt.NDArray[np.bool_]:
    policy = campaign_policy(EVERYONE, (), typical=rows[["given", "kept"]].median().to_dict())
    return policy.offered(rows, p).terms.expected(p) > 0


def savings(contacted: npt.NDArray[np.bool_], rows: pd.DataFrame) -> float:
    def cost(chosen: npt.NDArray[np.bool_]) -> float:
        churned = rows["target"] == 1
        positive, negative = (
            np.where(churned, rows[c], rows[s]) for c, s in (("C_TP", "C_FP"), ("C_FN", "C_TN"))
        )
        return float(np.where(chosen, positive, negative).sum())

    nobody = np.zeros(len(rows), bool)
    return 1 - cost(contacted) / min(cost(nobody), cost(~nobody))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    data = table()
    if data is None:
        print("skipped: the package empulse is not installed")
        return
    inputs = [c for c in data if c.startswith("x")]
    spec = FeatureSpec(tuple(map(Numeric, inputs)))
    x, y = assemble(spec, data, vectors={}), data["target"].to_numpy(float)
    found: dict[str, list[float]] = {}
    for seed in range(given.repeats):
        chosen = {name: np.zeros(len(y), bool) for name in ("ours", "logistic regression", "CSBoost")}
        for learn, test in StratifiedKFold(5, shuffle=True, random_state=seed).split(x, y):
            rows, before = data.iloc[test], data.iloc[learn]
            chosen["ours"][test] = by_expected_value(ours(spec, (x[learn], y[learn], x[test])), rows)
            linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(
                x[learn], y[learn]
            )
            chosen["logistic regression"][test] = by_expected_value(linear.predict_proba(x[test])[:, 1], rows)
            chosen["CSBoost"][test] = _boosted(x[learn], y[learn], x[test], before)
        for name, decision in chosen.items():
            found.setdefault(name, []).append(savings(decision, data))
    for name, values in found.items():
        print(
            f"{name:22s} savings {np.mean(values):.4f}  by repeat {np.round(values, 4).tolist()}", flush=True
        )


def _boosted(x: Floats, y: Floats, tested: Floats, costs: pd.DataFrame) -> npt.NDArray[np.bool_]:
    from empulse.models import CSBoostClassifier

    model = CSBoostClassifier().fit(
        x, y, tp_cost=costs["C_TP"].to_numpy(), fp_cost=costs["C_FP"].to_numpy(), fn_cost=costs["C_FN"].to_numpy(),
        tn_cost=costs["C_TN"].to_numpy(),
    )  # fmt: skip
    return np.asarray(model.predict_proba(tested)[:, 1] > 0.5)


if __name__ == "__main__":
    main()
