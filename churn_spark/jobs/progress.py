"""Signs of life of a long step: a bar on a terminal, elsewhere a log line every half minute."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context

from churn_spark.logs import CLEAR, has_terminal

HEARTBEAT_SECONDS, BAR_SECONDS, WIDTH = 30.0, 1.0, 24
Tasks = Callable[[], tuple[int, int]]  # done and all of the Spark jobs that run

log = logging.getLogger(__name__)


@contextmanager
def watched(step: str, tasks: Tasks) -> Iterator[None]:
    """Show that a step goes on, while the body runs."""
    done = threading.Event()
    show = _draw if has_terminal() else _beat
    thread = threading.Thread(target=copy_context().run, args=(show, step, tasks, done), daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _beat(step: str, tasks: Tasks, done: threading.Event) -> None:
    started = time.monotonic()
    while not done.wait(HEARTBEAT_SECONDS):
        finished, total = tasks()
        log.info(
            "step=%s goes on, seconds=%.0f tasks=%d/%d", step, time.monotonic() - started, finished, total
        )


def _draw(step: str, tasks: Tasks, done: threading.Event) -> None:
    started = time.monotonic()
    while not done.wait(BAR_SECONDS):
        sys.stderr.write(CLEAR + bar(step, time.monotonic() - started, *tasks()))
        sys.stderr.flush()
    sys.stderr.write(CLEAR)
    sys.stderr.flush()


def bar(step: str, seconds: float, finished: int, total: int) -> str:
    """A step's line on a terminal."""
    filled = WIDTH * finished // total if total else 0
    return f"{step:<9} {seconds:7.1f} s  [{'=' * filled:<{WIDTH}}] {finished}/{total} tasks"
