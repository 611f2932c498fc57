"""A run's rows are added once, comments and types are stored, small files are replaced as a unit."""

import pytest

from churn_spark.contract.published import Field
from churn_spark.errors import ConfigError
from churn_spark.spark import storage
from churn_spark.spark.tables import COMMITTER_VERSION, Tables, small_table, with_comments

FIELDS = (Field("id", "string", "the key"), Field("n", "int", "a number"))


@pytest.fixture
def tables(tmp_path):
    return Tables(str(tmp_path / "out"), str(tmp_path / "out"), str(tmp_path / "out/_runs/r1/work"), "r1")


def rows(spark, *values):
    return spark.createDataFrame(list(values), "id string, n int")


def test_append_again_by_the_same_run_adds_nothing(spark, tables):
    other = Tables(tables.output, tables.store, tables.work, "r2")
    for writer in (tables, tables, other):
        writer.append(rows(spark, ("a", 1)), "metrics")
    assert tables.read(spark, "metrics").count() == 2


def test_read_knows_no_table_before_the_first_write(spark, tables):
    assert tables.read(spark, "scores") is None


def test_check_refuses_a_committer_that_may_leave_rows_twice(spark, tables):
    tables.check(spark)
    spark.conf.set(COMMITTER_VERSION, "2")
    try:
        with pytest.raises(ConfigError, match="rows twice"):
            tables.check(spark)
        spark.conf.set(
            "spark.sql.sources.commitProtocolClass",
            "org.apache.spark.internal.io.HadoopMapReduceCommitProtocol",
        )
        tables.check(spark)  # a platform's own
    finally:
        spark.conf.unset(COMMITTER_VERSION)
        spark.conf.unset("spark.sql.sources.commitProtocolClass")


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
