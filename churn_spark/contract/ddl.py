"""Every published table as text: a documentation page, and the statements that define it over its files elsewhere.

All of it is made of `schemas`, so that a column's name, type and comment stand in one place.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from churn_spark.contract.published import CACHE, Field, Table

TRINO = {"string": "varchar", "double": "double", "float": "real", "bigint": "bigint", "int": "integer",
         "boolean": "boolean", "date": "date", "timestamp": "timestamp(3)"}  # fmt: skip
BIGQUERY = {"string": "STRING", "double": "FLOAT64", "float": "FLOAT64", "bigint": "INT64", "int": "INT64",
            "boolean": "BOOL", "date": "DATE", "timestamp": "TIMESTAMP"}  # fmt: skip
LATEST = "SELECT * FROM {0} WHERE score_date = (SELECT max(score_date) FROM {0})"


def markdown(tables: Sequence[Table], output: str) -> str:
    """The documentation page."""
    parts = ["# Published tables\n\nMade by `churn-spark tables`; every comment is also in the Parquet files and the "
             "catalog.\n`churn_scores_latest` holds the rows of the newest `score_date`.\n"]  # fmt: skip
    for table in (*tables, CACHE):
        by = ", ".join(f"`{f.name}`" for f in table.partitions)
        parts.append(
            f"## {table.name}\n\n{_sentence(table.comment)}{f' Partitioned by {by}.' if by else ''}\n"
        )
        rows = "\n".join(
            f"| `{f.name}` | {f.type} | {f.comment} |" for f in (*table.partitions, *table.fields)
        )
        parts.append(f"| column | type | meaning |\n|---|---|---|\n{rows}\n")
    return "\n".join(parts)


def spark(tables: Sequence[Table], output: str) -> str:
    """External tables and the view of the newest date, for a catalog that Spark writes to."""
    statements = []
    for table in tables:
        columns = _columns(table, lambda f: f"`{f.name}` {f.type} COMMENT {_backslashed(f.comment)}")
        by = f" PARTITIONED BY ({', '.join(f.name for f in table.partitions)})" if table.partitions else ""
        statements.append(
            f"CREATE TABLE IF NOT EXISTS {table.name} ({columns}\n) USING parquet{by}\n"
            f"LOCATION {_backslashed(f'{output}/{table.name}')} COMMENT {_backslashed(table.comment)}"
        )
        statements += [f"MSCK REPAIR TABLE {table.name}"] if table.partitions else []
    statements.append(f"CREATE OR REPLACE VIEW churn_scores_latest AS {LATEST.format('churn_scores')}")
    return _script("Again after a new score date: MSCK REPAIR TABLE.", statements)


def duckdb(tables: Sequence[Table], output: str) -> str:
    """Views over the files, with comments."""
    statements = []
    for table in tables:
        files = _quoted("/".join([output, table.name, *("*" for _ in table.partitions), "*.parquet"]))
        hive = "true" if table.partitions else "false"
        statements.append(
            f"CREATE OR REPLACE VIEW {table.name} AS\n"
            f"SELECT * FROM read_parquet({files}, hive_partitioning = {hive}, union_by_name = true)"
        )
        statements.append(f"COMMENT ON VIEW {table.name} IS {_quoted(table.comment)}")
        statements += [
            f'COMMENT ON COLUMN {table.name}."{f.name}" IS {_quoted(f.comment)}'
            for f in (*table.fields, *table.partitions)
        ]
    statements.append(f"CREATE OR REPLACE VIEW churn_scores_latest AS\n{LATEST.format('churn_scores')}")
    scores = next(table for table in tables if table.name == "churn_scores")
    statements.append("COMMENT ON VIEW churn_scores_latest IS 'the rows of the newest score_date'")
    statements += [
        f'COMMENT ON COLUMN churn_scores_latest."{f.name}" IS {_quoted(f.comment)}'
        for f in (*scores.fields, *scores.partitions)
    ]
    return _script("New score dates are seen at once.", statements)


def trino(tables: Sequence[Table], output: str) -> str:
    """External tables of a Hive catalog named `hive`, schema `churn`."""
    statements = []
    for table in tables:
        columns = _columns(
            table, lambda f: f'"{f.name}" {_translated(f.type, TRINO)} COMMENT {_quoted(f.comment)}'
        )
        options = [f"external_location = {_quoted(f'{output}/{table.name}')}", "format = 'PARQUET'"]
        if table.partitions:
            options.append(f"partitioned_by = ARRAY[{', '.join(_quoted(f.name) for f in table.partitions)}]")
        statements.append(
            f"CREATE TABLE IF NOT EXISTS hive.churn.{table.name} ({columns}\n) COMMENT {_quoted(table.comment)}\n"
            f"WITH ({', '.join(options)})"
        )
        if table.partitions:
            statements.append(f"CALL hive.system.sync_partition_metadata('churn', '{table.name}', 'ADD')")
    latest = LATEST.format("hive.churn.churn_scores")
    statements.append(f"CREATE OR REPLACE VIEW hive.churn.churn_scores_latest AS {latest}")
    return _script("Again after a new score date: sync_partition_metadata.", statements)


def bigquery(tables: Sequence[Table], output: str) -> str:
    """External tables of the dataset `churn`; `output` is a gs:// folder."""
    statements = []
    for table in tables:
        place = f"{output}/{table.name}"
        columns = ",".join(
            f"\n  `{f.name}` {_translated(f.type, BIGQUERY)} OPTIONS (description = {json.dumps(f.comment)})"
            for f in table.fields
        )
        options = [
            "format = 'PARQUET'",
            f"uris = [{json.dumps(f'{place}/*.parquet')}]",
            "enable_list_inference = true",
        ]
        by = ""
        if table.partitions:
            keys = ", ".join(f"`{f.name}` {BIGQUERY[f.type]}" for f in table.partitions)
            by = f"WITH PARTITION COLUMNS ({keys})\n"
            options.append(f"hive_partition_uri_prefix = {json.dumps(place)}")
        options.append(f"description = {json.dumps(table.comment)}")
        statements.append(
            f"CREATE EXTERNAL TABLE IF NOT EXISTS churn.{table.name} ({columns}\n)\n{by}OPTIONS ({', '.join(options)})"
        )
    statements.append(
        f"CREATE OR REPLACE VIEW churn.churn_scores_latest AS {LATEST.format('churn.churn_scores')}"
    )
    return _script("New score dates are seen at once.", statements)


FORMS: dict[str, Callable[[Sequence[Table], str], str]] = {
    "markdown": markdown, "spark": spark, "duckdb": duckdb, "trino": trino, "bigquery": bigquery,
}  # fmt: skip


def _columns(table: Table, column: Callable[[Field], str]) -> str:
    """Partition columns come last, as Spark and Trino want them."""
    return ",".join(f"\n  {column(f)}" for f in (*table.fields, *table.partitions))


def _translated(kind: str, types: dict[str, str]) -> str:
    """A Spark type in another dialect."""
    if kind.startswith("array<"):
        inner = _translated(kind[len("array<") : -1], types)
        return f"ARRAY<{inner}>" if types is BIGQUERY else f"array({inner})"
    if kind.startswith("struct<"):
        fields = [part.partition(":") for part in _split(kind[len("struct<") : -1])]
        inner = ", ".join(f"{name} {_translated(of, types)}" for name, _, of in fields)
        return f"STRUCT<{inner}>" if types is BIGQUERY else f"row({inner})"
    return types[kind]


def _split(text: str) -> list[str]:
    """Split at the commas that no bracket encloses."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter == "<") - (letter == ">")
        if letter == "," and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def _script(note: str, statements: Sequence[str]) -> str:
    return f"-- Made by `churn-spark tables`. {note}\n" + "".join(f"{s};\n" for s in statements)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _backslashed(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."
