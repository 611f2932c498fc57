"""What Spark Connect lacks: known in another way, or refused in words."""

from pathlib import Path

import pandas as pd
import pytest
from pyspark.sql import SparkSession

from churn_spark.errors import ConfigError
from churn_spark.spark import classic
from churn_spark.spark.input.files import nanosecond_columns


def test_a_connect_session_is_told_by_its_class(spark: SparkSession) -> None:
    remote = type("SparkSession", (), {"__module__": "pyspark.sql.connect.session"})()
    assert classic.is_connect(remote)
    assert not classic.is_connect(spark)


def test_training_and_paths_that_only_java_opens_are_refused_under_connect(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert classic.context(spark, needed_by="training") is spark.sparkContext
    monkeypatch.setattr(classic, "is_connect", lambda spark: True)
    with pytest.raises(ConfigError, match="training needs Spark's barrier mode"):
        classic.context(spark, needed_by="training")
    with pytest.raises(ConfigError, match="lends no file system") as refused:
        classic.hadoop("hdfs://host/churn")
    assert refused.value.where == "hdfs://host/churn"


def test_cores_are_counted_without_a_context_too(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert classic.default_parallelism(spark) == 2
    monkeypatch.setattr(classic, "is_connect", lambda spark: True)
    assert classic.default_parallelism(spark) == 2


def test_nanoseconds_are_found_by_python_and_by_java(spark: SparkSession, tmp_path: Path) -> None:
    path = tmp_path / "moments.parquet"
    when = pd.to_datetime(pd.Series(["2026-01-31"]))
    frame = pd.DataFrame({"a": when.astype("datetime64[ns]"), "b": when.astype("datetime64[us]"), "n": [1]})
    frame.to_parquet(path, version="2.6")
    assert nanosecond_columns(spark, str(path)) == ("a",)
    assert classic.parquet_schema(spark, str(path)).count("TIMESTAMP(NANOS") == 1
