"""What tests of several rooms share: where things lie, small runs, and ways to count work."""

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
REAL_TABLES = Path(os.environ.get("CHURN_SPARK_REAL_TABLES", ROOT.parent / "shared" / "data"))
ROWS = 900
FAST = ["--set", "training.n_estimators=40"]
EVERYONE = ["--set", "scoring.include_left=true"]  # the sample says who left, and tests want many rows


def real_table(name: str) -> Path:
    """A table of real customers that is not part of the project; the test is skipped where it is absent."""
    if not (REAL_TABLES / name).exists():
        pytest.skip(f"the table {name} is not there; CHURN_SPARK_REAL_TABLES names its folder")
    return REAL_TABLES / name


def last_run(output: Path) -> dict[str, Any]:
    """The newest run's record."""
    newest = max((output / "_runs").glob("*/run.json"), key=lambda p: p.stat().st_mtime)
    return json.loads(newest.read_text())  # type: ignore[no-any-return]


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file below a folder with its size and time of change."""
    files = [p for p in folder.rglob("*") if p.is_file()]
    return {str(p.relative_to(folder)): (p.stat().st_size, p.stat().st_mtime_ns) for p in files}


def count_calls(work: Callable[[], object]) -> int:
    """How many Python functions `work` calls: where rows are handled together, not more for more rows."""
    calls = 0

    def note(frame: object, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return calls


@contextmanager
def interrupted_after(cpu_seconds: float) -> Iterator[None]:
    """Interrupt what would otherwise run for hours, by the processor's time, which other processes do not use up."""

    def interrupt(number: int, frame: object) -> None:
        raise TimeoutError(f"not done after {cpu_seconds} seconds of processor time")

    before = signal.signal(signal.SIGVTALRM, interrupt)
    signal.setitimer(signal.ITIMER_VIRTUAL, cpu_seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
