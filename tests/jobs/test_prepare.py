"""Precision in the jobs: `auto` gives way to float32 where a probe speaks against int8; scoring follows the model."""

import csv
import json
import logging
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from churn_spark.cli import main
from churn_spark.jobs.prepare import measure_coverage
from churn_spark.jobs.run import Run
from churn_spark.notes import embedders, precision
from churn_spark.settings.layers import load_config
from churn_spark.spark.notes import resolver
from churn_spark.spark.notes.counts import TextCounts


@pytest.fixture
def out_of_reach(monkeypatch) -> None:
    """A processor that is fast at int8, and a bar for int8's cosine that no model reaches."""
    monkeypatch.setattr(precision, "multiplies_int8", lambda: True)
    monkeypatch.setattr(precision, "GPU", Path("/nowhere"))
    monkeypatch.setattr(embedders, "MIN_COSINE", 0.9999)
    monkeypatch.setattr(resolver, "LEAST_PROBE", 1)


@pytest.mark.parametrize(("wish", "code", "embedded_in"), [("auto", 0, ["float32"]), ("int8", 23, [])])
def test_int8_is_given_up_only_where_it_was_not_asked_for(
    spark: object, out_of_reach: None, tmp_path: Path, wish: str, code: int, embedded_in: list[str]
) -> None:
    raw = tmp_path / "raw.csv"
    with raw.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["customer_id", "age", "tenure", "spend_rate", "plan_type", "churn", "ticket_notes"])
        rows.writerow(["C1", 50, 10, 99.5, "monthly", 0, "The bill is wrong again."])
    place = ["-q", "--raw", str(raw), "--output", str(tmp_path / "out")]
    assert main(["prepare", *place, "--set", f"text.embedder.precision={wish}"]) == code
    identities = (tmp_path / "out/churn_notes/kind=embedding").glob("*/_identity.json")
    assert [json.loads(path.read_text())["precision"] for path in identities] == embedded_in


def test_scoring_takes_the_models_vectors_whatever_the_settings_wish(
    spark: object, raw: Path, output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A dry run finds every vector in the cache, in either precision."""
    manifest = json.loads(next((output / "models").glob("m-*/manifest.json")).read_text())
    trained = manifest["embedding"]["ticket_notes"]["precision"]
    assert trained == manifest["text"]["embedder"]["precision"] != "auto"
    other = {"int8": "float32", "float32": "int8"}[trained]
    place = ["--raw", str(raw), "--output", str(output), "--set", f"text.embedder.precision={other}"]
    assert main(["score", "--dry-run", "-q", *place]) == 0
    assert "uncached 0" in capsys.readouterr().out


ARABIC = "الخدمة سيئة جدا ولم يتصل بي أحد منذ شهر مارس وأريد إلغاء العقد واسترداد المبلغ. "
ENGLISH = "The internet has been slow since March and nobody called me back about the bill. "


@pytest.mark.parametrize(("note", "name", "warned"), [(ARABIC, "ARABIC", True), (ENGLISH, "en", False)])
def test_training_measures_what_the_embedding_model_can_read(
    spark: SparkSession, tmp_path: Path, caplog: pytest.LogCaptureFixture, note: str, name: str, warned: bool
) -> None:
    run, counts = Run("train", load_config(options={"output": str(tmp_path / "out")})), TextCounts()
    df = spark.createDataFrame([(note * 10,), (None,)], "ticket_notes__summary string")
    with caplog.at_level(logging.INFO, "churn_spark"):
        measure_coverage(run, df, counts)
    assert list(run.record["text"]["coverage"]) == [name]
    assert run.record["text"]["coverage"][name]["tokens"] == counts.coverage[name].tokens > 100
    said = [r for r in caplog.records if "step=text" in r.message]
    assert [r.levelno for r in said] == [logging.WARNING if warned else logging.INFO]
    assert ("text.embedder.name to multilingual" in said[0].message) is warned
