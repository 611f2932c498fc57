"""The documentation page is true, and each dialect's statements define the tables that a run has written."""

import re
from pathlib import Path

import pytest
from helpers import ROOT

from churn_spark.cli import main
from churn_spark.contract.ddl import BIGQUERY, FORMS, TRINO, _translated
from churn_spark.contract.published import published
from churn_spark.settings.layers import load_config

ERRORS = "array<struct<name:string,message:string,columns:array<string>>>"


def statements(form: str, output: object) -> list[str]:
    text = FORMS[form](published(load_config().contract), str(output))
    return [s.strip() for s in text.split(";\n") if s.strip()]


def test_the_documentation_page_is_true(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tables"]) == 0
    assert capsys.readouterr().out == (ROOT / "conf/tables.md").read_text(), (
        "churn-spark tables > conf/tables.md"
    )


def test_tables_of_a_catalog_need_no_statements(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tables", "trino", "--output", "main.churn", "--models", "m"]) == 2
    assert "defined already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("types", "expected"),
    [
        (TRINO, "array(row(name varchar, message varchar, columns array(varchar)))"),
        (BIGQUERY, "ARRAY<STRUCT<name STRING, message STRING, columns ARRAY<STRING>>>"),
    ],
)
def test_nested_types_are_translated(types: dict[str, str], expected: str) -> None:
    assert _translated(ERRORS, types) == expected


@pytest.mark.parametrize("dialect", ["trino", "bigquery"])
def test_statements_parse_where_no_engine_is_at_hand(dialect: str) -> None:
    sqlglot = pytest.importorskip("sqlglot")
    parsed = {}
    for statement in statements(dialect, "gs://bucket/out"):
        statement = re.sub(
            r"^WITH PARTITION COLUMNS \(.*\)$", "", statement, flags=re.M
        )  # unknown to sqlglot
        made = sqlglot.parse_one(statement, dialect=dialect)
        if isinstance(made, sqlglot.exp.Create):
            parsed[made.find(sqlglot.exp.Table).name] = [c.name for c in made.find_all(sqlglot.exp.ColumnDef)]
    tables = published(load_config().contract)
    assert list(parsed) == [*(t.name for t in tables), "churn_scores_latest"]
    for table in tables:
        assert [f.name for f in table.fields] == parsed[table.name][: len(table.fields)]


def test_duckdb_statements_run_on_a_runs_tables(output: Path) -> None:
    import duckdb

    with duckdb.connect() as connection:
        for statement in statements("duckdb", output):
            connection.execute(statement)
        for table in published(load_config().contract):
            described = connection.execute(f"DESCRIBE {table.name}").fetchall()
            assert [d[0] for d in described] == [f.name for f in (*table.fields, *table.partitions)], (
                table.name
            )
            assert connection.execute(f"SELECT count(*) FROM {table.name}").fetchone() > (0,), table.name
        of_scores = "SELECT column_name, comment FROM duckdb_columns() WHERE table_name = 'churn_scores'"
        comments = dict(connection.execute(of_scores).fetchall())
        assert comments["risk_rank"] == "1 = highest probability of this score_date"
        assert all(comments.values())
        newest = connection.execute(
            "SELECT DISTINCT CAST(score_date AS varchar) FROM churn_scores_latest"
        ).fetchall()
        assert newest == [("2026-01-31",)]


def test_spark_statements_run_on_a_runs_tables(spark, output: Path) -> None:
    spark.sql("CREATE DATABASE warehouse")
    spark.sql("USE warehouse")
    try:
        for statement in statements("spark", output):
            spark.sql(statement)
        for table in published(load_config().contract):
            read = spark.table(table.name)
            assert [(f.name, f.dataType.simpleString(), f.metadata["comment"]) for f in read.schema] == [
                (f.name, f.type, f.comment) for f in (*table.fields, *table.partitions)
            ]
            assert read.count() == spark.read.parquet(str(output / table.name)).count() > 0
        assert [
            str(r[0]) for r in spark.sql("SELECT DISTINCT score_date FROM churn_scores_latest").collect()
        ] == ["2026-01-31"]
    finally:
        spark.sql("USE default")
        spark.sql("DROP DATABASE warehouse CASCADE")
