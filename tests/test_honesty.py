"""What a trained model must not show: skill where there is none to learn."""

import csv
import json
import random
from pathlib import Path

import pandas as pd
from conftest import FAST

from churn_spark.cli import main


def last_run(output: Path) -> dict[str, object]:
    newest = max((output / "_runs").glob("*/run.json"), key=lambda p: p.stat().st_mtime)
    return json.loads(newest.read_text())  # type: ignore[no-any-return]


def test_shuffled_labels_cannot_be_learnt_and_are_not_promoted(spark, tmp_path: Path) -> None:
    with Path("data/sample/customers.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    labels = [r["churn"] for r in rows]
    random.Random(1).shuffle(labels)
    frame = pd.DataFrame(rows).assign(churn=labels).drop(columns="ticket_notes")
    frame.to_csv(tmp_path / "shuffled.csv", index=False)
    settings = ["--set", "columns.ticket_notes=null", "--set", "split.test=0.6"]
    place = ["--raw", str(tmp_path / "shuffled.csv"), "--output", str(tmp_path / "out")]
    assert main(["train", "-q", *place, *FAST, *settings]) == 21
    assert 0.45 < last_run(tmp_path / "out")["metrics"]["roc_auc"] < 0.55  # type: ignore[index]
    assert not (tmp_path / "out/models/champion.json").exists()
