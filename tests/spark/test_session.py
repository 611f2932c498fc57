"""The session: what Spark itself prints holds no row value."""

import io
import logging
import os
import sys
from functools import partial
from pathlib import Path

import pytest
from pyspark.errors import PySparkException
from pyspark.logger import PySparkLogger
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from churn_spark.errors import ConfigError
from churn_spark.spark.session import QUERY_LOGGERS, _connected, get_session, warm_workers
from churn_spark.traces import trace


@pytest.mark.parametrize("form", ["sql", "column"])
def test_a_failed_cast_is_told_without_the_value(spark: SparkSession, form: str) -> None:
    note, handler = "Anna was rude", logging.StreamHandler(stream := io.StringIO())
    loggers = [PySparkLogger.getLogger(name) for name in QUERY_LOGGERS]
    for logger in loggers:
        logger.disabled = False
        logger.addHandler(handler)
    try:
        df = get_session().createDataFrame([(note,)], "note string")
        with pytest.raises(PySparkException, match=note) as failed:
            df.select(F.expr("int(note)") if form == "sql" else F.col("note").cast("int")).collect()
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
    assert stream.getvalue() == ""
    assert "[CAST_INVALID_INPUT]" in trace(failed.value)
    assert note not in trace(failed.value)


def test_warm_workers_makes_the_call_in_a_worker_and_is_no_loss_where_it_fails(
    spark: SparkSession, tmp_path: Path
) -> None:
    for place in (tmp_path / "made", tmp_path / "nowhere" / "made"):
        thread = warm_workers(spark, partial(os.mkdir, str(place)))
        assert thread is not None
        thread.join()
    assert (tmp_path / "made").is_dir()


def test_a_python_without_the_client_of_connect_is_told_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pyspark.sql.connect.session", None)
    with pytest.raises(ConfigError, match="lacks a package") as refused:
        _connected("sc://127.0.0.1:1")
    assert "churn-spark[connect]" in refused.value.fix
