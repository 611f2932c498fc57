"""The notebooks run from top to bottom, as a laptop or Databricks would run them."""

import csv
import runpy
from pathlib import Path

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


def test_quickstart_runs(spark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    write_csv(tmp_path / "raw.csv", 600, seed=5)
    monkeypatch.setenv("CHURN_RAW", str(tmp_path / "raw.csv"))
    monkeypatch.setenv("CHURN_OUTPUT", str(tmp_path / "out"))
    names = runpy.run_path(str(NOTEBOOKS / "quickstart.py"))
    assert names["answer"][0]["churn_probability"] > 0
    assert "reason_1_text" in capsys.readouterr().out


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
