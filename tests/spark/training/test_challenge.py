"""A champion and a challenger on the same test rows, through the jobs as a user runs them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from helpers import FAST, last_run

from churn_spark.cli import main


@pytest.fixture
def champion(output: Path, tmp_path: Path) -> Path:
    """A copy of the session's output, for its champion and its text cache."""
    folder = tmp_path / "out"
    for name in ("models", "churn_notes"):
        shutil.copytree(output / name, folder / name)
    return folder


def test_a_challenger_that_is_not_better_stays_one_until_it_is_accepted(
    raw: Path, champion: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = ["-q", "--raw", str(raw), "--output", str(champion)]
    stump = [*place, *FAST, "--set", "training.max_depth=1", "--set", "training.n_estimators=1"]
    before = (champion / "models/champion.json").read_text()

    assert main(["train", *stump]) == 0
    assert last_run(champion)["promoted"] is False
    assert "not better than the champion's" in last_run(champion)["promotion"]["why"]
    assert (champion / "models/champion.json").read_text() == before
    assert not (champion / "churn_metrics").exists()
    record = last_run(champion)["promotion"]
    assert record["champion"] == json.loads(before)["model_id"]
    assert 0 < record["agreement"]["rank_correlation"] < 1
    assert record["differences"]["log_loss"]["ci_low"] > 0
    challenger = json.loads((champion / "models/challenger.json").read_text())["model_id"]
    report = (champion / "models" / challenger / "report.html").read_text()
    assert "No, it stays" in report

    assert main(["score", *place, "--model", "challenger", "--score-date", "2026-02-01"]) == 0
    assert set(pd.read_parquet(champion / "churn_scores")["model_id"]) == {challenger}

    accepted = [
        "--set",
        "promotion.rule=always",
        "--set",
        "promotion.max_ece=1",
    ]  # one tree is not calibrated
    assert main(["train", *stump, *accepted]) == 0
    assert json.loads((champion / "models/champion.json").read_text())["model_id"] == challenger
    assert not (champion / "models/challenger.json").exists()
    assert "No, it stays" not in (champion / "models" / challenger / "report.html").read_text()
    capsys.readouterr()
    assert main(["history", "-q", "--output", str(champion)]) == 0
    assert capsys.readouterr().out.count("\n") == 2
    assert main(["rollback", "-q", "--output", str(champion)]) == 0
    assert (
        json.loads((champion / "models/champion.json").read_text())["model_id"]
        == json.loads(before)["model_id"]
    )


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (["--set", "columns.plan_type=null"], "lacks: plan_type"),
        (["--set", "text.embedder.name=static"], "gain"),
    ],
)
def test_a_challenger_of_other_columns_or_vectors(
    raw: Path, champion: Path, capsys: pytest.CaptureFixture[str], layer: list[str], words: str
) -> None:
    """Without a column the champion needs it cannot be compared; with other vectors each model reads its own."""

    place = ["-q", "--raw", str(raw), "--output", str(champion), *FAST, "--set", "promotion.on_refusal=fail"]
    assert main(["train", *place, "--set", "training.n_estimators=2", *layer]) == 21
    assert words in capsys.readouterr().err
