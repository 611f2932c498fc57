"""What the audit counts over the whole table, and the bounded rows it looks at."""

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers import real_table

from churn_spark.cli import main
from churn_spark.contract.columns import Column, Contract
from churn_spark.evaluation import audit
from churn_spark.evaluation.phrases import count_phrases
from churn_spark.spark.training import rows as inspection

CONTRACT = Contract(
    (
        Column(name="id", role="id"),
        Column(name="age", role="numeric"),
        Column(name="plan", role="categorical"),
        Column(name="note", role="text"),
        Column(name="left", role="label"),
    )
)
SCHEMA = "id string, age double, plan string, note string, left boolean, split string"


def table(spark, rows: int, *, twins: int):  # type: ignore[no-untyped-def]
    """Customers whose outcome nothing tells; the first `twins` of the test come again in training."""
    rng = np.random.default_rng(3)
    left = rng.random(rows) < 0.3
    people = [(f"C{i}", float(rng.integers(10_000)), "a", f"a long note of number {i}", bool(y))
              for i, y in enumerate(left)]  # fmt: skip
    test, train = people[: rows // 4], people[rows // 4 :]
    copies = [(f"copy of {i}", *rest) for i, *rest in test[:twins]]
    split = [(*p, "test") for p in test] + [(*p, "learn") for p in train + copies]
    return spark.createDataFrame(split, SCHEMA)


def test_the_same_customers_under_other_ids_are_found(spark) -> None:
    df = table(spark, 400, twins=40)
    rows, notes = inspection.row_overlap(df, CONTRACT), inspection.note_overlap(df, CONTRACT, "note")
    assert (notes.distinct, notes.shared, notes.pairs, notes.agreement) == (100, 40, 40, 1.0)
    assert [f.name for f in audit.twin_findings(rows)] == ["same_customers_on_both_sides"]
    assert [f.name for f in audit.repeated_note_findings("note", notes)] == ["same_note_on_both_sides"]


def test_different_customers_are_left_alone(spark) -> None:
    df = table(spark, 400, twins=0)
    rows, notes = inspection.row_overlap(df, CONTRACT), inspection.note_overlap(df, CONTRACT, "note")
    assert notes.shared == 0 < notes.distinct
    assert audit.twin_findings(rows) == audit.repeated_note_findings("note", notes) == []


def test_short_notes_and_blank_ones_are_the_same_by_nature(spark) -> None:
    rows = [(f"C{i}", float(i), "a", note, i % 4 < 2, "test" if i % 2 else "learn")
            for i, note in enumerate(["billing issue", None, "n/a"] * 40)]  # fmt: skip
    df = spark.createDataFrame(rows, SCHEMA)
    assert inspection.note_overlap(df, CONTRACT, "note").distinct == 0


def test_customers_of_a_panel_may_be_on_both_sides(spark) -> None:
    panel = Contract((*CONTRACT.columns, Column(name="as_of", role="snapshot")))
    rows = [(f"C{i}", 1.0, "a", None, False, split) for i in range(20) for split in ("learn", "test")]
    df = spark.createDataFrame([*rows, ("new", 1.0, "a", None, True, "test")], SCHEMA)
    assert inspection.customers_on_both_sides(df, panel) == (20, 21)
    assert inspection.row_overlap(df, panel).shared == 0  # known to be the same, so no finding


@pytest.mark.slow
def test_the_audit_speaks_up_about_the_seed_tables_notes(
    spark, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert (
        main(
            [
                "train",
                "--raw",
                str(real_table("seed_customers.csv")),
                "--output",
                str(tmp_path / "o"),
                "--set",
                "training.n_estimators=60",
            ]
        )
        == 0
    )
    report = next((tmp_path / "o/models").glob("m-*/report.html")).read_text()
    assert "Suspiciously well" in report
    assert "text beats table" in report
    with real_table("seed_customers.csv").open(newline="") as file:
        notes = [row["ticket_notes"] for row in csv.DictReader(file)]
    assert not [n for n in notes if n in caplog.text]


def test_the_audit_speaks_up_about_the_telco_feedback() -> None:
    rows = pd.read_csv(real_table("telco_feedback.csv")).dropna(subset=["CustomerFeedback"])
    counts = count_phrases(rows["CustomerFeedback"].tolist(), rows["Churn"])
    findings = audit.phrase_findings("customer_feedback", counts, rows["Churn"])
    assert [f.name for f in findings] == ["phrases_tell_the_answer"] * 2
    assert "recently" in findings[0].phrases
