"""Look at a table that nobody has described yet, and propose its columns as a settings layer."""

from __future__ import annotations

from typing import Any

import pandas as pd
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from churn_spark.guessing.columns import Table, column_names, guess_table
from churn_spark.guessing.form import guess_form
from churn_spark.guessing.layer import as_yaml
from churn_spark.guessing.past import ticket_layer
from churn_spark.settings.locations import is_table_name
from churn_spark.settings.sections import Config, Input
from churn_spark.spark.input.files import format_of, list_files, literal, reading
from churn_spark.spark.input.sources import read_undeclared

ROWS = 20_000  # of the sample, from all over the table
FIRST_LINES = 200


def propose(spark: SparkSession, config: Config) -> str:
    """The settings layer for a table, with its format, columns and their roles; nothing is written."""
    form = _form(spark, config)
    settings = config.input.model_copy(update=form)
    frame = read_undeclared(spark, config.raw, settings=settings, rows=ROWS)
    table = guess_table(frame, max_auc=config.leakage.max_auc, separator=settings.separator)
    if config.tickets is not None and config.tickets.raw is not None:
        table = table._replace(
            sections={**table.sections, **_tickets(spark, config.tickets.raw, frame, table, settings)}
        )
    return as_yaml(table, raw=config.raw, form={**config.input.model_dump(exclude_defaults=True), **form})


def _tickets(
    spark: SparkSession, raw: str, customers: pd.DataFrame, table: Table, settings: Input
) -> dict[str, Any]:
    """The section of a table of tickets beside that of the customers."""
    tickets = read_undeclared(spark, raw, settings=settings, rows=ROWS)
    key = next(g.column for g in table.guesses if g.column.role == "id")
    ids = customers[key.raw_name] if key.raw_name in customers else pd.Series(dtype=str)
    return ticket_layer(tickets, column_names(map(str, tickets.columns)), ids=ids, raw=raw)


def _form(spark: SparkSession, config: Config) -> dict[str, Any]:
    """How CSV files are written, where the settings do not say so."""
    given: Input = config.input
    if given.format not in ("auto", "csv") or (given.format == "auto" and is_table_name(config.raw)):
        return {}
    with reading():
        files = list(list_files(spark, config.raw))
        if given.format == "auto" and format_of(files, config.raw) != "csv":
            return {}
        raw = F.col("value").cast("binary").alias("line")
        first = spark.read.text(literal(files[0])).select(raw).head(FIRST_LINES)
        lines = spark.read.text([literal(file) for file in files])
        odd = lines.where(~F.is_valid_utf8("value")).select(raw).head(1)
    found = guess_form([bytes(row.line) for row in first], [bytes(row.line) for row in odd])
    return {key: value for key, value in found.items() if key not in given.model_dump(exclude_defaults=True)}
