"""What history is worth where the true hazard is known, and whether a split's promise holds in the future.

    python tests/benchmarks/bench_lives.py [--rows 2000 --seed 1]

Customers of `churn-spark sample --lives` over 30 months: the first 24 are learnt from and tested on through `train`,
the rest is the future, scored through `score` as every second month ends. Printed for each way to look at the tables:
the ROC-AUC that training promised, with its interval, and the one that the future brought, each beside that of the true
hazards of the same months.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
from sklearn.metrics import roc_auc_score

from churn_spark.cli import main
from churn_spark.sample.lives import write_tables

MONTHS, FUTURE = 24, 6
LAYER = """
columns:
  customer_id: {role: id}
  snapshot_date: {role: snapshot}
  age: {role: numeric}
  tenure: {role: numeric}
  spend_rate: {role: numeric}
  usage: {role: numeric}
  plan_type: {role: categorical}
  churn: {role: label}
split: {horizon_days: 30, backtest: 0}
scoring: {max_mean_shift: null}
"""
TABLES = """
events: {{sessions: {{raw: {0}/events.csv, customer: customer_id, date: date, value: [minutes]}}}}
tickets: {{raw: {0}/tickets.csv, customer: customer_id, date: opened, text: ticket_notes,
           columns: {{resolved: resolved, satisfaction: satisfaction}}}}
"""
WAYS = {  # name: (settings, whether tickets and events are given)
    "one snapshot": (["features.history=off"], False),
    "its history": ([], False),
    "history, tickets, events": ([], True),
    "all, split at random": (["split.mode=hash"], True),
}


def compare(folder: Path, rows: int, seed: int) -> None:
    write_tables(folder, rows, seed=seed, months=MONTHS + FUTURE)
    panel = pd.read_csv(folder / "customers.csv", dtype=str)
    days = sorted(panel["snapshot_date"].unique())
    panel[panel["snapshot_date"] <= days[MONTHS - 1]].to_csv(folder / "known.csv", index=False)
    (folder / "one.yaml").write_text(LAYER)
    (folder / "all.yaml").write_text(LAYER + TABLES.format(folder))
    truth = pd.read_csv(folder / "truth.csv").merge(
        pd.read_csv(folder / "customers.csv"), on=["customer_id", "snapshot_date"]
    )
    print(
        "| inputs | promised (95 %) | attainable then | in the future | attainable then |\n|---|---|---|---|---|"
    )
    for number, (name, (settings, with_tables)) in enumerate(WAYS.items()):
        output = folder / f"out{number}"
        layer = folder / ("all.yaml" if with_tables else "one.yaml")
        place = ["-q", "--config", str(layer), "--output", str(output)]
        place += [word for setting in settings for word in ("--set", setting)]
        run(["train", "--raw", str(folder / "known.csv"), *place])
        (record,) = [json.loads(path.read_text()) for path in output.glob("_runs/*/run.json")]
        promised = next(g["found"] for g in record["promotion"]["gates"] if g["name"] == "roc_auc")
        then = attainable(tested(truth, record))
        scores = pd.concat([scored(folder, day, output, place) for day in days[MONTHS::2]])
        met = scores.merge(truth, on=["customer_id", "snapshot_date"])
        future = roc_auc_score(met["churn"], met["churn_probability"])
        print(f"| {name} | {promised} | {then:.3f} | "
              f"{future:.3f} | {attainable(met):.3f} |", flush=True)  # fmt: skip


def tested(truth: pd.DataFrame, record: dict[str, Any]) -> pd.DataFrame:
    """The snapshots of the months that a training run tested on; the newest one's outcome was not known."""
    days = sorted(truth["snapshot_date"].unique())[: MONTHS - 1]
    if record["config"]["split"]["mode"] == "auto":
        days = [d for d in days if d > record["learned_until"]][1:]  # the gap of a month
    return truth[truth["snapshot_date"].isin(days)]


def attainable(rows: pd.DataFrame) -> float:
    return float(roc_auc_score(rows["churn"], rows["true_probability"]))


def scored(folder: Path, day: str, output: Path, place: list[str]) -> pd.DataFrame:
    model = "champion" if (output / "models/champion.json").exists() else "challenger"
    run(["score", "--raw", str(folder / "customers.csv"), "--score-date", day, "--model", model, *place])
    scores = pd.read_parquet(output / "churn_scores")
    scores = scores[scores["score_date"].astype(str) == day]
    return scores[["customer_id", "churn_probability"]].assign(snapshot_date=day)


def run(arguments: list[str]) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        code = main(arguments)
    if code:
        raise SystemExit(f"{arguments[0]} ended with {code}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        compare(Path(scratch), options.rows, options.seed)
