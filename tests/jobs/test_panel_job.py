"""The jobs on a panel: split by time, back-tests, the snapshot of the day that is scored."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers import FAST

from churn_spark.cli import main
from churn_spark.sample.customers import write_csv

PANEL = ["--set", "columns.snapshot_date.role=snapshot", "--set", "columns.ticket_notes=null",
         "--set", "split.backtest=2", "--set", "promotion.max_ece=1"]  # fmt: skip


@pytest.fixture(scope="module")
def trained(spark, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A raw panel of nine monthly snapshots, and the output of one training run."""
    folder = tmp_path_factory.mktemp("panel")
    write_csv(folder / "panel.csv", 900, seed=5, months=9)
    place = ["--raw", str(folder / "panel.csv"), "--output", str(folder / "out")]
    assert main(["train", "-q", *place, *PANEL, *FAST]) == 0
    return folder / "panel.csv", folder / "out"


def test_every_output_of_a_panel_says_so(trained: tuple[Path, Path]) -> None:
    _, output = trained
    record = json.loads(next(output.glob("_runs/*/run.json")).read_text())
    assert record["label_basis"] == "panel"
    for table in ("churn_metrics", "churn_curves", "churn_runs"):
        assert set(pd.read_parquet(output / table)["label_basis"]) == {"panel"}


def test_a_backtest_learns_from_what_was_known_at_each_date(trained: tuple[Path, Path]) -> None:
    raw, output = trained
    days = sorted(pd.read_csv(raw)["snapshot_date"].unique())
    rows = pd.read_parquet(output / "churn_metrics").query("split == 'backtest'")
    assert set(rows["metric"]) == {"roc_auc", "pr_auc", "lift_10", "capture_10"}
    origins = [s.removeprefix("as_of=") for s in rows["slice"].unique()]
    assert origins == days[-4:-2]  # tested on the snapshot after it; the newest is censored
    found = rows[rows["metric"] == "roc_auc"]
    assert found["value"].between(0.55, 0.95).all()
    assert (found["ci_low"] < found["value"]).all()
    sizes = pd.read_csv(raw)["snapshot_date"].value_counts()
    assert list(found["n"]) == pytest.approx([sizes[day] for day in days[-3:-1]], rel=0.05)


def test_score_sees_the_newest_snapshot_up_to_its_date_at_the_population_s_base_rate(
    trained: tuple[Path, Path], tmp_path: Path
) -> None:
    raw, output = trained[0], Path(shutil.copytree(trained[1], tmp_path / "own"))
    day = sorted(pd.read_csv(raw)["snapshot_date"].unique())[4]
    place = ["--raw", str(raw), "--output", str(output), "--score-date", day, *PANEL]
    usual, moved = [], []
    for found, settings in ((usual, []), (moved, ["--set", "scoring.base_rate=0.02"])):
        accepted = ["--set", "scoring.max_mean_shift=null"]
        assert main(["score", "-q", *place, *accepted, *settings]) == 0
        found.append(pd.read_parquet(output / "churn_scores").sort_values("customer_id", ignore_index=True))
    before, after = usual[0], moved[0]
    known = pd.read_csv(raw, dtype=str).query("snapshot_date <= @day").sort_values("snapshot_date")
    newest = known.drop_duplicates("customer_id", keep="last")
    gone = (newest["churn"] == "1") & (newest["snapshot_date"] < day)  # a month ago or more
    assert gone.sum() > 50
    assert len(before) == pytest.approx((~gone).sum(), rel=0.02)
    assert set(before["label_basis"]) == {"panel"}
    assert after["churn_probability"].mean() < before["churn_probability"].mean() / 2
    pd.testing.assert_series_equal(before["risk_rank"], after["risk_rank"])
    pd.testing.assert_series_equal(before["reason_1_text"], after["reason_1_text"])
    odds = [p / (1 - p) for p in (before["churn_probability"], after["churn_probability"])]
    assert np.ptp(np.log(odds[0] / odds[1])) == pytest.approx(0, abs=1e-6)
