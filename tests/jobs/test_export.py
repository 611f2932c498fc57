"""The call list as a file, from a small published table."""

import csv
import datetime as dt
import json
from pathlib import Path

import openpyxl
import pandas as pd
import pytest

from churn_spark.cli import main
from churn_spark.errors import InputError
from churn_spark.jobs.export import CALL_LIST, export
from churn_spark.settings.layers import load_config


@pytest.fixture
def scored(tmp_path: Path) -> Path:
    """Two dates; on the newer four customers, of whom one is not recommended."""
    rows = pd.DataFrame(
        {name: ["x", '=HYPERLINK("x")', "-1+2", "last"] for name in CALL_LIST}
        | {"churn_probability": [0.5, 0.6, 0.7, 0.8], "risk_band": "high"}
        | {
            "expected_value": [1.0, 5.0, 5.0, 9.0],
            "recommended": [True, True, True, False],
            "age": [1, 2, 3, None],
        }
    )
    for day, part in (("2026-01-30", rows.iloc[:1]), ("2026-01-31", rows)):
        folder = tmp_path / "churn_scores" / f"score_date={day}"
        folder.mkdir(parents=True)
        part.to_parquet(folder / "part-0.parquet")
    return tmp_path


def run(folder: Path, *arguments: str) -> Path:
    target = folder / "list"
    assert main(["export", "--output", str(folder), "--to", str(target), *arguments]) == 0
    return target


def test_export_csv_is_sorted_by_value_and_cannot_run_as_a_formula(scored: Path) -> None:
    with run(scored, "--top", "2").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [r["customer_id"] for r in rows] == ["'-1+2", '\'=HYPERLINK("x")']
    assert [r["expected_value"] for r in rows] == ["5.0", "5.0"]
    assert {r["score_date"] for r in rows} == {"2026-01-31"}
    assert "age" in rows[0]


def test_call_list_csv_opens_in_excel_as_it_is(scored: Path) -> None:
    path = scored / "list.csv"
    assert main(["call-list", "--csv", "--output", str(scored), "--to", str(path)]) == 0
    assert path.read_bytes().startswith(b"\xef\xbb\xbfcustomer_id,")
    assert "'=HYPERLINK" in path.read_text(encoding="utf-8-sig")


def test_call_list_page_escapes_what_came_from_data_and_needs_nothing_from_outside(scored: Path) -> None:
    folder = scored / "churn_scores/score_date=2026-01-31"
    rows = pd.read_parquet(folder / "part-0.parquet")
    rows["ticket_summary"] = "<script>alert(1)</script>"
    rows.to_parquet(folder / "part-0.parquet")
    assert main(["call-list", "--output", str(scored)]) == 0
    page = (scored / "exports/call_list_2026-01-31.html").read_text()
    assert "&lt;script&gt;" in page
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")
    assert page.index("-1+2") < page.index("=HYPERLINK") < page.index(">x<")
    assert ">last<" not in page  # not recommended


def test_call_list_workbook_keeps_text_as_text(scored: Path) -> None:
    path = scored / "list.xlsx"
    assert main(["call-list", "--xlsx", "--output", str(scored), "--to", str(path)]) == 0
    head, *rows = openpyxl.load_workbook(path).active.iter_rows(values_only=True)
    cells = [dict(zip(head, row, strict=True)) for row in rows]
    assert [c["customer_id"] for c in cells] == ["-1+2", '=HYPERLINK("x")', "x"]
    assert [c["expected_value"] for c in cells] == [5.0, 5.0, 1.0]
    assert {str(c["score_date"]) for c in cells} == {"2026-01-31 00:00:00"}


@pytest.mark.parametrize("file_format", ["json", "parquet"])
def test_export_to_data_formats_keeps_the_exact_text(scored: Path, file_format: str) -> None:
    path = run(scored, "--format", file_format)
    ids = (
        [json.loads(line)["customer_id"] for line in path.read_text().splitlines()]
        if file_format == "json"
        else pd.read_parquet(path)["customer_id"].to_list()
    )
    assert ids == ["-1+2", '=HYPERLINK("x")', "x"]


def test_export_of_a_date_that_was_not_scored_names_the_newest(scored: Path) -> None:
    config = load_config(options={"output": str(scored)})
    with pytest.raises(InputError, match="no scores of 2025-01-01"):
        export(config, top=5, file_format="csv", day=dt.date(2025, 1, 1), to=None)
    assert export(config, top=5, file_format="csv", day=dt.date(2026, 1, 30), to=None).rows == 1
    assert main(["export", "--output", str(scored / "nothing")]) == 20
