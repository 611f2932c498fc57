"""One customer in words, from the published tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame

from churn_spark.errors import InputError
from churn_spark.settings.sections import Config
from churn_spark.spark.scoring.dates import read_date, score_dates
from churn_spark.spark.session import get_session
from churn_spark.spark.tables import Tables

Row = dict[str, Any]


def explain(config: Config, customer: str) -> list[str]:
    """One customer's newest score, summary and every reason, in words. Raises InputError for an unknown one."""
    tables = Tables.of(config)
    in_files = tables.format == "parquet" and not tables.in_catalog
    score, reasons = (_from_files if in_files else _from_spark)(tables, config, customer)
    if score is None:
        raise InputError(
            "this customer has no score",
            where=tables.location("churn_scores"),
            fix="check the id and --output",
        )
    head = (
        "{score_date}  probability {churn_probability:.3f}  {risk_band}  rank {risk_rank}  "
        "expected value {expected_value:.2f}  {score_status}"
        if score["churn_probability"] is not None
        else "{score_date}  {score_status}: {status_detail}"
    )
    note = f"note ({score['text_status']}): {score['ticket_summary'] or '-'}"
    by_rank = sorted(reasons, key=lambda r: int(r["rank"]))
    return [head.format(**score), note, *(f"{r['effect']:+7.3f}  {r['text']}" for r in by_rank)]


def _from_files(tables: Tables, config: Config, customer: str) -> tuple[Row | None, list[Row]]:
    """The newest date that has the customer, read without Spark."""
    mine = pc.field("customer_id") == customer
    for live in score_dates(tables):
        rows = read_date(tables, "churn_scores", live, wanted=mine).to_pylist()
        if rows:
            score = {**rows[0], "score_date": live.partition.partition("=")[2]}
            folder = f"{tables.location('churn_reasons')}/{live.partition}"
            reasons = live._replace(folder=folder)
            return score, read_date(tables, "churn_reasons", reasons, wanted=mine).to_pylist()
    return None, []


def _from_spark(tables: Tables, config: Config, customer: str) -> tuple[Row | None, list[Row]]:
    spark = get_session(config.spark.app_name, conf=config.spark.conf)
    scores, reasons = tables.read(spark, "churn_scores"), tables.read(spark, "churn_reasons")
    mine = [] if scores is None else _of_customer(scores, customer)
    if not mine:
        return None, []
    newest = max(mine, key=lambda row: str(row["score_date"]))
    told = [] if reasons is None else _of_customer(reasons, customer)
    return newest, [r for r in told if r["score_date"] == newest["score_date"]]


def _of_customer(df: DataFrame, customer: str) -> list[Row]:
    """Chosen inside a function, since what stands in a Spark expression stands in Spark's event log too."""

    def chosen(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield batch.filter(pc.equal(batch.column("customer_id"), customer))

    return [row.asDict() for row in df.mapInArrow(chosen, df.schema).collect()]
