"""The notebooks run from top to bottom, as a laptop or Databricks would run them."""

import runpy
from pathlib import Path

import pytest

from churn_spark.sample.customers import write_csv

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"


def test_notebooks_are_databricks_sources() -> None:
    found = sorted(NOTEBOOKS.glob("*.py"))
    assert found
    assert all(n.read_text().startswith("# Databricks notebook source\n") for n in found)


def test_quickstart_runs(spark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    write_csv(tmp_path / "raw.csv", 600, seed=5)
    monkeypatch.setenv("CHURN_RAW", str(tmp_path / "raw.csv"))
    monkeypatch.setenv("CHURN_OUTPUT", str(tmp_path / "out"))
    names = runpy.run_path(str(NOTEBOOKS / "quickstart.py"))
    assert names["answer"][0]["churn_probability"] > 0
    assert "reason_1_text" in capsys.readouterr().out
