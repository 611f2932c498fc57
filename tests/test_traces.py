"""A stack trace says where and what kind; what a foreign exception quotes of the rows stays out."""

from __future__ import annotations

import io
import json
import logging
import sys

import pytest

from churn_spark import logs
from churn_spark.errors import InputError
from churn_spark.traces import trace

NOTE = 'Anna Schmidt says it\'s "too slow"\nand wants to leave'
JAVA = f"""An error occurred while calling o50.count.
: org.apache.spark.SparkException: Job aborted: Lost task 0.0 (TID 1): org.apache.spark.SparkNumberFormatException: \
[CAST_INVALID_INPUT] The value '{NOTE}' of the type "STRING" cannot be cast to "BIGINT". SQLSTATE: 22018
\tat org.apache.spark.sql.errors.QueryExecutionErrors$.invalidInput(QueryExecutionErrors.scala:147)
\tat java.base/java.lang.Thread.run(Unknown Source)
Caused by: java.lang.NumberFormatException: For input string: "{NOTE}"
"""
WORKER = f"""
  An exception was thrown from the Python worker. Please see the stack trace below.
Traceback (most recent call last):
  File "/opt/app/churn_spark/spark/notes/worker.py", line 12, in run
ValueError: could not convert string to float: '{NOTE}'
"""


def raised(problem: BaseException, *, cause: BaseException | None = None) -> BaseException:
    try:
        raise problem from cause
    except BaseException as caught:
        return caught


def of_spark(name: str, text: str, *, module: str) -> Exception:
    return type(name, (Exception,), {"__module__": module})(text)  # type: ignore[no-any-return]


def leaks(text: str) -> list[str]:
    return [word for word in ("Anna", "Schmidt", "slow", "leave") if word in text]


def test_a_foreign_exception_keeps_its_frames_and_kind_but_no_text() -> None:
    shown = trace(raised(ValueError(f"could not convert string to float: {NOTE!r}")))
    assert shown.startswith("Traceback (most recent call last):\n  File ")
    assert "in raised\n" in shown
    assert shown.endswith("\nValueError\n")
    assert leaks(shown) == []


def test_our_own_errors_keep_their_words() -> None:
    shown = trace(raised(InputError("a column is missing", where="x.csv", fix="add it")))
    assert shown.endswith(
        "churn_spark.errors.InputError: error: a column is missing | where: x.csv | next: add it\n"
    )


def test_causes_and_contexts_are_shown_by_kind() -> None:
    deepest = raised(KeyError(NOTE))
    shown = trace(raised(InputError("no such day"), cause=raised(ValueError(NOTE), cause=deepest)))
    kinds = [line for line in shown.splitlines() if line in ("KeyError", "ValueError")]
    assert kinds == ["KeyError", "ValueError"]
    assert shown.count("direct cause") == 2
    assert leaks(shown) == []
    try:
        try:
            raise KeyError(NOTE)
        except KeyError:
            raise TypeError(NOTE)  # noqa: B904
    except TypeError as problem:
        shown = trace(problem)
    assert "During handling" in shown
    assert leaks(shown) == []


def test_a_chain_that_bites_its_tail_and_a_group_end() -> None:
    one, other = ValueError(NOTE), TypeError(NOTE)
    one.__cause__, other.__cause__ = other, one
    assert leaks(trace(one)) == []
    shown = trace(ExceptionGroup(NOTE, [one, InputError("a column is missing")]))
    assert "a column is missing" in shown
    assert leaks(shown) == []


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (JAVA, ["[CAST_INVALID_INPUT]", "QueryExecutionErrors.scala:147", "java.lang.NumberFormatException"]),
        (f"[CAST_INVALID_INPUT] The value '{NOTE}' cannot be cast", ["[CAST_INVALID_INPUT]"]),
        (WORKER, ["worker.py", "line 12, in run", "ValueError"]),
        (NOTE, []),
    ],
)  # fmt: skip
def test_of_sparks_text_the_skeleton_stays(text: str, kept: list[str]) -> None:
    shown = trace(
        raised(of_spark("NumberFormatException", text, module="pyspark.errors.exceptions.captured"))
    )
    assert [word for word in kept if word not in shown] == []
    assert leaks(shown) == []
    assert trace(of_spark("Py4JJavaError", text, module="py4j.protocol")).count("SQLSTATE") == 0


def test_files_and_missing_packages_are_named() -> None:
    assert "[Errno 2] /nowhere" in trace(FileNotFoundError(2, "No such file", "/nowhere"))
    assert "optuna" in trace(ModuleNotFoundError(NOTE, name="optuna"))
    assert leaks(trace(ModuleNotFoundError(NOTE)) + trace(OSError(NOTE))) == []


@pytest.mark.parametrize("formatter", [logs.JsonLines, logs.Lines])
def test_log_lines_show_no_row_value_of_an_exception(formatter: type[logging.Formatter]) -> None:
    handler = logging.StreamHandler(stream := io.StringIO())
    handler.setFormatter(formatter())
    try:
        raise ValueError(NOTE)
    except ValueError:
        handler.emit(logging.LogRecord("x", logging.DEBUG, "", 0, "the whole of it:", (), sys.exc_info()))
    shown = stream.getvalue()
    assert "ValueError" in (json.loads(shown)["error"] if formatter is logs.JsonLines else shown)
    assert leaks(shown) == []
