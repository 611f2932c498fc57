"""What a run tells the tasks that follow it, where it is a task of a Databricks job.

Such a task cannot see exit codes or files of another; a condition reads `{{tasks.train.values.promoted}}`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any

PLATFORM = "DATABRICKS_RUNTIME_VERSION"  # set by Databricks on clusters and serverless alike

log = logging.getLogger(__name__)


def task_values(record: Mapping[str, Any]) -> dict[str, str | bool | int]:
    """What is told of a run: its id, model_id, rows_scored, and promoted or score_date where it has them."""
    told = {name: record.get(name) for name in ("run_id", "model_id", "promoted", "score_date")}
    return {k: v for k, v in told.items() if v is not None} | {"rows_scored": record["rows"]["scored"]}


def set_task_values(record: Mapping[str, Any]) -> None:
    """Tell them by `dbutils`, where this is Databricks; that it cannot be done is logged, and no error."""
    if PLATFORM not in os.environ:
        return
    try:
        from databricks.sdk.runtime import dbutils

        for key, value in task_values(record).items():
            dbutils.jobs.taskValues.set(key=key, value=value)
    except Exception as problem:  # the platform's own errors, of which no list is known
        log.warning("the job's other tasks could not be told of this run: %s", type(problem).__name__)
