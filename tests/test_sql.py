"""The queries in conf/sql give the same rows in Spark SQL and in DuckDB, on the same files."""

import re
from pathlib import Path

import pandas as pd
import pytest

SQL = Path(__file__).parents[1] / "conf" / "sql"
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
    return spark


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
    if query.stem != "04_newly_high_risk":  # nobody's risk has risen between two scores of one table
        assert len(from_spark) > 0
    pd.testing.assert_frame_equal(from_spark, from_duckdb, check_dtype=False)


def test_score_date_is_a_date_for_duckdb(duck) -> None:
    assert duck.execute("SELECT typeof(score_date) FROM churn_scores LIMIT 1").fetchone() == ("DATE",)
