"""The last words of a command: the result and the next command to type, or what went wrong and what to do."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from churn_spark.errors import ChurnError, ResourceError
from churn_spark.settings.refusals import is_secret

SUBMITTED = "CHURN_SPARK_SUBMIT"  # what spark-submit.sh was given for Spark itself


def say(lines: Sequence[str]) -> None:
    """The result, on standard output."""
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


def fail(lines: Sequence[str], code: int) -> int:
    """The last words of a failure, three lines at most; returns the exit code."""
    sys.stderr.write("\n".join(lines[:3]) + "\n")
    sys.stderr.flush()
    return code


def explained(problem: BaseException) -> BaseException:
    """Errors that Spark has wrapped, and those of disk and Java, as ours; others as they are."""
    if isinstance(problem, ChurnError) or not isinstance(problem, Exception):
        return problem
    if isinstance(problem, ModuleNotFoundError) and problem.name == "pyspark":
        return ResourceError("Spark is not installed here", fix="pip install 'churn-spark[spark]'")
    from churn_spark.spark.failures import explain

    ours = explain(problem)
    if ours is None:
        return problem
    ours.__cause__ = problem  # for error.txt
    return ours


def summary(run: Any) -> list[str]:
    """A line a step, where the record lies, and what to type next."""
    lines = []
    for step in run.steps:
        facts = " · ".join(f"{k} {_shown(v)}" for k, v in step.items() if k not in ("step", "seconds"))
        lines.append(f"{step['step']:<9} {step['seconds']:7.1f} s  {facts}")
    where = "nothing was written (dry run)" if run.dry else f"run record: {run.folder}/run.json"
    return [*lines, where, f"next: {next_command(run)}"]


def _shown(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def next_command(run: Any) -> str:
    """The next command to type, with the same options."""
    options = [a for a in run.record["argv"][1:] if a != "--dry-run"]
    if run.dry:
        return f"the same without --dry-run: {job_command(run.job, options)}"
    if run.job == "score":
        if run.tables.in_catalog or run.tables.format != "parquet":
            table = run.tables.location("churn_scores")
            return f"the call list and other queries are in conf/sql; the table is {table}"
        place = ["--output", run.config.output.path, "--score-date", run.record["score_date"]]
        return shlex.join(["churn-spark", "call-list", *place])
    promotion = run.record.get("promotion") or {}
    if run.job == "train" and promotion and not promotion["promoted"] and promotion["champion"] is None:
        again = job_command("score", [*options, "--model", "challenger"])
        return f"the report says why; to score with this model all the same: {again}"
    if run.job == "train":
        return f"open the report, then: {job_command('score', options)}"
    return job_command("train", options)


def job_command(name: str, options: Sequence[str]) -> str:
    """A job as it would be started the way that this process was: by spark-submit, or by the console script."""
    if Path(sys.argv[0]).parent.name != "jobs":
        return shlex.join(["churn-spark", name, *options])
    words = shlex.split(os.environ[SUBMITTED]) if SUBMITTED in os.environ else _submitted()
    starter = "./spark-submit.sh" if SUBMITTED in os.environ else "spark-submit"
    return shlex.join([starter, *_shareable(words), f"jobs/{name}.py", *options])


def _submitted() -> list[str]:
    """What a bare spark-submit was told of its master, as far as the session knows."""
    from pyspark.sql import SparkSession

    if "SPARK_REMOTE" in os.environ:
        return ["--remote", os.environ["SPARK_REMOTE"]]
    spark = SparkSession.getActiveSession()
    return ["--master", str(spark.conf.get("spark.master"))] if spark else []


def _shareable(words: Sequence[str]) -> list[str]:
    """Spark's options without those that hold a secret, and the names these belong to."""
    pairs = zip(words, [*words, ""][1:], strict=True)
    return [word for word, after in pairs if not is_secret(word) and not is_secret(after)]
