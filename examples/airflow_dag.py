"""Two DAGs for Airflow 3: train on Sundays, and score the day again where a model was promoted; score daily.

Copy it into the folder of DAGs and set the places. A task that Airflow kills is sent SIGTERM: the run frees its lock
and leaves its record. A second try is cheap, since a text is paid for once.
"""

from __future__ import annotations

import datetime as dt
import json
import os
from pathlib import Path

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG, task

# On a cluster: /opt/churn_spark/spark-submit.sh --master yarn /opt/churn_spark/jobs/{job}.py
COMMAND = os.environ.get("CHURN_COMMAND", "churn-spark {job}")
OUTPUT = os.environ.get("CHURN_OUTPUT", "/data/churn")
OPTIONS = f"--raw /data/customers.parquet --output {OUTPUT} --config /data/mine.yaml --log-format json"
DAY = "{{ (dag_run.logical_date or dag_run.run_after).strftime('%Y-%m-%d') }}"
SETTINGS = {
    "start_date": dt.datetime(2026, 1, 1),
    "catchup": False,
    "max_active_runs": 1,
    "tags": ["churn"],
    "default_args": {
        "retries": 1,
        "retry_delay": dt.timedelta(minutes=5),
        "execution_timeout": dt.timedelta(hours=4),
    },
}


def score() -> BashOperator:
    """Scores of the day; a rerun replaces exactly that day."""
    command = f"{COMMAND.format(job='score')} {OPTIONS} --score-date {DAY}"
    return BashOperator(task_id="score", bash_command=command, append_env=True)


@task.short_circuit
def is_promoted() -> bool:
    """Whether the newest training made its model champion; if not, what follows is skipped, and the DAG is green."""
    records = [json.loads(path.read_text()) for path in sorted(Path(OUTPUT, "_runs").glob("*/run.json"))]
    return bool([r for r in records if r["job"] == "train"][-1].get("promoted"))


with DAG("churn_train", schedule="0 3 * * 0", **SETTINGS) as training:
    train = BashOperator(
        task_id="train", bash_command=f"{COMMAND.format(job='train')} {OPTIONS}", append_env=True
    )
    train >> is_promoted() >> score()

with DAG("churn_score", schedule="0 5 * * *", **SETTINGS) as scoring:
    score()
