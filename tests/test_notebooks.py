"""The notebooks run from top to bottom, as a laptop or Databricks would run them."""

import csv
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers import ROOT, real_table

from churn_spark.sample.customers import write_csv

NOTEBOOKS = ROOT / "notebooks"


def test_every_notebook_is_a_databricks_source_and_is_run_below() -> None:
    notebooks = sorted(NOTEBOOKS.iterdir())
    assert [n.name for n in notebooks] == ["quickstart.py", "telco.py"]
    for notebook in notebooks:
        assert notebook.read_text().startswith("# Databricks notebook source\n")
        assert "../" not in notebook.read_text()  # nothing outside the project


def test_quickstart_runs_on_a_laptop(spark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    write_csv(tmp_path / "raw.csv", 600, seed=5)
    monkeypatch.setenv("CHURN_RAW", str(tmp_path / "raw.csv"))
    monkeypatch.setenv("CHURN_OUTPUT", str(tmp_path / "out"))
    names = runpy.run_path(str(NOTEBOOKS / "quickstart.py"))
    assert names["answer"][0]["churn_probability"] > 0
    told = capsys.readouterr().out
    assert "reason_1_text" in told
    assert str(names["report"]) in told


def test_quickstart_runs_on_databricks(spark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what its notebooks have besides Python: widgets, which hold texts, and two functions that show things."""
    monkeypatch.delenv("CHURN_OUTPUT", raising=False)
    values, shown, pages = {"folder": str(tmp_path / "volume")}, list[object](), list[str]()
    widgets = SimpleNamespace(text=values.setdefault, get=values.__getitem__)
    platform = {
        "dbutils": SimpleNamespace(widgets=widgets),
        "display": shown.append,
        "displayHTML": pages.append,
    }
    runpy.run_path(str(NOTEBOOKS / "quickstart.py"), init_globals={**platform, "spark": spark})
    calls, figure, answer = shown
    assert calls.count() > 0
    assert figure.axes[0].get_lines()[0].get_ydata()[-1] == 1.0
    assert answer[0]["churn_probability"] > 0
    assert pages[0].startswith("<!doctype html>")
    assert (tmp_path / "volume/tables/churn_scores").is_dir()


def test_telco_reads_reasons_out(spark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    with real_table("telco_feedback.csv").open(newline="") as whole:
        rows = [row for _, row in zip(range(1001), csv.reader(whole), strict=False)]
    with (tmp_path / "raw.csv").open("w", newline="") as part:
        csv.writer(part).writerows(rows)
    monkeypatch.setenv("TELCO_RAW", str(tmp_path / "raw.csv"))
    monkeypatch.setenv("CHURN_OUTPUT", str(tmp_path / "out"))
    monkeypatch.chdir(ROOT)
    runpy.run_path(str(NOTEBOOKS / "telco.py"))
    assert " the risk" in capsys.readouterr().out
