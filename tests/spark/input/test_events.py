"""Tables of dated events: numbers and dates as the input says that they are written."""

from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from churn_spark.contract.columns import Column
from churn_spark.errors import InputError
from churn_spark.settings.sections import Input, Validation
from churn_spark.spark.input.events import EventTable, read_events

COLUMNS = (
    Column(name="id", role="id", source="Kunde"),
    Column(name="date", role="snapshot", source="Tag"),
    Column(name="amount", role="numeric", source="Betrag"),
)


def read(spark: SparkSession, folder: Path, **settings: object) -> EventTable:
    (folder / "log.csv").write_text("Kunde;Tag;Betrag\n007;31.01.2026;1.234,5\n007;01.02.2026;\n")
    form = Input(separator=";", date_format="dd.MM.yyyy", **settings)
    return read_events(
        spark, str(folder / "log.csv"), tuple(map(form.applied, COLUMNS)), settings=form,
        validation=Validation(), delay=0, folder=str(folder / "events"),
    )  # fmt: skip


def test_read_events_reads_numbers_as_the_input_writes_them(spark: SparkSession, tmp_path: Path) -> None:
    table = read(spark, tmp_path, decimal=",", thousands=".")
    assert sorted((r.id, str(r.date), r.amount) for r in table.df.collect())[0] == (
        "007",
        "2026-01-31",
        1234.5,
    )


def test_read_events_refuses_values_that_cannot_be_read(spark: SparkSession, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="1 of 2 events have a value that cannot be read") as caught:
        read(spark, tmp_path)
    assert "input.decimal" in (caught.value.fix or "")
