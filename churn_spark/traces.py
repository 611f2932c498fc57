"""Stack traces as they may be written and printed: where it failed and with what kind of error, without a row value.

Nobody knows what the text of a foreign exception quotes ("could not convert string to float: '<the whole note>'"), so
only our own errors keep theirs. Of Spark's and Java's text its skeleton stays: conditions, classes and frames.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator

from churn_spark.errors import Cancelled, ChurnError

OURS = (ChurnError, Cancelled)
SPARK = ("pyspark", "py4j")
CAUSE = "\nThe above exception was the direct cause of the following exception:\n\n"
CONTEXT = "\nDuring handling of the above exception, another exception occurred:\n\n"
CONDITION = re.compile(r"(?:\A|\.[A-Z]\w*(?:Exception|Error): )(\[[A-Z][A-Z0-9_]*(?:\.[A-Z0-9_]+)*\])")
SKELETON = re.compile(
    r"^(?:Caused by: |: )?(?:[a-z_]\w*\.)*[A-Z]\w*(?:Exception|Error)(?=:|$)"
    r"|^\s+at [\w.$/<>]+\((?:\w+\.(?:java|scala):\d+|Native Method|Unknown Source)\)$"
    r'|^\s+File "[\w./\\:+~-]+\.(?:py|zip)[\w./\\-]*", line \d+, in [\w<>]+$',
    re.M,
)
MOST_LINES = 60  # of a Java stack


def trace(problem: BaseException) -> str:
    """A problem and all that it came from as Python shows them, foreign exceptions by their kind alone.

    A file's error keeps its number and path, an unknown name its name: these come from the program.
    """
    parts = [text for one, link in reversed([*_chain(problem)]) for text in (_one(one), link)]
    return "".join(parts)


def _chain(problem: BaseException) -> Iterator[tuple[BaseException, str]]:
    """A problem, what it came from, and so on; with the words that lead from each to the one before."""
    link, seen = "", set[int]()
    following: BaseException | None = problem
    while following is not None and id(following) not in seen:
        seen.add(id(following))
        yield following, link
        cause, context = following.__cause__, following.__context__
        link = CAUSE if cause is not None else CONTEXT
        following = cause if cause is not None or following.__suppress_context__ else context


def _one(problem: BaseException) -> str:
    """The frames and the last line of one exception, and of those in a group."""
    head = "Traceback (most recent call last):\n" if problem.__traceback__ else ""
    frames = "".join(traceback.format_tb(problem.__traceback__))
    grouped = problem.exceptions if isinstance(problem, BaseExceptionGroup) else ()
    return "".join([head, frames, _kind(problem), "\n", *map(trace, grouped)])


def _kind(problem: BaseException) -> str:
    """What kind of exception it is, with what of its text holds no row value."""
    kind = type(problem)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    told = _told(problem)
    return f"{name}: {told}" if told else name


def _told(problem: BaseException) -> str:
    if isinstance(problem, OURS):
        return str(problem)
    if type(problem).__module__.partition(".")[0] in SPARK:
        return _skeleton(str(problem))
    if isinstance(problem, OSError) and problem.strerror:
        return f"[Errno {problem.errno}] {problem.filename or ''}".rstrip()
    name = getattr(problem, "name", None) if isinstance(problem, ImportError | NameError) else None
    return name if isinstance(name, str) and name.replace(".", "").isidentifier() else ""


def _skeleton(text: str) -> str:
    """The conditions that Spark names in a text, then the classes and frames of its stack, a line each."""
    conditions = list(dict.fromkeys(CONDITION.findall(text)))
    stack = [line.group() for line in SKELETON.finditer(text)][:MOST_LINES]
    return "\n".join([" ".join(conditions), *stack]).strip("\n")
