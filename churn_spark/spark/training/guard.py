"""Spark work that may lose a worker or hang: tried again a few times, cancelled at a deadline."""

from __future__ import annotations

import logging
import os
import re
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from pyspark import SparkContext

from churn_spark.errors import ResourceError

log = logging.getLogger(__name__)

Result = TypeVar("Result")
GROUP = "spark.jobGroup.id"
# Said of the call or the data, not of a worker: the next attempt would say the same.
LASTING = re.compile(r"\b(ValueError|TypeError|KeyError|ImportError|ModuleNotFoundError)\b: ")


def guarded(
    sc: SparkContext, work: Callable[[], Result], *, name: str, attempts: int, seconds: float
) -> Result:
    """Return what `work` returns, starting it again where it fails, `attempts` times in all.

    A barrier stage is never retried by Spark itself, and a worker that hangs keeps the others waiting for
    ever. So after `seconds`, for all attempts together, the Spark jobs of this thread are cancelled. `work`
    must be repeatable. Raises ResourceError when the deadline passes or the last attempt fails.
    """
    group = f"churn_spark-{name}-{os.getpid()}-{time.monotonic_ns()}"
    before, done, late = sc.getLocalProperty(GROUP), threading.Event(), threading.Event()

    def watch() -> None:
        if done.wait(seconds):
            return
        late.set()
        while True:  # a job may just be about to start
            sc.cancelJobGroup(group)
            if done.wait(1):
                return

    sc.setJobGroup(group, name, interruptOnCancel=True)
    threading.Thread(target=watch, daemon=True).start()
    try:
        for attempt in range(1, attempts + 1):
            try:
                return work()
            except Exception as problem:
                if late.is_set():
                    raise ResourceError(
                        f"{name} was not done after {seconds:g} seconds and was cancelled",
                        where="training.timeout_seconds",
                        fix="look for a worker that hangs or swaps; allow more time if the data need it",
                    ) from problem
                if lasting := LASTING.search(f"{type(problem).__name__}: {problem}"):
                    raise ResourceError(
                        f"{name} failed, and would fail again: {lasting[1]}",
                        fix="see error.txt for the whole of it",
                    ) from problem
                if attempt == attempts:
                    raise ResourceError(
                        f"{name} failed {attempts} times, the last time with {type(problem).__name__}",
                        where="training.max_attempts",
                        fix="see error.txt and the executors' logs; a worker out of memory is the usual cause",
                    ) from problem
                log.warning("step=%s attempt=%d failed=%s", name, attempt, type(problem).__name__)
        raise AssertionError("attempts is at least 1")
    finally:
        done.set()
        sc.setLocalProperty(GROUP, before)  # type: ignore[arg-type]  # None takes it away
