"""A table of tickets, read and made history by Spark: what is counted of it, and the same as in a process."""

import csv
import datetime as dt
from collections.abc import Sequence
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from churn_spark.contract.columns import Column
from churn_spark.errors import InputError
from churn_spark.history.records import Past, records_history
from churn_spark.settings.sections import Config, Validation
from churn_spark.spark.history import history_of
from churn_spark.spark.input.events import EventTable, read_events

CONFIG = Config.model_validate(
    {
        "raw": "customers.csv", "output": "out", "input": {"date_format": "dd.MM.yyyy", "decimal": ","},
        "columns": {"id": {"role": "id"}, "month": {"role": "snapshot", "date_format": "yyyy-MM-dd"}},
        "tickets": {
            "customer": "who", "date": "opened", "text": "body", "last": 2, "within": "60d", "delay": "1d",
            "windows": ["30d", "lifetime"], "known_at": "loaded", "filter": {"kind": ["phone", "chat"]},
            "value": "cost",
            "columns": {"resolved": "closed", "first_response": "answered", "satisfaction": "stars"},
        },
    }
)  # fmt: skip
COLUMNS = CONFIG.contract.tables["tickets"]
HEADER = ("who", "opened", "body", "kind", "loaded", "closed", "answered", "stars", "cost")
ROWS = [
    ("a", "01.01.2026", "slow again", "phone", "01.01.2026", "09.01.2026", "02.01.2026", "1", "2,5"),
    ("a", "05.01.2026", "fine now", "chat", "20.01.2026", "", "06.01.2026", "5", "0,1"),
    ("a", "05.01.2026", "another", "chat", "", "06.01.2026", "01.01.2026", "x", "0,2"),
    ("a", "07.01.2026", "an offer", "sales", "", "", "", "", "9"),
    ("b", "10.02.2026", "later", "phone", "", "", "", "", ""),
    ("b", "15.01.2026", "", "phone", "", "16.01.2026", "", "4", "1"),
    ("", "15.01.2026", "whose?", "phone", "", "", "", "", ""),
]


def read(
    spark: SparkSession, folder: Path, columns: Sequence[Column] = COLUMNS, **validation: float
) -> EventTable:
    with (folder / "tickets.csv").open("w", newline="") as file:
        csv.writer(file).writerows([HEADER, *ROWS])
    return read_events(
        spark, str(folder / "tickets.csv"), columns, settings=CONFIG.input,
        validation=Validation(**validation), delay=1, folder=str(folder / "read"),
    )  # fmt: skip


def test_rows_are_counted_by_what_became_of_them(spark: SparkSession, tmp_path: Path) -> None:
    table = read(spark, tmp_path, max_reject_share=0.5)
    named = {
        name: getattr(table, name)
        for name in ("rows", "rejected", "left_out", "degraded", "known_late", "one_day")
    }
    expected = {"rows": 7, "rejected": 1, "left_out": 1, "degraded": 1, "known_late": 1, "one_day": ()}
    assert named == expected
    assert table.df.count() == 5
    with pytest.raises(InputError, match="1 of 7 events have no usable customer or date"):
        read(spark, tmp_path, max_reject_share=0.1)


def test_values_that_are_no_numbers_are_refused(spark: SparkSession, tmp_path: Path) -> None:
    no_commas = [c.model_copy(update={"decimal": "."}) for c in COLUMNS]
    with pytest.raises(InputError, match="3 of 7 events have a value that cannot be read") as caught:
        read(spark, tmp_path, no_commas, max_reject_share=0.4)
    assert "input.decimal" in (caught.value.fix or "")


def test_spark_makes_of_tickets_what_a_process_makes(spark: SparkSession, tmp_path: Path) -> None:
    asked = [
        {"id": who, "month": dt.date(2026, 1, day)} for who in "abc" for day in (1, 2, 6, 7, 10, 20, 21, 31)
    ]
    df = spark.createDataFrame(asked, "id string, month date")
    plan = CONFIG.contract.history
    tickets = read(spark, tmp_path, max_reject_share=0.5).df
    made = (
        history_of(df, CONFIG.contract, plan, events={"tickets": tickets}).orderBy("id", "month").toPandas()
    )
    raw = [dict(zip(HEADER, row, strict=True)) for row in reversed(ROWS)]
    told = records_history(asked, CONFIG.contract, Past(events={"tickets": raw}), as_of=dt.date(2026, 1, 1))
    for name in (*plan.sources, *plan.notes):
        here, there = ([None if v != v else v for v in values] for values in (told[name], made[name]))
        assert here == there, name
    assert made["tickets__notes"].notna().sum() > 5
