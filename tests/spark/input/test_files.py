from __future__ import annotations

from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from churn_spark.errors import InputError
from churn_spark.spark.input.files import format_of, list_files


def test_list_files_sees_here_what_spark_would_read(spark: SparkSession, tmp_path: Path) -> None:
    seen = {"b=1 ü/k 100%.csv", "plain.csv", "_p=1.csv"}
    for name in (*seen, "_SUCCESS", ".hidden/a.csv", "_x/b.csv", "half.csv._COPYING_"):
        place = tmp_path / "in" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("a\n1\n", encoding="utf-8")
    here = list_files(spark, str(tmp_path / "in"))
    assert here == {f"file:{tmp_path / 'in' / name}": 4 for name in seen}
    by_spark = list_files(spark, f"{tmp_path}/i[n]/*.csv")
    assert by_spark == {f"file:{tmp_path / 'in' / name}": 4 for name in ("plain.csv", "_p=1.csv")}
    (tmp_path / "in" / "plain.csv").write_text("")
    for location in (str(tmp_path / "in"), f"{tmp_path}/i[n]/*.csv"):
        with pytest.raises(InputError, match="files hold 0 bytes"):
            list_files(spark, location)


@pytest.mark.parametrize(
    ("name", "fix"),
    [("a.xlsx", "as CSV"), ("a.csv.zip", "unpack it"), ("a.sav", "Parquet or CSV"), ("a", "input.format")],
)
def test_format_of_says_what_to_do_with_files_of_other_kinds(name: str, fix: str) -> None:
    with pytest.raises(InputError) as caught:
        format_of([f"file:/data/{name}"], "/data")
    assert fix in (caught.value.fix or "")
