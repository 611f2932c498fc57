"""The first table contract, guessed: one small table a rule."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from churn_spark.contract.columns import Column
from churn_spark.guessing.columns import Guess, Table, guess_columns, guess_table
from churn_spark.guessing.form import guess_form
from churn_spark.guessing.layer import as_yaml
from churn_spark.guessing.past import ticket_layer
from churn_spark.settings.layers import load_config
from churn_spark.settings.sections import Config

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
    names = [g.column.name for g in guess_columns(pd.DataFrame({s: ["1", "2"] for s in sources}))][-9:]
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
    text = as_yaml(Table(tuple(guesses.values()), {}), raw="customers.csv")
    (tmp_path / "mine.yaml").write_text(text)
    columns = load_config([str(tmp_path / "mine.yaml")]).columns
    assert list(columns) == [g.column.name for g in guesses.values()]
    assert columns["plan_type"].raw_name == "planType"
    assert "monthly" not in text
    assert "Long Road" not in text


def test_as_yaml_says_what_is_missing() -> None:
    text = as_yaml(guess_table(TABLE[["Age", "planType"]]), raw="x.csv")
    assert "no column identifies a customer" in text
    assert "No column looks like the label" in text


def column(frame: dict[str, list[Any]], name: str) -> Column:
    return next(g.column for g in guess_columns(pd.DataFrame(frame)) if g.column.raw_name == name)


@pytest.mark.parametrize(
    ("name", "values", "positive"),
    [
        ("Attrition_Flag", ("Attrited Customer", "Existing Customer"), "Attrited Customer"),
        ("Customer Status", ("Churned", "Stayed", "Joined"), "Churned"),
        ("Gekündigt", ("ja", "nein"), "ja"),
        ("Résilié", ("oui", "non"), "oui"),
        ("churn", ("bye", "stayed"), "bye"),
        ("Exited", ("1.00", "0.00"), None),
    ],
)
def test_a_label_says_which_value_means_left(
    name: str, values: tuple[str, ...], positive: str | None
) -> None:
    label = column(
        {"id": [f"a{i}" for i in range(60)], name: [values[i % len(values)] for i in range(60)]}, name
    )
    assert (label.role, label.positive) == ("label", positive)


def test_a_label_whose_words_say_nothing_is_to_be_decided() -> None:
    frame = pd.DataFrame({"id": [f"a{i}" for i in range(60)], "churn": ["1", "2"] * 30})
    label = next(g for g in guess_columns(frame) if g.column.name == "churn")
    assert (label.column.role, label.column.positive) == ("label", None)
    assert label.why.startswith("DECIDE")


def test_a_column_that_does_not_identify_is_no_id() -> None:
    frame = {
        "Area code": ["408", "415", "510"] * 20,
        "Minutes": [f"{i}.5" for i in range(60)],
        "Churn": ["0", "1"] * 30,
    }
    guesses = guess_columns(pd.DataFrame(frame))
    assert (guesses[0].column.role, guesses[0].column.generated) == ("id", True)
    assert "area_code has 3 values in 60 rows" in guesses[0].why
    with_id = guess_columns(pd.DataFrame({**frame, "CLIENTNUM": [str(7_000 + i) for i in range(60)]}))
    assert [g.column.name for g in with_id if g.column.role == "id"] == ["clientnum"]


@pytest.mark.parametrize(
    ("values", "notation"),
    [
        (["10,5", "1.234,25"], {"decimal": ",", "thousands": "."}),
        (["10,5", "7,25"], {"decimal": ","}),
        (["1,000.50", "12.5"], {"thousands": ","}),
        (["1'000.50", "12.5"], {"thousands": "'"}),
        (["10.5", "7.25"], {}),
    ],
)
def test_a_table_says_how_its_numbers_are_written(values: list[str], notation: dict[str, str]) -> None:
    numbers = [f"{i}{value[1:]}" for i in range(1, 10) for value in values]
    table = guess_table(pd.DataFrame({"id": [f"a{i}" for i in range(len(numbers))], "x": numbers}))
    assert table.notation == notation
    assert table.guesses[1].column.role == "numeric"


@pytest.mark.parametrize(
    ("values", "spec"),
    [
        ([f"{i:02d}.01.2026" for i in range(1, 29)], "d.M.yyyy"),
        ([f"01/{i:02d}/2026" for i in range(1, 29)], "M/d/yyyy"),
        ([str(45_600 + i) for i in range(28)], "excel"), ([f"2026-01-{i:02d} 00:00:00" for i in range(1, 29)], None),
    ],
)  # fmt: skip
def test_dates_are_known_by_their_format(values: list[str], spec: str | None) -> None:
    date = column({"id": [f"a{i}" for i in range(28)], "start_date": values}, "start_date")
    assert (date.kind, date.date_format) == ("date", spec)


def test_what_only_leavers_have_and_copies_and_chinese_text_are_told() -> None:
    n = 60
    frame = {
        "id": [f"a{i}" for i in range(n)], "churn": ["1" if i % 3 == 0 else "0" for i in range(n)],
        "end_date": [f"2026-01-{1 + i % 28:02d}" if i % 3 == 0 else None for i in range(n)],
        "bill": [f"{i}.5" for i in range(n)], "bill_again": [f"{i}.5" for i in range(n)],
        "note": [f"客户抱怨网络太慢并要求退款第{i}次" for i in range(n)],
        "score": [str(i) if i % 7 else "?" for i in range(n)],
    }  # fmt: skip
    guesses = {g.column.name: g for g in guess_columns(pd.DataFrame(frame))}
    assert {name: g.column.role for name, g in guesses.items()} == {
        "id": "id", "churn": "label", "end_date": "ignore", "bill": "numeric", "bill_again": "ignore", "note": "text",
        "score": "numeric",
    }  # fmt: skip
    assert "only customers who left" in guesses["end_date"].why
    assert guesses["bill_again"].why == "a copy of bill"
    assert guesses["score"].column.missing == ("?",)


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("id;x\n1;2,5\n2;3,5\n", {"separator": ";"}),
        ("id,x\n1,2\n", {}),
        ("Customers of 31.01.2026\n\nid,x,y\n1,2,3\n2,3,4\n", {"skip_lines": 2}),
        ("sep=;\nid;x\n1;2\n", {"separator": ";"}),
        ("id\tx\n1\té\n", {"separator": "\t", "encoding": "windows-1252"}),
    ],
)
def test_the_form_of_a_file_is_told_from_its_lines(text: str, form: dict[str, Any]) -> None:
    encoding = form.get("encoding", "utf-8")
    assert guess_form(text.encode(encoding).split(b"\n")) == form


def test_as_yaml_keeps_what_was_found() -> None:
    frame = pd.DataFrame({"id": [f"a{i}" for i in range(30)], "x": [f"{i},5" for i in range(30)]})
    text = as_yaml(
        guess_table(frame, separator=";"), raw="x.csv", form={"separator": ";", "encoding": "windows-1252"}
    )
    assert "input:\n  separator: ';'\n  encoding: 'windows-1252'\n  decimal: ','\n" in text


# -- what a table tells of time -------------------------------------------------------------------------


def panel(**more: list[object]) -> pd.DataFrame:
    months = [str(day.date()) for day in pd.date_range("2025-01-31", periods=6, freq="ME")]
    rows = [(f"a{n}", month, str(n * 7 % 100 / 10)) for n in range(200) for month in months]
    return pd.DataFrame(rows, columns=["customer_id", "month", "spend"]).assign(**more)


def test_a_panel_is_known_by_few_days_with_each_customer_once() -> None:
    roles = {
        g.column.name: g.column.role for g in guess_columns(panel(churn=[str(n % 2) for n in range(1200)]))
    }
    assert roles == {"customer_id": "id", "month": "snapshot", "spend": "numeric", "churn": "label"}


def test_a_panel_with_the_day_of_leaving_makes_its_label_of_it() -> None:
    table = guess_table(
        panel(churn_date=[f"2025-09-{1 + n % 28:02d}" if n % 9 == 0 else None for n in range(1200)])
    )
    roles = {g.column.name: g.column.role for g in table.guesses}
    assert (roles["month"], roles["churn_date"]) == ("snapshot", "date")
    assert table.sections == {"label": {"from": "churn_date", "horizon_days": 90}}


def test_a_log_of_orders_is_made_a_panel() -> None:
    rows = [(f"a{n % 150}", f"{1 + n % 28:02d}.{1 + n % 11:02d}.2025", f"{n % 90},5") for n in range(1000)]
    table = guess_table(pd.DataFrame(rows, columns=["cust_no", "ordered", "Amount"]))
    assert [(g.column.name, g.column.role) for g in table.guesses] == [
        ("cust_no", "id"), ("month", "snapshot"), ("orders", "numeric"), ("Amount", "numeric"), ("churn", "label"),
    ]  # fmt: skip
    assert table.notation == {"decimal": ",", "date_format": "d.M.yyyy"}
    assert table.sections["events"] == {
        "orders": {"customer": "cust_no", "date": "ordered", "value": ["Amount"]}
    }
    layer = Config.model_validate(
        {"raw": "o.csv", "output": "out", **yaml.safe_load(as_yaml(table, raw="o.csv"))}
    )
    assert layer.snapshots == "monthly"
    assert layer.contract.columns[3].decimal is None  # the panel is ours
    assert layer.contract.tables["orders"][2].decimal == ","


def test_tickets_are_known_by_whose_they_are_and_what_became_of_them() -> None:
    rows = [
        (f"t{n}", f"a{n % 40}", f"2025-{1 + n % 12:02d}-03 10:00:00", f"2025-{1 + n % 12:02d}-09" if n % 5 else None,
         str(1 + n % 5), f"The invoice number {n} is wrong again and nobody answers my calls.")
        for n in range(300)
    ]  # fmt: skip
    names = ["ticket_id", "requester", "created_at", "closed_at", "csat", "description"]
    found = ticket_layer(
        pd.DataFrame(rows, columns=names), names, ids=pd.Series([f"a{n}" for n in range(50)]), raw="t"
    )
    assert found["tickets"] == {
        "raw": "t", "customer": "requester", "date": "created_at", "text": "description",
        "columns": {"resolved": "closed_at", "satisfaction": "csat"},
    }  # fmt: skip


def test_a_table_of_one_moment_has_dates_and_no_snapshots() -> None:
    table = guess_table(TABLE)
    assert table.sections == {}


def test_incomes_are_no_dates_and_codes_are_no_numbers() -> None:
    frame = pd.DataFrame(
        {
            "Id": [f"c{i}" for i in range(100)],
            "MonthlyIncome": [str(5000 + 137 * i) for i in range(100)],
            "Total day calls": [str(100 + i) for i in range(100)],
            "Area code": [("408", "415", "510")[i % 3] for i in range(100)],
            "start_day": [str(44000 + i) for i in range(100)],
        }
    )
    found = {g.column.raw_name: g.column for g in guess_columns(frame)}
    roles = ["id", "numeric", "numeric", "categorical", "date"]
    assert [found[name].role for name in frame] == roles
    assert found["start_day"].date_format == "excel"


def test_what_is_said_of_customers_only_is_the_label_whatever_its_name() -> None:
    flags = [("Existing Customer", "Attrited Customer")[i % 3 == 0] for i in range(90)]
    frame = pd.DataFrame(
        {"id": [f"c{i}" for i in range(90)], "Kontostatus": flags, "vip": ["ja", "nein"] * 45}
    )
    label = next(g.column for g in guess_columns(frame) if g.column.role == "label")
    assert (label.raw_name, label.positive) == ("Kontostatus", "Attrited Customer")
    assert not [g for g in guess_columns(frame[["id", "vip"]]) if g.column.role == "label"]
    constant = guess_columns(frame[["id"]].assign(churn="0"))
    assert "every row says the same" in constant[-1].why


def test_numbers_may_carry_their_unit() -> None:
    frame = pd.DataFrame(
        {
            "id": [f"c{i}" for i in range(90)],
            "discount": [f"{i} %" for i in range(90)],
            "spend": [f"{i}.234,5 €" for i in range(1, 91)],
        }
    )
    table = guess_table(frame, separator=";")
    found = {g.column.name: (g.column.role, g.column.unit) for g in table.guesses}
    assert found == {"id": ("id", None), "discount": ("numeric", "%"), "spend": ("numeric", "€")}
    assert table.notation == {"decimal": ",", "thousands": "."}


def test_a_key_that_comes_again_is_no_number() -> None:
    again = pd.DataFrame({"client_no": [str(10000 + i % 250) for i in range(600)], "churn": ["0", "1"] * 300})
    assert {g.column.name: g.column.role for g in guess_columns(again)}["client_no"] == "passthrough"
