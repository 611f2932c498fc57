"""Log lines for people or as JSON: every `key=value` of a message is a field, and so are run, job and step."""

from __future__ import annotations

import datetime as dt
import json
import logging
import re
import sys
from contextvars import ContextVar
from types import TracebackType

from churn_spark.traces import trace

ROOT = "churn_spark"
CONTEXT: ContextVar[dict[str, str]] = ContextVar("run, job and step of what is being logged", default={})  # noqa: B039
FIELD = re.compile(r"(?:^|(?<=\s))([A-Za-z_]\w*)=(\S+)")
NUMBER = re.compile(r"-?\d+(\.\d+)?")
CLEAR = "\r\033[K"
ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class _Formatter(logging.Formatter):
    """Shows an exception without a row value."""

    def formatException(self, ei: ExcInfo) -> str:  # noqa: N802
        return trace(ei[1]).rstrip("\n") if ei[1] else ""


class JsonLines(_Formatter):
    """One JSON object a line: time, level, logger, message, run_id, job, step, and the message's own fields."""

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        line = {
            "time": dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": message,
            **CONTEXT.get(),
            **{name: _typed(value) for name, value in FIELD.findall(message)},
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line)


class Lines(_Formatter):
    """Time, level and message; on a terminal a line takes the place of the progress bar."""

    def __init__(self) -> None:
        super().__init__(
            (CLEAR if sys.stderr.isatty() else "") + "%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"
        )


def set_up(*, as_json: bool, level: int) -> None:
    """Send this package's log to standard error, and to nobody else's handlers."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if as_json else Lines())
    log = logging.getLogger(ROOT)
    log.handlers, log.propagate = [handler], False
    log.setLevel(level)


def has_terminal() -> bool:
    """Whether a person looks on, so that a bar may be drawn."""
    handlers = logging.getLogger(ROOT).handlers
    return sys.stderr.isatty() and any(isinstance(h.formatter, Lines) for h in handlers)


def _typed(value: str) -> str | int | float:
    plain = value.rstrip(",")
    if not NUMBER.fullmatch(plain):
        return value
    return float(plain) if "." in plain else int(plain)
