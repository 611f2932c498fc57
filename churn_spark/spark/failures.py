"""What Spark's wrapped failures mean: one of our errors again, without Java's stack and without row values."""

from __future__ import annotations

import errno
import re
from urllib.parse import unquote

from churn_spark import errors
from churn_spark.errors import ChurnError, InputError, ResourceError

RAISED_IN_WORKER = re.compile(r"churn_spark\.errors\.(\w+): (error: [^\n]*)")
DEAD_JAVA = (
    "the Java process of Spark ended in the middle of the work",
    "run again, with more memory if it happens again: --set spark.conf.spark.driver.memory=6g",
)
WRITABLE = "give this user write permission there, or choose another place: --output FOLDER"
FULL = (errno.ENOSPC, errno.EDQUOT)
FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
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
    ("Answer from Java side is empty", *DEAD_JAVA),
    ("while trying to connect to the Java server", *DEAD_JAVA),
    ("Py4JNetworkError", *DEAD_JAVA),
    ("SparkContext was shut down", *DEAD_JAVA),
    ("ConnectionRefusedError", *DEAD_JAVA),
    ("Disk quota exceeded", "the disk is full", "free some space, or put `output` on another disk"),
    ("Read-only file system", "the output folder cannot be written", WRITABLE),
    ("Mkdirs failed to create", "the output folder cannot be written", WRITABLE),
    (
        "StatusCode.UNAVAILABLE",
        "the Spark Connect server does not answer",
        "check its address, sc://HOST:15002, and that it runs",
    ),
    (
        "PACKAGE_NOT_INSTALLED",
        "this way of using Spark needs packages that are not installed",
        "pip install 'churn-spark[connect]' for Spark Connect; error.txt names the package",
    ),
    ("JAVA_GATEWAY_EXITED", "Java did not start", "run `churn-spark doctor`"),
)


def explain(problem: BaseException) -> ChurnError | None:
    """The ChurnError behind a failure, or None where it was not foreseen."""
    text = f"{type(problem).__name__}: {problem}"
    if isinstance(problem, OSError) and problem.filename:
        return _of_file(problem)
    raised = RAISED_IN_WORKER.search(text)
    if raised:
        kind = getattr(errors, raised[1], ResourceError)
        parts = dict(part.split(": ", 1) for part in raised[2].split(" | ") if ": " in part)
        return kind(parts.get("error", "failed"), where=parts.get("where", ""), fix=parts.get("next", ""))
    for sign, what, fix in SIGNS:
        if sign in text:
            return ResourceError(what, fix=fix)
    return explain_read_failure(problem) if isinstance(problem, Exception) else None


def _of_file(problem: OSError) -> ResourceError:
    what, fix = problem.strerror or type(problem).__name__, "check the path"
    if problem.errno in FULL:
        what, fix = "the disk is full", "free some space, or choose another place: --output FOLDER"
    elif problem.errno in FORBIDDEN:
        what, fix = f"cannot be written or read: {what}", WRITABLE
    return ResourceError(what, where=str(problem.filename), fix=fix)


_CAUSES = {
    r"Unexpected end of input stream|EOFException": "the compressed file is cut short",
    r"[Cc]hecksum": "a checksum does not match: the file is damaged",
    r"MALFORMED_CSV_RECORD": "a row with too many fields",
    r"FILE_NOT_EXIST|FileNotFoundException": "the file went away while it was being read",
    r"Permission denied|AccessControlException|AccessDenied": "this user may not read the file",
    r"FOOTER|not a Parquet file|FileFormatException": "not a whole Parquet or ORC file",
}


def explain_read_failure(problem: BaseException) -> InputError | None:
    """Put a failure of reading an input file into words, without its stack and without any value.

    Returns None where the failure is of another kind. Spark reads when an action runs, so an action on a
    table that was just read may meet one: run it inside `reading()`.
    """
    text = str(problem)
    if re.search(r"No FileSystem for scheme|FileSystem not found", text):
        return InputError("no file system for this kind of path", fix="add its JARs: spark.jars.packages")
    found = re.search(r"\[FAILED_READ_FILE[.\w]*\].*? reading file (.+?)\.(?:\s|$)", text)
    if not found:
        return None
    what = next((words for cause, words in _CAUSES.items() if re.search(cause, text)), "the file is damaged")
    place = re.sub(r"^file:/*", "/", unquote(found[1]))
    return InputError(f"cannot be read: {what}", where=place, fix="write the file again")
