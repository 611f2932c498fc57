"""SIGTERM and Ctrl-C end a run as an error does: its record is written, its lock freed, its Spark work cancelled."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from churn_spark.errors import Cancelled

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def cancellable() -> Iterator[None]:
    """Let the first signal raise Cancelled here; a second one of its kind does not disturb the clearing up."""
    with kept():
        if _may_handle():
            for number in SIGNALS:
                signal.signal(number, _cancel)
        yield


@contextmanager
def kept() -> Iterator[None]:
    """Put back whatever handlers the body changes, as Spark does when it starts."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None and _may_handle():
                signal.signal(number, handler)


def _cancel(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)
    raise Cancelled(number)


def _may_handle() -> bool:
    return threading.current_thread() is threading.main_thread()
