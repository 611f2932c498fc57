"""The same numbers on another deployment: two executor processes against threads in one."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd

from churn_spark.cli import main
from churn_spark.sample.customers import write_csv
from churn_spark.spark.session import LOCAL

JOBS = """
import sys
from churn_spark.cli import main
arguments = sys.argv[1:]
codes = [main(["train", "-q", *arguments]), main(["score", "-q", "--score-date", "2026-01-31", *arguments])]
sys.exit(max(codes))
"""
CLUSTER = [
    "--set", 'spark.conf.spark.master="local-cluster[2,1,1024]"',
    "--set", f"spark.conf.spark.executor.extraJavaOptions={LOCAL['spark.driver.extraJavaOptions']}",
]  # fmt: skip


def test_train_and_score_on_executor_processes_equal_local_threads(spark, tmp_path: Path) -> None:
    raw = tmp_path / "raw.csv"
    write_csv(raw, 400, seed=3)
    common = ["--raw", str(raw), "--set", "training.num_workers=1", "--set", "training.n_estimators=30"]
    here, there = tmp_path / "threads", tmp_path / "processes"
    command = [sys.executable, "-c", JOBS, *common, *CLUSTER, "--output", str(there)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert main(["train", "-q", *common, "--output", str(here)]) == 0
    assert main(["score", "-q", *common, "--output", str(here), "--score-date", "2026-01-31"]) == 0
    champions = [json.loads((f / "models/champion.json").read_text())["model_id"] for f in (here, there)]
    assert champions[0] == champions[1]
    lineage = ["run_id", "scored_at"]
    one, other = (pd.read_parquet(f / "churn_scores").drop(columns=lineage) for f in (here, there))
    pd.testing.assert_frame_equal(one, other)
