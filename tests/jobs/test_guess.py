"""The first table contract, guessed: one small table a rule, and the real tables where they are there."""

from pathlib import Path

import pandas as pd
import pytest
import yaml
from helpers import real_table

from churn_spark.cli import main
from churn_spark.jobs.init import Guess, as_yaml, guess_columns
from churn_spark.settings.layers import load_config

N = 100
TABLE = pd.DataFrame(
    {
        "Customer ID": [f"00{i}" for i in range(N)],
        "Age": [str(20 + i % 50) for i in range(N)],
        "balance": [f"{i - 30}.5" for i in range(N)],
        "planType": [("monthly", "annual", None)[i % 3] for i in range(N)],
        "Churn": [("yes", "no", "no", "no")[i * 7 % 4] for i in range(N)],
        "notes": [f"The customer called about bill number {i} again." for i in range(N)],
        "snapshot": ["2026-01-31"] * 50 + ["2026-02-28"] * 50,
        "street": [f"Long Road {i}" for i in range(N)],
        "country": ["CH"] * N,
        "cancel_date": [None if i % 4 else f"2026-03-{1 + i % 28:02d}" for i in range(N)],
        "state": [("gone", "here", "here", "here")[i * 7 % 4] for i in range(N)],
    }
)


@pytest.fixture(scope="module")
def guesses() -> dict[str, Guess]:
    return {g.column.raw_name: g for g in guess_columns(TABLE)}


@pytest.mark.parametrize(
    ("source", "name", "role", "kind"),
    [
        ("Customer ID", "customer_id", "id", "string"),
        ("Age", "age", "numeric", "bigint"),
        ("balance", "balance", "numeric", "double"),
        ("planType", "plan_type", "categorical", "string"),
        ("Churn", "churn", "label", "boolean"),
        ("notes", "notes", "text", "string"),
        ("snapshot", "snapshot", "snapshot", "date"),
        ("street", "street", "passthrough", "string"),
        ("country", "country", "ignore", "string"),
        ("cancel_date", "cancel_date", "ignore", "string"),
        ("state", "state", "ignore", "string"),
    ],
)
def test_guess_columns_finds_role_and_type(
    guesses: dict[str, Guess], source: str, name: str, role: str, kind: str
) -> None:
    column = guesses[source].column
    assert (column.name, column.role, column.kind) == (name, role, kind)


def test_guess_columns_sets_a_minimum_only_where_nothing_lies_below(guesses: dict[str, Guess]) -> None:
    assert (guesses["Age"].column.min, guesses["balance"].column.min) == (0.0, None)


def test_guess_columns_says_which_columns_leak(guesses: dict[str, Guess]) -> None:
    suspected = [name for name, g in guesses.items() if "suspected leak" in g.why]
    assert suspected == ["cancel_date", "state"]
    honest = guess_columns(TABLE.drop(columns="cancel_date").assign(state=TABLE["planType"]))
    assert not [g for g in honest if "suspected leak" in g.why]


def test_names_need_no_quotes_and_are_distinct() -> None:
    sources = ["Gekündigt", "KundeNr", "2024 Umsatz €", "a b", "a_b", "a_b_2", "Возраст", "Пол", "label"]
    names = [g.column.name for g in guess_columns(pd.DataFrame({s: ["1", "2"] for s in sources}))]
    assert names == [
        "gekundigt",
        "kunde_nr",
        "c_2024_umsatz",
        "a_b",
        "a_b_2",
        "a_b_2_2",
        "column",
        "column_2",
        "c_label",
    ]


def test_as_yaml_is_a_layer_that_loads_and_quotes_no_value(guesses: dict[str, Guess], tmp_path: Path) -> None:
    text = as_yaml(list(guesses.values()), raw="customers.csv")
    (tmp_path / "mine.yaml").write_text(text)
    columns = load_config([str(tmp_path / "mine.yaml")]).columns
    assert list(columns) == [g.column.name for g in guesses.values()]
    assert columns["plan_type"].raw_name == "planType"
    assert "monthly" not in text
    assert "Long Road" not in text


def test_as_yaml_says_what_is_missing() -> None:
    text = as_yaml(guess_columns(TABLE[["Age", "planType"]]), raw="x.csv")
    assert "No column looks like the customer's id" in text
    assert "No column looks like the label" in text


def test_init_writes_a_layer_that_validates_the_same_table(
    spark, raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layer = tmp_path / "mine.yaml"
    assert main(["init", "--raw", str(raw), "--to", str(layer)]) == 0
    roles = {name: spec["role"] for name, spec in yaml.safe_load(layer.read_text())["columns"].items()}
    assert roles == {
        "customer_id": "id", "age": "numeric", "tenure": "numeric", "spend_rate": "numeric",
        "plan_type": "categorical", "churn": "label", "ticket_notes": "text",
    }  # fmt: skip
    assert main(["init", "--raw", str(raw), "--to", str(layer)]) == 2
    assert "there already" in capsys.readouterr().err


def test_init_understands_a_real_company_table(
    spark, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init", "--raw", str(real_table("telco_feedback.csv"))]) == 0
    columns = yaml.safe_load(capsys.readouterr().out)["columns"]
    by_role: dict[str, list[str]] = {}
    for name, spec in columns.items():
        by_role.setdefault(spec["role"], []).append(name)
    assert by_role["id"] == ["customer_id"]
    assert by_role["label"] == ["churn"]
    assert by_role["text"] == ["customer_feedback"]
    assert by_role["numeric"] == ["tenure", "monthly_charges", "total_charges"]
    assert len(by_role["categorical"]) == 16
