"""Tables that people really have, from the raw file to the call list without a line edited.

The real ones are skipped where they are not beside the clone; those that a test can make are made.
"""

from __future__ import annotations

import csv
import random
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers import last_run, real_table

from churn_spark.cli import main

FEW = ["training.n_estimators=30", "training.max_depth=2", "split.backtest=0", "promotion.max_ece=1"]
FEW = [word for setting in FEW for word in ("--set", setting)]


def walk(raw: Path, folder: Path, *, day: str = "2026-01-31") -> tuple[dict[str, object], pd.DataFrame]:
    """Propose a layer, train, score and export; returns the training's record and the call list."""
    layer, place = folder / "mine.yaml", ["-q", "--raw", str(raw), "--output", str(folder / "out")]
    assert main(["init", "--raw", str(raw), "--to", str(layer)]) == 0
    assert main(["train", *place, "--config", str(layer), *FEW]) == 0
    record = last_run(folder / "out")
    pointer = "champion" if record["promoted"] else "challenger"
    where = ["--score-date", day, "--model", pointer]
    assert main(["score", *place, "--config", str(layer), *where]) == 0
    assert main(["export", *place, "--config", str(layer), "--to", str(folder / "list.csv")]) == 0
    return record, pd.read_csv(folder / "list.csv", dtype=str)


def test_the_seed_table_trains_and_scores_to_the_end(spark: object, tmp_path: Path) -> None:
    place = ["-q", "--raw", str(real_table("seed_customers.csv")), "--output", str(tmp_path / "out")]
    assert main(["train", *place, "--set", "leakage=warn"]) == 0
    assert main(["score", *place, "--score-date", "2026-01-31"]) == 0
    reasons = pd.read_parquet(tmp_path / "out/churn_reasons").groupby("customer_id")["effect"].sum()
    scores = pd.read_parquet(tmp_path / "out/churn_scores").set_index("customer_id")["churn_score_raw"]
    assert len(scores) == 69  # 31 have left by their label
    np.testing.assert_allclose(reasons[scores.index], scores, atol=1e-4)


def head(table: str, folder: Path, rows: int) -> Path:
    """The first rows of a real table, so that its test takes seconds."""
    lines = real_table(table).read_text(encoding="utf-8").splitlines(keepends=True)
    (folder / table).write_text("".join(lines[: rows + 1]), encoding="utf-8")
    return folder / table


@pytest.mark.parametrize(
    ("table", "rows", "id_starts"),
    [("employees.csv", 1470, ""), ("telecom_usage.csv", 1200, "row-"), ("telco_feedback.csv", 900, "")],
)
def test_a_real_table_becomes_a_call_list(
    spark: object, tmp_path: Path, table: str, rows: int, id_starts: str
) -> None:
    _, calls = walk(head(table, tmp_path, rows), tmp_path)
    assert len(calls) > 10
    assert calls["customer_id"].str.startswith(id_starts).all()
    assert calls["reason_1_text"].str.contains("risk").all()


def test_a_log_of_orders_becomes_a_call_list(spark: object, tmp_path: Path) -> None:
    record, _ = walk(head("orders_log.csv", tmp_path, 4000), tmp_path, day="1998-06-30")
    assert record["label_basis"] == "panel"
    scores = pd.read_parquet(tmp_path / "out/churn_scores")
    assert scores["customer_id"].str.fullmatch("[0-9]{5}").all()
    assert len(scores) > 100


def bank(path: Path) -> None:
    """A bank's table as an office writes it: semicolons, decimal commas, Windows-1252, a flag in words."""
    rng = random.Random(7)
    with path.open("w", encoding="windows-1252", newline="") as file:
        rows = csv.writer(file, delimiter=";")
        rows.writerow(
            ["Kundennummer", "Alter", "Kontostatus", "Umsatz 12M", "Rabatt", "Vertragsbeginn", "Filiale"]
        )
        for number in range(500):
            spend = rng.uniform(0, 15000)
            has_left = rng.random() < (0.5 if spend < 4000 else 0.05)
            amount = f"{spend:,.2f}".translate(str.maketrans(",.", ".,"))
            start = f"{rng.randint(1, 28):02d}.{rng.randint(1, 12):02d}.{rng.randint(2005, 2024)}"
            status = "Attrited Customer" if has_left else "Existing Customer"
            rows.writerow([f"{number:08d}", rng.randint(21, 80), status, amount, f"{rng.randint(0, 9)} %", start,
                           rng.choice(["Köln", "Münster"])])  # fmt: skip


def test_a_bank_s_table_with_semicolons_and_decimal_commas_becomes_a_call_list(
    spark: object, tmp_path: Path
) -> None:
    bank(tmp_path / "bank.csv")
    record, calls = walk(tmp_path / "bank.csv", tmp_path)
    rows = pd.read_csv(tmp_path / "bank.csv", sep=";", encoding="windows-1252", dtype=str)
    rows = rows.set_index("Kundennummer")
    assert record["rows"]["rejected"] == 0
    assert set(rows.loc[calls["customer_id"], "Kontostatus"]) == {"Existing Customer"}
    spend = (
        rows.loc[calls["customer_id"], "Umsatz 12M"].str.replace(".", "").str.replace(",", ".").astype(float)
    )
    np.testing.assert_allclose(calls["umsatz_12_m"].astype(float), spend)
    assert (spend < 4100).mean() > 0.9
