"""Publishing: a partition is replaced as a unit, a run's rows are added once, and nothing half-done shows."""

import pytest
from chispa import assert_df_equality

from churn_spark import storage
from churn_spark.schemas import Field
from churn_spark.tables import Tables, small_table, with_comments

FIELDS = (Field("id", "string", "the key"), Field("n", "int", "a number"))


@pytest.fixture
def tables(tmp_path):
    return Tables(str(tmp_path / "out"), str(tmp_path / "out/_runs/r1/work"), "r1")


def rows(spark, *values):
    return spark.createDataFrame(list(values), "id string, n int")


def test_replace_puts_one_partition_in_place_of_the_old(spark, tables):
    tables.replace(rows(spark, ("a", 1), ("b", 2)), "scores", partition="day=2026-01-01")
    tables.replace(rows(spark, ("c", 3)), "scores", partition="day=2026-01-02")
    tables.replace(rows(spark, ("a", 9)), "scores", partition="day=2026-01-01")
    expected = spark.sql("SELECT 'a' id, 9 n, DATE'2026-01-01' day UNION ALL SELECT 'c', 3, DATE'2026-01-02'")
    assert_df_equality(tables.read(spark, "scores"), expected, ignore_row_order=True, ignore_nullable=True)


def test_replace_with_no_rows_leaves_an_empty_partition_with_a_schema(spark, tables):
    tables.replace(rows(spark, ("a", 1)), "scores", partition="day=2026-01-01")
    tables.replace(rows(spark).limit(0), "scores", partition="day=2026-01-01")
    published = tables.read(spark, "scores")
    assert published.columns == ["id", "n", "day"]
    assert published.count() == 0


def test_replace_that_fails_leaves_the_old_rows(spark, tables):
    tables.replace(rows(spark, ("a", 1)), "scores", partition="day=2026-01-01")
    failing = rows(spark, ("b", 2)).selectExpr("id", "CAST(raise_error('boom') AS int) AS n")
    with pytest.raises(Exception, match="boom"):
        tables.replace(failing, "scores", partition="day=2026-01-01")
    assert [r.id for r in tables.read(spark, "scores").collect()] == ["a"]


def test_replace_that_cannot_move_the_new_rows_in_puts_the_old_back(spark, tables, monkeypatch):
    tables.replace(rows(spark, ("a", 1)), "scores", partition="day=2026-01-01")
    move = storage.move

    def failing(source, target):
        if "staging" in source:
            raise OSError("disk full")
        move(source, target)

    monkeypatch.setattr(storage, "move", failing)
    with pytest.raises(OSError, match="disk full"):
        tables.replace(rows(spark, ("b", 2)), "scores", partition="day=2026-01-01")
    monkeypatch.undo()
    assert [r.id for r in tables.read(spark, "scores").collect()] == ["a"]


def test_replace_after_a_kill_between_its_renames_recovers(spark, tables):
    tables.replace(rows(spark, ("a", 1)), "scores", partition="day=2026-01-01")
    folder = tables.location("scores")
    storage.move(f"{folder}/day=2026-01-01", f"{folder}/_replaced-day=2026-01-01")
    tables.replace(rows(spark, ("b", 2)), "scores", partition="day=2026-01-01")
    assert [r.id for r in tables.read(spark, "scores").collect()] == ["b"]
    assert storage.names(folder) == ["day=2026-01-01"]


def test_append_again_by_the_same_run_adds_nothing(spark, tables):
    other = Tables(tables.output, tables.work, "r2")
    for writer in (tables, tables, other):
        writer.append(rows(spark, ("a", 1)), "metrics")
    assert tables.read(spark, "metrics").count() == 2


def test_read_knows_no_table_before_the_first_write(spark, tables):
    assert tables.read(spark, "scores") is None


def test_a_catalog_schema_takes_the_same_calls(spark, tmp_path):
    spark.sql("CREATE DATABASE IF NOT EXISTS crm")
    try:
        tables = Tables("spark_catalog.crm", str(tmp_path / "work"), "r1")
        assert tables.read(spark, "scores") is None
        tables.replace(rows(spark, ("a", 1)), "scores", partition="day=2026-01-01")
        tables.replace(rows(spark, ("b", 2)), "scores", partition="day=2026-01-02")
        tables.replace(rows(spark, ("c", 3)), "scores", partition="day=2026-01-01")
        assert {r.id for r in tables.read(spark, "scores").collect()} == {"b", "c"}
        tables.append(rows(spark, ("a", 1)), "rejects", partition="run_date=2026-01-01")
        assert tables.read(spark, "rejects").count() == 1
    finally:
        spark.sql("DROP DATABASE crm CASCADE")


def test_with_comments_casts_and_comments_survive_parquet(spark, tables):
    df = with_comments(spark.sql("SELECT 'a' id, 5L n, 1 extra"), FIELDS)
    tables.append(df, "t")
    stored = spark.read.parquet(tables.location("t"))
    assert stored.dtypes == [("id", "string"), ("n", "int")]
    assert [f.metadata["comment"] for f in stored.schema] == ["the key", "a number"]


def test_small_table_keeps_types_and_comments(spark):
    df = small_table(spark, [("a", 1), ("b", None)], FIELDS)
    assert df.count() == 2
    assert df.schema["n"].metadata == {"comment": "a number"}


def test_storage_write_text_replaces_as_a_unit(tmp_path):
    path = str(tmp_path / "deep" / "file.json")
    storage.write_json(path, {"a": 1})
    storage.write_json(path, {"a": 2})
    assert storage.read_text(path) == '{\n  "a": 2\n}\n'
    assert storage.names(str(tmp_path / "deep")) == ["file.json"]


def test_storage_through_hadoop_does_the_same(spark, tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "is_local", lambda path: False)
    folder = f"file://{tmp_path}"
    storage.write_text(f"{folder}/a/one.txt", "1")
    storage.move(f"{folder}/a/one.txt", f"{folder}/b/two.txt")
    assert storage.exists(f"{folder}/b/two.txt")
    assert storage.read_text(f"{folder}/b/two.txt") == "1"
    assert "two.txt" in storage.names(f"{folder}/b")
    storage.remove(f"{folder}/b")
    assert not storage.exists(f"{folder}/b")
