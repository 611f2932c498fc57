"""How many Spark jobs a stage may launch: each costs planning and compiling, whatever the size of the table."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest
from helpers import EVERYONE
from pyspark.sql import SparkSession

from churn_spark.cli import main
from churn_spark.settings.layers import load_config
from churn_spark.settings.sections import Text
from churn_spark.spark.input.sources import read_raw
from churn_spark.spark.input.validation import split_valid
from churn_spark.spark.notes.cache import Cache
from churn_spark.spark.notes.counts import TextCounts
from churn_spark.spark.notes.stage import with_texts

log = logging.getLogger(__name__)


@contextmanager
def at_most(spark: SparkSession, jobs: int, of: str) -> Iterator[None]:
    """Fail where the body launches more jobs, or none at all."""
    spark.sparkContext.setJobGroup(of, of)
    yield
    launched = len(spark.sparkContext.statusTracker().getJobIdsForGroup(of))
    spark.sparkContext.setJobGroup("", "")
    log.info("%s: %d jobs", of, launched)
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


def test_the_text_stage_keeps_to_its_jobs_and_starts_few_where_all_is_known(
    spark: SparkSession, tmp_path: Path
) -> None:
    notes = [("a", "Late bill, again."), ("b", "All fine."), ("c", "Late bill, again."), ("d", None)]
    rows = spark.createDataFrame(notes, "id string, note string")
    text = Text.model_validate({"embedder": {"name": "static"}})

    def noted(run_id: str) -> TextCounts:
        counts, cache = TextCounts(), Cache(str(tmp_path / "cache"), run_id)
        with_texts(rows, ["note"], text=text, cache=cache, work=str(tmp_path / run_id), counts=counts)
        return counts

    with at_most(spark, 52, "texts, none known"):
        assert noted("cold").computed == 2
    with at_most(spark, 18, "texts, all known"):
        assert noted("warm").computed == 0


def test_scoring_keeps_to_its_jobs_and_starts_fewer_where_nothing_changed(
    spark: SparkSession, raw: Path, own_output: Path
) -> None:
    score = ["score", "-q", "--raw", str(raw), "--output", str(own_output), *EVERYONE]
    with at_most(spark, 90, "score, every note known"):
        assert main([*score, "--score-date", "2026-02-01", "--set", "scoring.reuse=false"]) == 0
    with at_most(spark, 65, "score, nothing changed"):
        assert main([*score, "--score-date", "2026-02-02", "--set", "scoring.reuse=true"]) == 0
    newest = pd.read_parquet(own_output / "churn_scores" / "score_date=2026-02-02")
    assert newest["score_reused"].all()


def test_a_stage_beyond_its_budget_is_told(spark: SparkSession) -> None:
    def greedy() -> None:
        with at_most(spark, 1, "greedy"):
            spark.range(3).collect()
            spark.range(3).collect()

    with pytest.raises(AssertionError, match="greedy: 2 jobs, the budget is 1"):
        greedy()
