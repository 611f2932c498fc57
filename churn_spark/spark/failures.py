"""What Spark's wrapped failures mean: one of our errors again, without Java's stack and without row values."""

from __future__ import annotations

import re

from churn_spark import errors
from churn_spark.errors import ChurnError, ResourceError
from churn_spark.spark.input.files import explain_read_failure

RAISED_IN_WORKER = re.compile(r"churn_spark\.errors\.(\w+): (error: [^\n]*)")
SIGNS = (
    ("No space left on device", "the disk is full", "free some space, or put `output` on another disk"),
    (
        "Java heap space",
        "Spark ran out of memory",
        "give the driver and executors more memory: spark.driver.memory",
    ),
    (
        "GC overhead limit",
        "Spark ran out of memory",
        "give the driver and executors more memory: spark.driver.memory",
    ),
    (
        "Could not recover from a failed barrier",
        "a training worker was lost",
        "run again; finished text work is kept",
    ),
    (
        "requires more slots than the total number",
        "fewer slots than training workers",
        "set training.num_workers: auto",
    ),
    (
        "Python worker exited unexpectedly",
        "a Python worker died",
        "give the machine more memory, or use fewer cores",
    ),
    ("JAVA_GATEWAY_EXITED", "Java did not start", "run `churn-spark doctor`"),
)


def explain(problem: BaseException) -> ChurnError | None:
    """The ChurnError behind a failure, or None where it was not foreseen."""
    text = f"{type(problem).__name__}: {problem}"
    raised = RAISED_IN_WORKER.search(text)
    if raised:
        kind = getattr(errors, raised[1], ResourceError)
        parts = dict(part.split(": ", 1) for part in raised[2].split(" | ") if ": " in part)
        return kind(parts.get("error", "failed"), where=parts.get("where", ""), fix=parts.get("next", ""))
    for sign, what, fix in SIGNS:
        if sign in text:
            return ResourceError(what, fix=fix)
    return explain_read_failure(problem) if isinstance(problem, Exception) else None
