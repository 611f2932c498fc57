"""A panel and its tickets: what became of them and what notes say as of each snapshot; the same in a process."""

import csv
import datetime as dt
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers import last_run

from churn_spark import ChurnModel
from churn_spark.cli import main

LAYER = """
columns:
  customer_id: {role: id}
  month: {role: snapshot}
  spend: {role: numeric}
  churn: {role: label}
tickets:
  raw: TICKETS
  customer: account
  date: opened
  text: body
  columns: {resolved: closed, first_response: answered, satisfaction: stars}
  windows: [30d, 90d, lifetime]
  filter: {kind: [support]}
split: {horizon_days: 30, backtest: 0}
training: {n_estimators: 20}
text: {embedder: {name: static}}
promotion: {rule: always}
"""
GOOD = ["Thanks, the new dashboard works great for us.", "Happy with the quick help on our invoice question."]
BAD = [
    "The outage again cost us a day, we look at other vendors.",
    "Nobody answers, we are very unhappy and angry.",
]
MONTHS = [day.date() for day in pd.date_range("2025-07-31", periods=8, freq="ME")]


def tables() -> tuple[list[tuple], list[tuple]]:
    """Snapshots of 300 customers, and tickets: who wrote angrily within 60 days mostly leaves."""
    rng, panel, tickets = np.random.default_rng(3), [], []
    for number in range(300):
        customer = f"C{number:03d}"
        own = []
        for _ in range(rng.poisson(4)):
            opened = MONTHS[0] + dt.timedelta(int(rng.integers(-90, 260)))
            angry = rng.random() < 0.4
            closed = opened + dt.timedelta(int(rng.integers(0, 20))) if rng.random() < 0.8 else ""
            own.append((opened, angry))
            kind = "sales" if rng.random() < 0.1 else "support"
            note = (BAD if angry else GOOD)[int(rng.integers(0, 2))]
            tickets.append((customer, opened, note, closed, opened, int(rng.integers(1, 6)), kind))
        for month in MONTHS:
            late = any(0 <= (month - opened).days < 60 and angry for opened, angry in own)
            left = rng.random() < (0.7 if late else 0.05)
            panel.append((customer, month, f"{rng.gamma(4, 10):.1f}", int(left)))
    return panel, tickets


@pytest.fixture(scope="module")
def scored(spark: object, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tickets")
    panel, tickets = tables()
    for name, header, rows in (
        ("panel", ("customer_id", "month", "spend", "churn"), panel),
        ("tickets", ("account", "opened", "body", "closed", "answered", "stars", "kind"), tickets),
    ):
        with (folder / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([header, *rows])
    (folder / "layer.yaml").write_text(LAYER.replace("TICKETS", str(folder / "tickets.csv")))
    place = ["-q", "--raw", str(folder / "panel.csv"), "--config", str(folder / "layer.yaml"),
             "--output", str(folder / "out")]  # fmt: skip
    assert main(["train", *place]) == 0
    assert main(["score", *place, "--score-date", MONTHS[-1].isoformat()]) == 0
    return folder


def test_what_notes_of_tickets_say_is_learnt_and_told(scored: Path) -> None:
    scores = pd.read_parquet(scored / "out/churn_scores")
    told = scores[scores["reason_1"] == "tickets__notes"]
    assert len(told) > 20
    assert told["reason_1_text"].str.contains("What the notes say|Having no note").all()
    assert told["reason_1_text"].str.contains("|".join(BAD))[told["reason_1_effect"] > 0].all()
    angry = scores["ticket_summary"].isin(BAD)
    assert scores["churn_probability"][angry].mean() > 3 * scores["churn_probability"][~angry].mean()
    record = last_run(scored / "out")
    assert record["past"]["events"]["tickets"]["left_out"] > 50  # sales
    assert record["text"]["distinct"] == 4


def test_a_process_that_is_given_the_tickets_gives_the_same_to_the_bit(scored: Path) -> None:
    scores = pd.read_parquet(scored / "out/churn_scores").set_index("customer_id")
    pointer = json.loads((scored / "out/models/champion.json").read_text())
    model = ChurnModel.load(scored / "out/models" / pointer["model_id"])
    panel, tickets = (pd.read_csv(scored / f"{n}.csv", dtype=str) for n in ("panel", "tickets"))
    newest = panel[panel["month"] == MONTHS[-1].isoformat()]
    newest = newest[newest["customer_id"].isin(scores.index)].to_dict("records")
    shuffled = tickets.sample(frac=1, random_state=1).to_dict("records")
    answers = model.predict(newest, history=panel.to_dict("records"), tickets=shuffled)
    assert len(answers) > 200
    columns = [
        "churn_score_raw",
        "reason_1",
        "reason_1_text",
        "ticket_summary",
        "text_status",
        "score_status",
    ]
    for answer in answers:
        row = scores.loc[answer["customer_id"], columns].to_dict()
        assert {name: answer[name] for name in columns} == row

    blind = model.predict(newest[:1], history=panel.to_dict("records"))[0]
    assert blind["score_status"] == "degraded"
    assert blind["status_detail"] == "the table tickets was not given"
