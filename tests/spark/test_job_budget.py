"""How many Spark jobs a stage may launch: each costs planning and compiling, whatever the size of the table."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from churn_spark.settings.layers import load_config
from churn_spark.spark.input.sources import read_raw
from churn_spark.spark.input.validation import split_valid


@contextmanager
def at_most(spark: SparkSession, jobs: int, of: str) -> Iterator[None]:
    """Fail where the body launches more jobs, or none at all."""
    spark.sparkContext.setJobGroup(of, of)
    yield
    launched = len(spark.sparkContext.statusTracker().getJobIdsForGroup(of))
    spark.sparkContext.setJobGroup("", "")
    assert 0 < launched <= jobs, f"{of}: {launched} jobs, the budget is {jobs}"


def test_reading_and_validation_keep_to_their_jobs(spark: SparkSession, tmp_path: Path) -> None:
    config = load_config()
    raw = tmp_path / "raw.csv"
    names = [c.raw_name for c in config.contract.used]
    row = ["7" if c.kind != "boolean" else "1" for c in config.contract.used]
    raw.write_text(f"{','.join(names)}\n{','.join(row)}\n")

    def validated(folder: str) -> None:
        df = read_raw(spark, str(raw), contract=config.contract, settings=config.input, need_label=True).df
        split_valid(
            df, config.contract, settings=config.validation, purpose="train", folder=str(tmp_path / folder)
        )

    with at_most(spark, 8, "validation of clean rows"):
        validated("clean")
    raw.write_text(raw.read_text() + f"{','.join(row)}\n")
    with at_most(spark, 15, "validation of rows that come twice"):
        validated("twice")


def test_a_stage_beyond_its_budget_is_told(spark: SparkSession) -> None:
    def greedy() -> None:
        with at_most(spark, 1, "greedy"):
            spark.range(3).collect()
            spark.range(3).collect()

    with pytest.raises(AssertionError, match="greedy: 2 jobs, the budget is 1"):
        greedy()
