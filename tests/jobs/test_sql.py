"""The queries in conf/sql give the same rows in Spark SQL and in DuckDB, on the same files."""

import re
from pathlib import Path

import pandas as pd
import pytest
from helpers import ROOT

SQL = ROOT / "conf" / "sql"
QUERIES = sorted(p for p in SQL.glob("*.sql") if not p.name.startswith("00_"))
OUTCOMES = """
SELECT customer_id, score_date, risk_rank % 4 = 0 AS churned FROM churn_scores
"""


def statements(name: str, output: Path) -> list[str]:
    text = (SQL / name).read_text()
    text = re.sub(r"([`'])out/", rf"\1{output}/", text)
    return [s for s in re.sub(r"--[^\n]*", "", text).split(";") if s.strip()]


@pytest.fixture(scope="module")
def duck(output: Path):
    import duckdb

    connection = duckdb.connect()
    for statement in statements("00_views_duckdb.sql", output):
        connection.execute(statement)
    connection.execute(f"CREATE VIEW churn_outcomes AS {OUTCOMES}")
    yield connection
    connection.close()


@pytest.fixture(scope="module")
def with_views(spark, output: Path):
    for statement in statements("00_views_spark.sql", output):
        spark.sql(statement)
    spark.sql(OUTCOMES).createOrReplaceTempView("churn_outcomes")
    yield spark
    for table in spark.catalog.listTables():
        if table.isTemporary:
            spark.catalog.dropTempView(table.name)


def comparable(frame: pd.DataFrame) -> pd.DataFrame:
    """Values as both engines can agree on them: numbers rounded, the rest as text, rows in order."""
    plain = pd.DataFrame(
        {
            c: frame[c].astype(float).round(6)
            if pd.api.types.is_numeric_dtype(frame[c])
            else frame[c].astype("string").str[:10]
            for c in frame
        }
    )
    return plain.sort_values(list(plain), ignore_index=True, na_position="first").astype("string").fillna("")


def test_there_are_at_least_ten_queries() -> None:
    assert len(QUERIES) >= 10


@pytest.mark.parametrize("query", QUERIES, ids=lambda p: p.stem)
def test_query_gives_the_same_rows_in_both_engines(query: Path, with_views, duck) -> None:
    text = query.read_text()
    assert text.startswith("-- ")
    from_spark = comparable(with_views.sql(text).toPandas())
    from_duckdb = comparable(duck.execute(text).df())
    if (
        query.stem != "04_newly_high_risk"
    ):  # nobody's risk has risen between two scores of one table: see below
        assert len(from_spark) > 0
    pd.testing.assert_frame_equal(from_spark, from_duckdb, check_dtype=False)


def test_score_date_is_a_date_for_duckdb(duck) -> None:
    assert duck.execute("SELECT typeof(score_date) FROM churn_scores LIMIT 1").fetchone() == ("DATE",)


def asked(name: str, **tables: str) -> list[tuple[object, ...]]:
    """What a query answers in DuckDB on tables given as SELECT statements."""
    import duckdb

    with duckdb.connect() as connection:
        for table, select in tables.items():
            connection.execute(f"CREATE TABLE {table} AS {select}")
        return connection.execute((SQL / name).read_text()).fetchall()


def test_newly_high_risk_are_those_who_crossed_the_threshold() -> None:
    latest = """SELECT *, 0.5 AS threshold, churn_probability - previous_probability AS probability_change,
        'high' AS risk_band, 'why' AS reason_1_text
        FROM (VALUES ('crossed', 0.2, 0.6), ('stayed', 0.6, 0.7), ('new', NULL, 0.9), ('low', 0.2, 0.4),
                     ('crossed more', 0.1, 0.6)) AS t(customer_id, previous_probability, churn_probability)"""
    found = asked("04_newly_high_risk.sql", churn_scores_latest=latest)
    assert [row[0] for row in found] == ["crossed more", "crossed"]


def test_moved_since_last_time_tells_customer_from_model() -> None:
    scores = """SELECT *, 'why' AS reason_1_text, 0.1 AS previous_probability,
        churn_probability - 0.1 AS probability_change
        FROM (VALUES ('a', DATE '2026-01-30', 0.1, 'm1'), ('b', DATE '2026-01-30', 0.1, 'm1'),
                     ('a', DATE '2026-01-31', 0.3, 'm1'), ('b', DATE '2026-01-31', 0.2, 'm2'))
        AS t(customer_id, score_date, churn_probability, model_id)"""
    latest = f"SELECT * FROM ({scores}) WHERE score_date = DATE '2026-01-31'"
    found = asked("03_moved_since_last_time.sql", churn_scores=scores, churn_scores_latest=latest)
    assert [(row[0], row[5]) for row in found] == [("a", "customer"), ("b", "model or customer")]


def test_holdout_is_compared_with_those_who_would_have_been_called() -> None:
    scores = """SELECT *, DATE '2026-01-31' AS score_date, 0.5 AS churn_probability
        FROM (VALUES ('called', true, false, 5.0), ('held', false, true, 4.0), ('held in vain', false, true, -1.0),
                     ('not worth it', false, false, -1.0)) AS t(customer_id, recommended, in_holdout, expected_value)"""
    outcomes = "SELECT customer_id, DATE '2026-01-31' AS score_date, customer_id = 'held' AS churned FROM churn_scores"
    found = asked("08_holdout_against_contacted.sql", churn_scores=scores, churn_outcomes=outcomes)
    assert [row[1:] for row in found] == [("contacted", 1, 0.5, 0.0), ("holdout", 1, 0.5, 1.0)]
