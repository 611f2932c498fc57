from __future__ import annotations

import csv
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from churn_spark.contract.columns import Column
from churn_spark.contract.rules import check_record
from churn_spark.errors import ConfigError
from churn_spark.jobs.sample import sample_table
from churn_spark.sample.customers import (
    BLOCK,
    COLUMNS,
    CSV_OPTIONS,
    DRIFT_MONTH,
    customers,
    write_csv,
)
from churn_spark.sample.wording import TOPICS, write_note

FIRST_OF_SEED_42 = [
    ["C0000001", 19, 50, 46.47, "monthly", 0],
    ["C0000002", 21, 10, 28.43, "annual", 0],
    ["C0000003", 26, 22, 39.6, "monthly", 0],
]
if TYPE_CHECKING:
    from pyspark.sql import SparkSession

CONTRACT = tuple(
    Column.model_validate({"name": name, **rules}).model_copy(update={"name": name})
    for name, rules in {
        "customer_id": {"role": "id"},
        "age": {"role": "numeric", "type": "bigint", "min": 0, "max": 130},
        "tenure": {"role": "numeric", "min": 0},
        "spend_rate": {"role": "numeric", "min": 0},
        "plan_type": {"role": "categorical"},
        "churn": {"role": "label"},
        "ticket_notes": {"role": "text"},
    }.items()
)
ANSWER = re.compile(
    r"\b(cancel\w*|churn\w*|leav(e|es|ing)|left|quit(s|ting)?|terminat\w*|switch(ed|ing)?|unsubscrib\w*"
    r"|clos(e|ed|ing|ure)|goodbye|farewell|former|deactivat\w*|port(ed|ing)? out|retention|lost customer)\b",
    re.IGNORECASE,
)


@pytest.fixture(scope="module")
def clean() -> pd.DataFrame:
    return customers(0, 5_000, seed=1)


@pytest.fixture(scope="module")
def raw() -> pd.DataFrame:
    return customers(0, 5_000, seed=1, form="raw")


@pytest.fixture(scope="module")
def truth() -> pd.DataFrame:
    return customers(0, 5_000, seed=1, form="truth")


@pytest.fixture(scope="module")
def panel() -> pd.DataFrame:
    return customers(0, 1_000, seed=1, months=12)


# -- every row is a function of seed and row number ----------------------------------------------------


@settings(max_examples=10, deadline=None)
@given(first=st.integers(0, 3 * BLOCK), count=st.integers(1, BLOCK + 5))
def test_customers_of_any_slice_are_the_rows_of_the_whole(first: int, count: int) -> None:
    whole = customers(0, 4 * BLOCK + 5, seed=3, form="truth")
    part = customers(first, count, seed=3, form="truth")
    pd.testing.assert_frame_equal(part, whole[first : first + count].reset_index(drop=True))


@pytest.mark.parametrize("form", ["clean", "raw", "truth"])
def test_customers_across_a_block_boundary_are_those_of_both_blocks(form: str) -> None:
    whole = customers(0, 2 * BLOCK, seed=3, form=form)
    pieces = [customers(0, 990, seed=3, form=form), customers(990, 1_010, seed=3, form=form)]
    pd.testing.assert_frame_equal(pd.concat(pieces, ignore_index=True), whole)


def test_customers_of_another_seed_are_others(clean: pd.DataFrame) -> None:
    other = customers(0, 1_000, seed=2)
    assert (other["customer_id"] == clean["customer_id"][:1_000]).all()
    assert (other["spend_rate"] != clean["spend_rate"][:1_000]).mean() > 0.95
    assert (other["ticket_notes"] != clean["ticket_notes"][:1_000]).mean() > 0.95


def test_customers_of_a_seed_stay_the_same_for_ever() -> None:
    first = customers(0, 3, seed=42).drop(columns="ticket_notes")
    assert first.values.tolist() == FIRST_OF_SEED_42


@pytest.mark.parametrize("wrong", [{"count": 0}, {"seed": -1}, {"months": 0}])
def test_customers_of_impossible_arguments_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="below the minimum"):
        customers(0, **{"count": 1, "seed": 1, **wrong})  # type: ignore[arg-type]


# -- the shape of the table ------------------------------------------------------------------------------


def test_customers_look_like_a_customer_table(clean: pd.DataFrame) -> None:
    assert tuple(clean.columns) == COLUMNS
    assert clean["customer_id"].is_unique
    assert clean["customer_id"][122] == "C0000123"
    assert clean["age"].between(18, 90).all()
    assert clean["tenure"].median() < clean["tenure"].mean() < clean["tenure"].max() / 5
    assert 0.01 < clean["spend_rate"].isna().mean() < 0.05
    assert 0.01 < clean["plan_type"].isna().mean() < 0.03
    assert clean["plan_type"].nunique() == 5
    assert 0.18 < clean["churn"].mean() < 0.22
    assert 0.18 < clean["ticket_notes"].isna().mean() < 0.22


def test_notes_have_the_lengths_and_forms_of_real_ones(clean: pd.DataFrame) -> None:
    notes = clean["ticket_notes"].dropna()
    words = notes.str.split().str.len()
    assert words.min() >= 12
    assert 200 < words.max() <= 300
    assert notes.nunique() > 0.85 * len(notes)
    assert 0.03 < notes.duplicated(keep=False).mean() < 0.15
    assert 0.02 < notes.str.contains("\n").mean() < 0.15
    for mark in ('"', ",", "@example.", "DE", "4000", "555-01", "SO-"):
        assert notes.str.contains(mark, regex=False).mean() > 0.01, mark


def test_notes_that_differ_only_in_identifiers_exist(clean: pd.DataFrame) -> None:
    notes = clean["ticket_notes"].dropna().drop_duplicates()
    masked = notes.str.replace(r"SO-\d+|\S+@\S+|[+(\d][\d ()-]{8,}", "#", regex=True)
    assert (notes.nunique() - masked.nunique()) / len(notes) > 0.01


def test_cards_and_ibans_have_valid_check_digits(clean: pd.DataFrame) -> None:
    notes = " ".join(clean["ticket_notes"].dropna())
    ibans = re.findall(r"DE\d\d(?: \d{4}){4} \d\d", notes)
    cards = [re.sub(r"\D", "", card) for card in re.findall(r"4000(?:[ -]?\d{4}){3}", notes)]
    assert min(len(ibans), len(cards)) > 20
    for iban in ibans:
        plain = iban.replace(" ", "")
        assert int(plain[4:] + "1314" + plain[2:4]) % 97 == 1
    for card in cards:
        doubled = [int(d) * (2 - k % 2) for k, d in enumerate(card)]
        assert len(card) == 16
        assert sum(d - 9 * (d > 9) for d in doubled) % 10 == 0


@settings(max_examples=50, deadline=None)
@given(
    topics=st.lists(
        st.tuples(st.integers(0, 9), st.booleans()), min_size=1, max_size=2, unique_by=lambda t: t[0]
    ),
    seed=st.integers(0, 2**53),
)
def test_write_note_fills_every_slot_and_keeps_its_length(topics: list[tuple[int, bool]], seed: int) -> None:
    note = write_note(topics, seed)
    assert note == write_note(topics, seed)
    assert 12 <= len(note.split()) <= 300
    assert not re.search(r"[{}]|\\n", note)


# -- the truth ---------------------------------------------------------------------------------------------


def test_truth_is_calibrated_and_attains_the_promised_auc() -> None:
    table, truth = customers(0, 20_000, seed=9), customers(0, 20_000, seed=9, form="truth")
    assert (table["customer_id"] == truth["customer_id"]).all()
    for _, rows in table.groupby(pd.qcut(truth["true_probability"], 10), observed=True):
        p = truth["true_probability"][rows.index]
        assert abs(rows["churn"].mean() - p.mean()) < 4 * np.sqrt((p * (1 - p)).sum()) / len(p)
    assert 0.84 < roc_auc_score(table["churn"], truth["true_probability"]) < 0.885


def test_truth_stays_out_of_the_customer_table(
    clean: pd.DataFrame, raw: pd.DataFrame, truth: pd.DataFrame
) -> None:
    assert list(truth.columns) == ["customer_id", "true_probability"]
    assert "true_probability" not in {*clean.columns, *raw.columns}


def test_notes_never_say_how_it_ended() -> None:
    notes = [
        write_note([(topic, strong)], seed)
        for topic in range(len(TOPICS))
        for strong in (False, True)
        for seed in range(250)
    ]
    assert not [found[0] for note in notes if (found := ANSWER.search(note))]
    assert ANSWER.search("Client wants the account closed.")


def test_notes_say_the_same_of_both_outcomes(clean: pd.DataFrame) -> None:
    noted = clean.dropna(subset=["ticket_notes"])
    words = [
        Counter(w for n in noted["ticket_notes"][noted["churn"] == y] for w in set(n.split())) for y in (0, 1)
    ]
    frequent = {word for word, count in (words[0] + words[1]).items() if count >= 100}
    assert len(frequent) > 200
    assert all(words[0][word] and words[1][word] for word in frequent)


# -- bad rows --------------------------------------------------------------------------------------------


def test_raw_has_about_one_percent_bad_rows_of_many_kinds(raw: pd.DataFrame) -> None:
    problems = [check_record(record, CONTRACT)[1] for record in raw.to_dict("records")]
    unlabelled = raw["churn"].str.strip() == ""
    identical = raw.duplicated()
    same_key = raw["customer_id"].str.strip().ne("") & raw["customer_id"].duplicated(keep=False)
    conflicting = same_key & ~raw.duplicated(keep=False)
    bad = np.array([bool(p) for p in problems]) | unlabelled | identical | conflicting
    assert 0.008 < bad.mean() < 0.02
    assert identical.sum() == 5
    assert conflicting.sum() == 10
    assert {p.name for ps in problems for p in ps} == {
        "id_missing", "label_invalid", "not_a_number", "not_whole", "below_min", "above_max",
    }  # fmt: skip


def test_raw_spells_out_the_same_table(clean: pd.DataFrame, raw: pd.DataFrame) -> None:
    assert all(isinstance(value, str) for value in raw.to_numpy().ravel())
    same = raw["customer_id"] == clean["customer_id"]
    assert same.mean() > 0.99
    assert (raw["age"] == clean["age"].astype(str)).mean() > 0.99
    assert (raw["ticket_notes"] == clean["ticket_notes"].fillna("")).mean() > 0.99
    spend = pd.to_numeric(raw["spend_rate"], errors="coerce")
    assert (spend.eq(clean["spend_rate"]) | clean["spend_rate"].isna()).mean() > 0.99


# -- panel -----------------------------------------------------------------------------------------------


def test_panel_has_one_row_a_month_until_the_customer_leaves(panel: pd.DataFrame) -> None:
    assert tuple(panel.columns) == ("customer_id", "snapshot_date", *COLUMNS[1:])
    assert not panel.duplicated(["customer_id", "snapshot_date"]).any()
    assert panel["snapshot_date"].nunique() == 12
    last = ~panel["customer_id"].duplicated(keep="last")
    assert panel["churn"].sum() > 100
    assert not panel["churn"][~last].any()
    months = panel["snapshot_date"].map(lambda date: date.month)
    gaps = months.groupby(panel["customer_id"]).diff().dropna()
    assert (gaps == 1).all()
    assert (panel.groupby("customer_id")["tenure"].diff().dropna() == 1).all()


def test_panel_of_more_months_begins_with_the_shorter_one(panel: pd.DataFrame) -> None:
    shorter = customers(0, 1_000, seed=1, months=8)
    beginning = panel[panel["snapshot_date"] <= shorter["snapshot_date"].max()].reset_index(drop=True)
    assert len(panel) > len(shorter)
    pd.testing.assert_frame_equal(beginning, shorter)


def test_customers_join_until_a_long_panel_ends() -> None:
    longer = customers(0, 1_000, seed=1, months=15)
    first_seen = longer.groupby("customer_id")["snapshot_date"].min()
    assert first_seen.value_counts().reindex(sorted(longer["snapshot_date"].unique())).min() > 10


def test_panel_behaves_differently_after_the_drift(panel: pd.DataFrame) -> None:
    truth = customers(0, 1_000, seed=1, months=12, form="truth")["true_probability"]
    late = panel["snapshot_date"] >= sorted(panel["snapshot_date"].unique())[DRIFT_MONTH]
    before, after = (truth[side].corr(panel["tenure"][side], "spearman") for side in (~late, late))
    assert before < -0.4
    assert after > before + 0.2


# -- files -----------------------------------------------------------------------------------------------


def test_write_csv_reads_back_exactly(tmp_path: Path, raw: pd.DataFrame) -> None:
    path = tmp_path / "customers.csv"
    write_csv(path, 2_500, seed=1)
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file, strict=True))
    assert rows[0] == list(COLUMNS)
    assert rows[1:] == raw[:2_500].to_numpy().tolist()


@pytest.mark.parametrize("months", [None, 2])
def test_sample_table_is_the_kernel_s_table(spark: SparkSession, months: int | None) -> None:
    table = sample_table(spark, 1_500, seed=1, months=months)
    rows = [tuple(row) for row in table.collect()]
    kernel = customers(0, 1_500, seed=1, months=months).astype(object)
    assert rows == list(kernel.where(kernel.notna(), None).itertuples(index=False, name=None))


def test_sample_table_written_by_spark_has_the_bytes_of_write_csv(
    spark: SparkSession, tmp_path: Path
) -> None:
    table = sample_table(spark, 1_500, seed=1, form="raw")
    table.write.options(**CSV_OPTIONS).csv(str(tmp_path / "spark"))
    write_csv(tmp_path / "one.csv", 1_500, seed=1)
    (part,) = (tmp_path / "spark").glob("part-*.csv")
    assert part.read_bytes() == (tmp_path / "one.csv").read_bytes()


def test_sample_needs_no_pyspark() -> None:
    code = "import sys; sys.modules['pyspark'] = None; import churn_spark.sample.customers as s"
    subprocess.run([sys.executable, "-c", code], check=True)
