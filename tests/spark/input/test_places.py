"""Where values lie besides columns: in structs, in the names of folders; and numbers that need no decimal mark."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from churn_spark.contract.columns import Column, Contract
from churn_spark.errors import InputError
from churn_spark.settings.sections import Input
from churn_spark.spark.input.sources import RawTable, read_raw, read_undeclared

ID = Column(role="id", name="id")


def number(name: str, source: str | None = None, **spec: object) -> Column:
    return Column(role="numeric", name=name, source=source, **spec)


def read(spark: SparkSession, location: Path, *columns: Column, **settings: object) -> RawTable:
    contract = Contract(tuple(map(Input(**settings).applied, (ID, *columns))))
    return read_raw(spark, str(location), contract=contract, settings=Input(**settings), need_label=False)


def values(raw: RawTable) -> dict[str, tuple[str | None, ...]]:
    return {row.id: tuple(row)[1:-2] for row in raw.df.collect()}


def write_parquet(path: Path, columns: dict[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)


def test_read_raw_reads_what_stands_inside_structs(spark: SparkSession, tmp_path: Path) -> None:
    rows = [{"id": "a", "plan": {"cost": {"net.eur": 12.5}}, "plan.name": "x", "tags": ["t"]}]
    write_parquet(tmp_path / "p.parquet", {k: [row[k] for row in rows] for k in rows[0]})
    (tmp_path / "lines.json").write_text(json.dumps(rows[0]))
    inner = [number("cost", "plan.cost.net.eur"), Column(role="passthrough", name="plan", source="plan.name")]
    for place in ("p.parquet", "lines.json"):
        assert values(read(spark, tmp_path / place, *inner)) == {"a": ("12.5", "x")}
    with pytest.raises(InputError, match="no plain values: plan") as caught:
        read(spark, tmp_path / "p.parquet", number("plan"))
    assert "plan.cost.net.eur" in (caught.value.fix or "")


def test_read_undeclared_flattens_structs_and_leaves_lists_out(spark: SparkSession, tmp_path: Path) -> None:
    columns = {"id": ["a", "b"], "plan": [{"cost": 1.5}, None], "tags": [["t"], []]}
    write_parquet(tmp_path / "p.parquet", columns)
    frame = read_undeclared(spark, str(tmp_path / "p.parquet"), settings=Input(), rows=10)
    assert list(frame) == ["id", "plan.cost"]
    assert sorted(frame["plan.cost"].dropna()) == ["1.5"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x.csv", "id,age\n{},30\n"),
        ("x.csv", 'id,age\n{},"30\n"\n'),
        ("x.json", '{{"id": "{}", "age": 30}}\n'),
        ("x.json", '[{{"id": "{}", "age": 30}}]'),
    ],
)
def test_read_raw_takes_columns_from_folder_names(
    spark: SparkSession, tmp_path: Path, name: str, text: str
) -> None:
    folders = ("region=a b+c%2Fd/plan=007", "region=__HIVE_DEFAULT_PARTITION__/plan=1e5")
    for key, folder in zip("ab", folders, strict=True):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / name).write_text(text.format(key))
    words = [Column(role="categorical", name=n) for n in ("plan", "region")]
    raw = read(spark, tmp_path, *words)
    assert values(raw) == {"a": ("007", "a b+c/d"), "b": ("1e5", None)}


def test_read_raw_prefers_a_files_own_column_to_its_folders(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "Plan=x").mkdir()
    (tmp_path / "Plan=x" / "x.csv").write_text("id,plan\na,y\n")
    assert values(read(spark, tmp_path, Column(role="categorical", name="plan"))) == {"a": ("y",)}


def test_read_raw_needs_no_decimal_mark_for_what_is_a_number(spark: SparkSession, tmp_path: Path) -> None:
    """A number 1.234 is not one thousand, whatever mark the table's texts are written with."""
    write_parquet(tmp_path / "p.parquet", {"id": ["a"], "spend": [1.234], "text": ["1.234,5"]})
    (tmp_path / "lines.json").write_text('{"id": "a", "spend": 1.234, "text": "1.234,5"}\n')
    for place in ("p.parquet", "lines.json"):
        raw = read(spark, tmp_path / place, number("spend"), number("text"), decimal=",", thousands=".")
        assert values(raw) == {"a": ("1,234", "1.234,5")}
