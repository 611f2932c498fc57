"""What history is worth on an orders log: ROC-AUC of snapshots alone, with their history, with the orders themselves.

    python tests/benchmarks/bench_history.py --orders orders.csv     # columns customer_id, date, units, amount

A snapshot of every customer with an order in the last `--horizon` days at the end of each month; who orders nothing in
as many days has left. Tested on the last three months, learnt from snapshots whose outcome was known before them. The
95 % interval is a bootstrap by customer. With `lightgbm` and `lifetimes` installed, LightGBM on the same inputs and
BG/NBD's probability of being alive (Fader, Hardie & Lee 2005) stand beside.
"""

from __future__ import annotations

import argparse
import importlib.util
from typing import Any

import numpy as np
import pandas as pd
import xgboost as xgb
from sklearn.metrics import roc_auc_score

from churn_spark.contract.history import LIFETIME
from churn_spark.history import events, panel
from churn_spark.history.rows import Rows

COLUMNS = ("orders", "units", "amount")
TREES = {
    "objective": "binary:logistic",
    "max_depth": 4,
    "reg_lambda": 10,
    "learning_rate": 0.05,
    "nthread": 1,
}


def epoch_days(dates: pd.Series) -> pd.Series:
    return (dates - pd.Timestamp(0)).dt.days


def read(path: str) -> pd.DataFrame:
    log = pd.read_csv(path, dtype={"customer_id": str}, parse_dates=["date"])
    log["customer"] = log["customer_id"].astype("category").cat.codes.astype(np.int64)
    return log.assign(day=epoch_days(log["date"]), month=log["date"].dt.to_period("M"), orders=1)


def snapshots(log: pd.DataFrame) -> pd.DataFrame:
    """One row per customer and month since the first order: what the month held."""
    months = pd.period_range(log["month"].min(), log["month"].max(), freq="M")
    first = log.groupby("customer")["month"].min()
    grid = pd.MultiIndex.from_product([first.index, months], names=["customer", "month"]).to_frame(
        index=False
    )
    grid = grid[grid["month"] >= grid["customer"].map(first)]
    held = log.groupby(["customer", "month"])[list(COLUMNS)].sum().reset_index()
    rows = grid.merge(held, "left", ["customer", "month"]).fillna(dict.fromkeys(COLUMNS, 0))
    return rows.assign(day=epoch_days(rows["month"].dt.end_time.dt.normalize())).sort_values(
        ["customer", "day"]
    )


def days_of(log: pd.DataFrame) -> events.Days:
    daily = log.groupby(["customer", "day"])[list(COLUMNS)].sum().reset_index()
    sums = {name: daily[name].to_numpy(float) for name in ("units", "amount")}
    return events.Days(
        daily["customer"].to_numpy(), daily["day"].to_numpy(), daily["orders"].to_numpy(), sums
    )


def interval(label: np.ndarray, score: np.ndarray, customer: np.ndarray, draws: int = 200) -> str:
    rng, places = np.random.default_rng(1), pd.Series(range(len(label))).groupby(customer).indices
    names, aucs = list(places), []
    for _ in range(draws):
        chosen = np.concatenate([places[names[i]] for i in rng.integers(0, len(names), len(names))])
        aucs.append(roc_auc_score(label[chosen], score[chosen]))
    low, high = np.percentile(aucs, [2.5, 97.5])
    return f"{roc_auc_score(label, score):.3f} ({low:.3f} to {high:.3f})"


def alive(log: pd.DataFrame, test: pd.DataFrame) -> np.ndarray:
    """BG/NBD's probability of having left, fitted and asked at each test month on the orders up to it."""
    from lifetimes import BetaGeoFitter
    from lifetimes.utils import summary_data_from_transaction_data

    gone = np.empty(len(test))
    for day, rows in test.groupby("day"):
        known = log[log["day"] <= day]
        end = pd.Timestamp(day, unit="D")
        table = summary_data_from_transaction_data(known, "customer", "date", observation_period_end=end)
        fitter = BetaGeoFitter(penalizer_coef=0.001).fit(table["frequency"], table["recency"], table["T"])
        own = table.loc[rows["customer"]]
        p = fitter.conditional_probability_alive(own["frequency"], own["recency"], own["T"])
        gone[test.index.get_indexer(rows.index)] = 1 - np.asarray(p)
    return gone


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--orders", required=True)
    parser.add_argument("--horizon", type=int, default=90)
    options = parser.parse_args()
    log = read(options.orders)
    days, rows = days_of(log), snapshots(log)
    customer, day, horizon = rows["customer"].to_numpy(), rows["day"].to_numpy(), options.horizon
    own = Rows(customer, day)
    now = rows[list(COLUMNS)].to_numpy(float)
    past = [h for name in COLUMNS for h in panel.numeric_history(own, rows[name].to_numpy(float), (3, 6))]
    happened = list(events.event_history(days, customer, day, windows=(30, 90, 180, LIFETIME)))
    recent, ahead = (
        next(iter(events.event_history(days, customer, day, windows=(horizon,), delay=delay)))
        for delay in (0, -horizon)
    )
    is_live = (recent > 0) & (day + horizon <= log["day"].max())
    first_test = np.sort(np.unique(day[is_live]))[-3]
    test, learn = is_live & (day >= first_test), is_live & (day + horizon <= first_test)
    label = (ahead == 0).astype(float)
    print(f"{is_live.sum():,} snapshots, {learn.sum():,} to learn from, {test.sum():,} to test on")

    def show(name: str, score: Any) -> None:
        print(f"{name:34} {interval(label[test], np.asarray(score), customer[test])}")

    inputs = {
        "this snapshot alone": now,
        "+ earlier snapshots": np.column_stack([now, *past, own.position]),
        "+ orders, without snapshots' history": np.column_stack([now, *happened]),
        "+ both": np.column_stack([now, *past, own.position, *happened]),
    }
    for name, matrix in inputs.items():
        booster = xgb.train(TREES, xgb.DMatrix(matrix[learn], label[learn]), 150)
        show(name, booster.predict(xgb.DMatrix(matrix[test])))
    if importlib.util.find_spec("lightgbm"):
        import lightgbm

        peer = lightgbm.LGBMClassifier(verbosity=-1, n_jobs=1).fit(matrix[learn], label[learn])
        show("LightGBM, both", peer.predict_proba(matrix[test])[:, 1])
    if importlib.util.find_spec("lifetimes"):
        show("BG/NBD, probability of being gone", alive(log, rows[test]))


if __name__ == "__main__":
    main()
