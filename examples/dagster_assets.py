"""Two Dagster assets: the model, and the scores of each day that it gives. `dagster dev -f examples/dagster_assets.py`

Retried is only what a second try may mend: an input that breaks the contract fails at once.
"""

import json
import os
import shlex
import subprocess
from pathlib import Path

from dagster import (
    AssetExecutionContext,
    DailyPartitionsDefinition,
    Definitions,
    Failure,
    MaterializeResult,
    RetryPolicy,
    ScheduleDefinition,
    asset,
    build_schedule_from_partitioned_job,
    define_asset_job,
)

# On a cluster: /opt/churn_spark/spark-submit.sh --master yarn /opt/churn_spark/jobs/{job}.py
COMMAND = os.environ.get("CHURN_COMMAND", "churn-spark {job}")
OUTPUT = os.environ.get("CHURN_OUTPUT", "/data/churn")
OPTIONS = ["--raw", "/data/customers.parquet", "--output", OUTPUT, "--config", "/data/mine.yaml"]
MENDABLE = (1, 23, 24)  # unforeseen, a resource, another run holds the lock
RETRY = RetryPolicy(max_retries=1, delay=300)


def run(job: str, *options: str) -> MaterializeResult:
    """Run a job; its record is the asset's metadata."""
    code = subprocess.run([*shlex.split(COMMAND.format(job=job)), *OPTIONS, *options], check=False).returncode
    if code:
        raise Failure(f"churn-spark {job} ended with exit code {code}", allow_retries=code in MENDABLE)
    records = [json.loads(path.read_text()) for path in sorted(Path(OUTPUT, "_runs").glob("*/run.json"))]
    record = [r for r in records if r["job"] == job][-1]
    told = ("run_id", "model_id", "promoted", "rows", "metrics")
    return MaterializeResult(metadata={name: record[name] for name in told if record.get(name) is not None})


@asset(retry_policy=RETRY)
def churn_model() -> MaterializeResult:
    """The model package; it becomes champion where it is not worse than the one before."""
    return run("train")


@asset(
    deps=[churn_model],
    partitions_def=DailyPartitionsDefinition("2026-01-01", end_offset=1),
    retry_policy=RETRY,
)
def churn_scores(context: AssetExecutionContext) -> MaterializeResult:
    """Scores and reasons of a day; a rerun replaces exactly that day."""
    return run("score", "--score-date", context.partition_key)


daily = define_asset_job("score_daily", [churn_scores])
weekly = define_asset_job("train_weekly", [churn_model])

definitions = Definitions(
    assets=[churn_model, churn_scores],
    schedules=[
        build_schedule_from_partitioned_job(daily, hour_of_day=5),
        ScheduleDefinition(job=weekly, cron_schedule="0 3 * * SUN"),
    ],
)
