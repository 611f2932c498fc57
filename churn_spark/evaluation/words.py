"""How a report, a log line and a model card write a number, a share, a sum of money and a name."""

from __future__ import annotations

import math
from typing import Any

from churn_spark.evaluation.measures import Measure


def percent(share: float, *, digits: int = 0) -> str:
    """A share as a percentage; a dash where it is not known."""
    return f"{100 * share + 0.0:.{digits}f}%" if math.isfinite(share) else "–"


def in_points(share: float) -> str:
    """A difference of shares in percentage points."""
    return f"{100 * share:.1f} points" if math.isfinite(share) else "–"


def number(value: float, *, digits: int = 3) -> str:
    """A number with a true minus sign, never -0; a dash where it is not known."""
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "−") if math.isfinite(value) else "–"


def signed(value: float, *, digits: int = 3) -> str:
    """A number with its sign always shown."""
    written = number(value, digits=digits)
    return written if written[0] in "−–" else f"+{written}"


def amount(value: float) -> str:
    """A sum of money, or a count, to three significant digits."""
    if not math.isfinite(value):
        return "–"
    digits = max(0, math.floor(math.log10(abs(value))) - 2) if abs(value) >= 1 else 0
    return f"{round(value, -digits) + 0.0:,.0f}".replace("-", "−")


def interval(measure: Measure, show: Any = number) -> str:
    """The 95 % interval in words."""
    return f"{show(measure.low)} to {show(measure.high)}" if math.isfinite(measure.low) else "unknown"


def plain(text: object, *, limit: int = 0) -> str:
    """Any name or text on one line, without control characters, cut between words in its middle beyond `limit`."""
    line = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
    if not limit or len(line) <= limit:
        return line
    begin, end = line[: limit // 2], line[len(line) - (limit - limit // 2 - 1) :]
    return (begin.rpartition(" ")[0] or begin).rstrip() + "…" + (end.partition(" ")[2] or end).lstrip()
