"""From an orders log to scores: a panel, its history and its labels are made; a process scores the same to the bit."""

import csv
import datetime as dt
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from churn_spark import ChurnModel
from churn_spark.cli import main

LAYER = """
columns:
  customer_id: {role: id, from: customer}
  month: {role: snapshot}
  orders: {role: numeric}
  amount: {role: numeric}
  churn: {role: label}
events:
  orders: {customer: customer_id, value: [amount], windows: [30d, 90d, lifetime]}
snapshots: monthly
label: {horizon_days: 60}
split: {horizon_days: 60, backtest: 0}
training: {n_estimators: 20}
"""
FIRST, LAST = dt.date(2025, 1, 1), dt.date(2026, 6, 30)


def orders() -> list[tuple[str, str, str]]:
    """500 customers who order every six to ninety days, each for a while."""
    rng = np.random.default_rng(7)
    rows = []
    for number in range(500):
        day, stops = FIRST + dt.timedelta(int(rng.integers(0, 120))), rng.exponential(300)
        pace = np.exp(rng.uniform(1.8, 4.5))
        while day <= LAST and (day - FIRST).days <= 120 + stops:
            rows.append((f"C{number:03d}", day.isoformat(), f"{rng.gamma(4, 10):.2f}"))
            day += dt.timedelta(1 + int(rng.exponential(pace)))
    return rows


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("orders")
    with (folder / "orders.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("customer_id", "date", "amount"), *orders()])
    (folder / "layer.yaml").write_text(LAYER)
    return folder


def test_an_orders_log_becomes_scores_and_a_process_gives_the_same(spark: object, log: Path) -> None:
    place = [
        "-q",
        "--raw",
        str(log / "orders.csv"),
        "--config",
        str(log / "layer.yaml"),
        "--output",
        str(log / "out"),
    ]
    assert main(["train", *place]) == 0
    pointer = "champion" if (log / "out/models/champion.json").exists() else "challenger"  # either will do
    assert main(["score", *place, "--score-date", LAST.isoformat(), "--model", pointer]) == 0
    scores = pd.read_parquet(log / "out/churn_scores").set_index("customer_id")
    assert set(scores["reason_1"].dropna()) <= {"orders", "amount", "snapshots_seen"}

    model_id = json.loads((log / f"out/models/{pointer}.json").read_text())["model_id"]
    model = ChurnModel.load(log / "out/models" / model_id)
    events = [dict(zip(("customer_id", "date", "amount"), row, strict=True)) for row in orders()]
    panel = panel_by_hand(pd.DataFrame(events))
    newest = panel[panel["month"] == LAST.isoformat()].to_dict("records")[:40]
    answers = model.predict(newest, history=panel.to_dict("records"), events={"orders": events})
    assert len(answers) == 40
    for answer in answers:
        row = scores.loc[answer["customer_id"]]
        assert answer["churn_score_raw"] == row["churn_score_raw"]
        assert (answer["score_status"], answer["reason_1_text"]) == (
            row["score_status"],
            row["reason_1_text"],
        )

    blind = model.predict(newest[:1])[0]
    assert blind["score_status"] == "degraded"
    assert "earlier snapshots were not given" in blind["status_detail"]
    assert "the table orders was not given" in blind["status_detail"]


def panel_by_hand(log: pd.DataFrame) -> pd.DataFrame:
    """The monthly panel of who ordered in the last 60 days, as pandas makes it."""
    day = pd.to_datetime(log["date"])
    rows = []
    for customer, own in log.assign(day=day, amount=log["amount"].astype(float)).groupby("customer_id"):
        for end in pd.date_range(own["day"].min().to_period("M").end_time.normalize(), LAST, freq="ME"):
            age = (end - own["day"]).dt.days
            if age.between(0, 59).any():
                month = own[own["day"].dt.to_period("M") == end.to_period("M")]
                rows.append((customer, end.date().isoformat(), len(month), month["amount"].sum()))
    return pd.DataFrame(rows, columns=["customer_id", "month", "orders", "amount"])
