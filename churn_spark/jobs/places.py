"""What a folder's file system can do, tried on the place itself with small files that are removed again."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

# What each is for, and what is done where it is missing.
WITHOUT = {
    "write": "nothing can be published here: choose another folder, or change its permissions",
    "exclusive create": "the lock is written and read again two seconds later",
    "link": "the lock is made by exclusive create",
    "rename": "what is published is copied to its place: a reader may meet a part of a date while it is replaced",
    "chmod": "Spark makes no folder here: mount it so that chmod is ignored, or choose another folder",
    "lock": "a crashed run's lock is free five minutes later, not at once",
}


def try_place(folder: Path) -> dict[str, str]:
    """What works in a folder (made if need be) is named with an empty text, what does not with the error's words."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".churn_spark-", dir=folder) as scratch:
            return {name: _tried(attempt, Path(scratch)) for name, attempt in ATTEMPTS.items()}
    except OSError as problem:
        return {"write": problem.strerror or type(problem).__name__}


def _tried(attempt: Callable[[Path], object], folder: Path) -> str:
    file = folder / "file"
    try:
        file.write_text("churn_spark")
        attempt(file)
    except OSError as problem:
        return problem.strerror or type(problem).__name__
    return ""


def _link(file: Path) -> None:
    os.link(file, file.with_name("link"))


def _rename(file: Path) -> None:
    file.rename(file.with_name("renamed"))


def _exclusive_create(file: Path) -> None:
    os.close(os.open(file.with_name("new"), os.O_CREAT | os.O_EXCL | os.O_WRONLY))


def _lock(file: Path) -> None:
    with file.open() as opened:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)


ATTEMPTS: dict[str, Callable[[Path], object]] = {
    "write": Path.read_text,
    "exclusive create": _exclusive_create,
    "link": _link,
    "rename": _rename,
    "chmod": lambda file: file.chmod(0o600),
    "lock": _lock,
}
