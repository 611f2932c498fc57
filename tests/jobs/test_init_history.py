"""A layer proposed for what has a past trains and scores as it is: an orders log, a panel, customers with tickets."""

import csv
import datetime as dt
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest
from helpers import last_run
from test_history_job import orders
from test_tickets_job import MONTHS, tables

from churn_spark.cli import main

AHEAD = 12  # customers who sign in the future
QUICK = ["--set", "training.n_estimators=10", "--set", "split.backtest=0", "--set", "promotion.max_ece=1",
         "--set", "text.embedder.name=static"]  # fmt: skip


def write(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def an_orders_log(folder: Path) -> list[str]:
    return ["--raw", str(write(folder / "orders.csv", ("customer_id", "date", "amount"), orders()))]


def a_panel_with_a_date(folder: Path) -> list[str]:
    """Every other customer leaves on some day, and spends less in the three months before it."""
    rows: list[tuple[object, ...]] = []
    for number in range(400):
        gone = MONTHS[0] + dt.timedelta(20 * (number // 2 % 20)) if number % 2 else None
        for month in MONTHS:
            is_late = gone is not None and 0 < (gone - month).days < 90
            rows.append((f"C{number:03d}", month, (number % 7 + 3) * (1 if is_late else 3), gone or ""))
    return ["--raw", str(write(folder / "panel.csv", ("customer_id", "month", "spend", "churn_date"), rows))]


def customers_with_tickets(folder: Path) -> list[str]:
    panel, tickets = tables()
    newest = [row for row in panel if row[1] == max(r[1] for r in panel)]
    signed = [f"{2099 if n < AHEAD else 2020}-05-{1 + n % 28:02d}" for n in range(len(newest))]
    customers = [(c, day, spend, left) for (c, _, spend, left), day in zip(newest, signed, strict=True)]
    write(folder / "customers.csv", ("account", "signed_on", "spend", "churn"), customers)
    header = ("requester", "opened_at", "description", "closed_at", "answered_at", "stars", "kind")
    write(folder / "tickets.csv", header, tickets)
    return ["--raw", str(folder / "customers.csv"), "--set", f"tickets.raw={folder / 'tickets.csv'}"]


@pytest.mark.parametrize("data", [an_orders_log, a_panel_with_a_date, customers_with_tickets])
def test_a_proposed_layer_trains_and_scores(spark: object, tmp_path: Path, data) -> None:  # type: ignore[no-untyped-def]
    place = data(tmp_path)
    assert main(["init", *place, "--to", str(tmp_path / "mine.yaml")]) == 0
    place = [*place[:2], "--config", str(tmp_path / "mine.yaml"), "--output", str(tmp_path / "out"), "-q"]
    assert main(["train", *place, *QUICK]) == 0
    record = last_run(tmp_path / "out")
    assert record["past"]["dates_ahead"] == ({"signed_on": AHEAD} if data is customers_with_tickets else {})
    pointer = "champion" if record["promoted"] else "challenger"
    assert record["metrics"]["roc_auc"] > 0.55
    assert main(["score", *place, *QUICK, "--score-date", "2026-02-28", "--model", pointer]) == 0
    scores = pd.read_parquet(tmp_path / "out/churn_scores")
    assert len(scores) > 50
    assert scores["churn_probability"].notna().all()
