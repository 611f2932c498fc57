"""Rows against the contract: the same rules as for Python records, every row counted, gates that fail closed."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from churn_spark.contract.columns import Column, Contract
from churn_spark.contract.rules import check_record
from churn_spark.errors import InputError
from churn_spark.settings.sections import Validation
from churn_spark.spark.input.rules import Purpose, with_errors
from churn_spark.spark.input.validation import (
    Counts,
    Validated,
    check_gates,
    split_valid,
)

SETTINGS = Validation(max_id_chars=20)
CONTRACT = Contract(
    (
        Column(role="id", name="id"),
        Column(role="numeric", name="age", type="bigint", min=0, max=130),
        Column(role="categorical", name="plan", required=True),
        Column(role="label", name="churn"),
        Column(role="text", name="note"),
    )
)

# One column of every type and rule; in the test below each of them meets every value.
EVERY_RULE = Contract(
    (
        Column(role="id", name="id"),
        Column(role="numeric", name="double", min=-10, max=1e6),
        Column(role="numeric", name="free"),
        Column(role="numeric", name="bigint", type="bigint", min=0, max=130),
        Column(role="numeric", name="some", allowed=("1", "2.5", "-0")),
        Column(role="categorical", name="plan", allowed=("basic", " pro ")),
        Column(role="categorical", name="must", required=True),
        Column(role="passthrough", name="code", pattern=r"[A-Za-z]\w*.\d?"),
        Column(role="passthrough", name="digits", type="bigint", pattern=r"\d{2}"),
        Column(role="passthrough", name="flag", type="boolean"),
        Column(role="passthrough", name="day", type="date"),
        Column(role="label", name="churn"),
        Column(role="text", name="note"),
        Column(role="numeric", name="euro", decimal=",", thousands="."),
        Column(role="numeric", name="swiss", type="bigint", thousands="'", missing=("-", "?")),
        Column(role="numeric", name="percent", unit="%"),
        Column(role="numeric", name="cost", decimal=",", thousands=".", unit="€"),
        Column(role="passthrough", name="german_day", type="date", date_format="d.M.yyyy"),
        Column(role="passthrough", name="oracle_day", type="date", date_format="dd-MMM-yy"),
        Column(role="passthrough", name="excel_day", type="date", date_format="excel"),
        Column(
            role="passthrough", name="ja", type="boolean", true_values=("ja", "2"), false_values=("nein",)
        ),
        Column(role="passthrough", name="left", type="boolean", positive="Churned", missing=("unknown",)),
    )
)
NASTY = [
    None, "", " ", "\t\n", "\u00a0", "\u3000\u200b", "\ufeff", "\0", "30", " 30 ", "\u00a030\u2003", "+30", "-30",
    "30.", "30.0", "30.00000", "30.5", ".5", ".", "-", "--", "+", "1e3", "1E+3", "1e-3", "1e400", "-1e400", "1e-400",
    "1e", "e3", "0x1F", "30L", "30d", "7d", "7f", "1_000", "1,000", "$12", "12%", "inf", "-inf", "Infinity", "nan",
    "NaN", " NaN ", "NAN", "na", "N/A", "n/a ", "null", "NULL", "None", "nil", "nothing", "9007199254740993", "1" * 15,
    "1" * 16, "1" * 20, "1" * 400, "0" * 30 + "1", "-0", "-0.0", "00", "007", "130", "131", "-1", "1000001", "thirty",
    "\u0663\u0660", "\uff13\uff10", "\u00b2", "\u2212" + "5", "1", "0", "1.0", "0.0", "1.00", "2", "2.5", "2.50", "0.7",
    "true", "TRUE", " True ", "t", "T", "f", "false", "yes", "Yes", "y", "no", "N", "maybe", "on", "\u0131", "\u0130",
    "\u017f", "ye\u017f", "basic", "Basic", " pro ", "pro", "A1", "Ab_9", "A\n1", "A1\n", "A\r1", "A\u2028", "A\u00851",
    "\u00c41", "A\u0663", "2024-02-29", "2023-02-29", "2024-13-01", "2024-1-1", "0000-01-01", "0001-01-01",
    "9999-12-31", "10000-01-01", " 2024-01-02 ", "2024-01-02T00:00", "2024-01-02\n", "20240102", "x" * 20, "x" * 21,
    "\U0001f469\u200d\U0001f4bb" * 6, "\U0001f600" * 21, "e\u0301", "'; DROP TABLE x;--", "=HYPERLINK(\"x\")", "<b>",
    "1000.0", "-5.00", "1.0000000000", "9007199254740993.0", "9007199254740991.0", "00123.0", "1.23456789012345E15",
    "1.5E3", "1.2345678E7", "1.5E16", "1.23457E+15", "1e+20", "1e5", "1,23457E+15", "a\0b", "1.5E300", "1e39", "3e38",
    "10,5", "1.234,5", "1.234", "1,234.5", "1'234", "1\u2019234'567", "12.34,5", "1.2345,0", "?", "#N/A", "\\N",
    "(null)",
    "31.01.2026", "1.2.2026", "30.02.2026", "31.01.2026 00:00:00", "31-Jan-26", "31-JAN-26", "3-Jan-26",
    "31-M\u00c4R-26",
    "45688", "45688.5", "60", "61", "2958466", "2026-01-31 00:00:00", "2026-01-31T23:59:59.999Z", "2026-01-31 25",
    "2024-02-30 00:00", "ja", "Nein", "2.00", "Churned", "churned ", "Stayed", "unknown",
    "(12)", "12-", "(1.234,5) €", "€ -5", "-€5", "12 %", "%12", "(12", "--5-", "5 %-", "\u22125 €", "€", "()", "-",
    "../../etc", "\ufffd", "\x1f5", "5\x1f", "\x855", "\u200b5",
]  # fmt: skip


def random_values(count: int) -> list[str]:
    """Values made of the characters and pieces that decide how a value is read."""
    pieces = [*"0123456789+-.eE \t\n\u00a0\u200bnaNulyf/_:", "nan", "null", "true", "2024-", "0.0", "1e"]
    rnd = random.Random(7)
    return ["".join(rnd.choices(pieces, k=rnd.randint(1, 6))) for _ in range(count)]


def raw_table(spark: SparkSession, contract: Contract, rows: list[tuple[Any, ...]]) -> DataFrame:
    names = [*(c.name for c in contract.used), "_row_error", "_corrupt_record"]
    return spark.createDataFrame(rows, ", ".join(f"{name} string" for name in names))


@pytest.mark.parametrize("purpose", ["train", "score"])
def test_with_errors_agrees_with_check_record(spark: SparkSession, purpose: Purpose) -> None:
    values = [*NASTY, *random_values(1500)]
    columns = EVERY_RULE.used
    df = raw_table(spark, EVERY_RULE, [(*[value] * len(columns), None, None) for value in values])
    checked = with_errors(df.coalesce(1), EVERY_RULE, settings=SETTINGS, purpose=purpose).collect()
    assert len(checked) == len(values)
    for value, row in zip(values, checked, strict=True):
        record = dict.fromkeys((c.name for c in columns), value)
        typed, problems = check_record(record, columns, max_id_chars=SETTINGS.max_id_chars)
        expected = {(p.name, p.message, p.columns) for p in problems}
        if purpose == "train" and typed["churn"] is None and "churn" not in {p.columns[0] for p in problems}:
            expected.add(("label_missing", "churn: the label is missing", ("churn",)))
        if purpose == "score":
            expected = {problem for problem in expected if problem[2] != ("churn",)}
        found = [(p.name, p.message, tuple(p.columns)) for p in (*row._errors, *row._warnings)]
        assert set(found) == expected, repr(value)
        assert len(found) == len(expected)
        assert {c.name: row[c.name] for c in columns} == typed, repr(value)
        errors = {p.columns[0] for p in row._errors}
        assert purpose == "train" or errors <= {"id"}
        assert purpose == "score" or not row._warnings


# -- the split of a table -------------------------------------------------------------------------------

ROWS = [
    ("a", " 30 ", "basic", "1", "fine", None, None),
    ("b", "31", "pro", "no", None, None, None),
    ("c", "N/A", "pro", "0", "twice", None, None),
    ("c", "", "pro", "0.0", "twice", None, None),  # identical once it is read
    ("d", "40", "pro", "1", "one", None, None),
    ("d", "40", "pro", "1", "other", None, None),
    ("d", "40", "pro", "1", "one", None, None),
    ("e", "thirty", "pro", "1", "x" * 12_000, None, None),
    ("f", "999", None, "2", "n", None, None),
    ("g", "5", "pro", None, "n", None, None),
    (None, "1", "pro", "1", "n", None, None),
    (" ", "1", "pro", "1", "n", None, None),
    ("h", "1", "pro", "1", "caf\ufffd", "bad_encoding", None),
    (None, None, None, None, None, "malformed_row", "i,1"),
    (None, None, None, None, None, "row_too_long", None),
]


def split(spark: SparkSession, folder: Path, purpose: Purpose) -> Validated:
    df = raw_table(spark, CONTRACT, ROWS)
    return split_valid(df, CONTRACT, settings=SETTINGS, purpose=purpose, folder=str(folder / "work"))


def test_split_valid_keeps_or_rejects_every_row_in_training(spark: SparkSession, tmp_path: Path) -> None:
    found = split(spark, tmp_path, "train")
    assert found.valid.dtypes[:5] == [
        ("id", "string"),
        ("age", "bigint"),
        ("plan", "string"),
        ("churn", "boolean"),
        ("note", "string"),
    ]
    assert sorted(tuple(row) for row in found.valid.collect()) == [
        ("a", 30, "basic", True, "fine", []),
        ("b", 31, "pro", False, None, []),
        ("c", None, "pro", False, "twice", []),
    ]
    assert found.counts == Counts(
        rows_in=15,
        valid=3,
        rejected=11,
        duplicates=1,
        degraded=0,
        churners=1,
        stayers=2,
        by_rule={
            "duplicate_key": 3,
            "id:id_missing": 2,
            "age:above_max": 1,
            "age:not_a_number": 1,
            "churn:label_invalid": 1,
            "churn:label_missing": 1,
            "malformed_row": 1,
            "note:bad_encoding": 1,
            "plan:required_missing": 1,
            "row_too_long": 1,
        },
        by_warning={},
    )
    rejected = {row._corrupt_record or row.age: row for row in found.rejected.collect()}
    assert [p.name for p in rejected["i,1"]._errors] == ["malformed_row"]
    assert len(rejected["thirty"].note) == 10_000
    assert rejected["999"].churn == "2"  # as it stood in the source
    assert rejected["40"]._errors[0].columns == ["id"]


def test_split_valid_drops_no_row_with_a_key_in_scoring(spark: SparkSession, tmp_path: Path) -> None:
    found = split(spark, tmp_path, "score")
    valid = {row.id: row for row in found.valid.collect()}
    assert set(valid) == {"a", "b", "c", "d", "e", "f", "g", "h"}
    assert (valid["d"].age, valid["d"].plan) == (40, "pro")  # what its rows agree on
    assert valid["d"].note == "one\n\nother"
    assert [p.name for p in valid["d"]._warnings] == ["duplicate_key"]
    assert (valid["e"].age, [p.name for p in valid["e"]._warnings]) == (None, ["not_a_number"])
    assert (valid["h"].note, [p.name for p in valid["h"]._warnings]) == (None, ["bad_encoding"])
    assert {p.columns[0] for p in valid["f"]._warnings} == {"age", "plan"}
    assert valid["f"].churn is None
    assert len(valid["e"].note) == 12_000
    counts = found.counts
    assert (counts.rows_in, counts.valid, counts.rejected, counts.duplicates) == (15, 8, 6, 1)
    assert counts.degraded == 4
    assert counts.by_rule == {"duplicate_key": 2, "id:id_missing": 2, "malformed_row": 1, "row_too_long": 1}
    assert sum(counts.by_warning.values()) == 5
    rejected = [row.note for row in found.rejected.collect() if row.id == "d"]
    assert len(rejected) == 2
    assert set(rejected) <= {"one", "other"}  # as they were


def test_split_valid_reads_nothing_twice_and_explains_a_failed_read(
    spark: SparkSession, tmp_path: Path
) -> None:
    source = tmp_path / "raw"
    raw_table(spark, CONTRACT, ROWS[:2]).coalesce(1).write.parquet(str(source))
    df = spark.read.parquet(str(source))
    found = split_valid(df, CONTRACT, settings=SETTINGS, purpose="train", folder=str(tmp_path / "a"))
    part = next(source.glob("*.parquet"))
    (source / f".{part.name}.crc").unlink()
    part.write_bytes(part.read_bytes()[:100])
    assert found.valid.count() == 2  # from the files written, not from the source
    with pytest.raises(InputError, match="not a whole Parquet") as caught:
        split_valid(df, CONTRACT, settings=SETTINGS, purpose="train", folder=str(tmp_path / "b"))
    assert part.name in caught.value.where


def test_split_valid_uses_customer_and_snapshot_as_the_key(spark: SparkSession, tmp_path: Path) -> None:
    contract = Contract(
        (CONTRACT.id, Column(role="snapshot", name="day"), Column(role="numeric", name="age"))
    )
    rows = [("a", "2024-01-01", "1"), ("a", "2024-02-01", "2"), ("a", None, "3"), ("b", "x", "4")]
    df = raw_table(spark, contract, [(*row, None, None) for row in rows])
    found = split_valid(df, contract, settings=SETTINGS, purpose="score", folder=str(tmp_path / "work"))
    assert {(row.day, row.age) for row in found.valid.collect()} == {
        (dt.date(2024, 1, 1), 1.0),
        (dt.date(2024, 2, 1), 2.0),
    }
    assert found.counts.by_rule == {"day:not_a_date": 1, "day:required_missing": 1}
    assert (found.counts.churners, found.counts.stayers) == (0, 0)


def test_split_valid_takes_an_empty_table(spark: SparkSession, tmp_path: Path) -> None:
    df = raw_table(spark, CONTRACT, ROWS[:1]).where(F.lit(False))
    found = split_valid(df, CONTRACT, settings=SETTINGS, purpose="score", folder=str(tmp_path / "work"))
    assert found.counts.rows_in == 0
    assert found.valid.columns == ["id", "age", "plan", "churn", "note", "_warnings"]
    check_gates(found, CONTRACT, settings=SETTINGS, purpose="score")


def test_split_valid_counts_ids_that_look_alike(spark: SparkSession, tmp_path: Path) -> None:
    ids = [
        "AB12",
        "ab12",
        "AB12 ",
        "C\u00a0D",
        "C D",
        "E\u200bF",
        "EF",
        "M\u00fcller",
        "Mu\u0308ller",
        "Muller",
    ]
    df = raw_table(spark, CONTRACT, [(i, "1", "pro", "1", None, None, None) for i in ids])
    found = split_valid(df, CONTRACT, settings=SETTINGS, purpose="train", folder=str(tmp_path / "work"))
    assert {row.id for row in found.valid.collect()} == set(ids)  # exact
    assert found.counts.alike == {
        "ids": 9, "case": 1, "outer spaces": 1, "kinds of space": 1, "invisible characters": 1, "composed letters": 2,
    }  # fmt: skip


# -- gates ----------------------------------------------------------------------------------------------

GOOD = Counts(1000, 1000, 0, 0, 0, churners=100, stayers=900, by_rule={}, by_warning={})


def check(spark: SparkSession, counts: Counts, purpose: Purpose, *, bad: Sequence[str] = ()) -> None:
    columns = ", ".join(f"{c.name} string" for c in CONTRACT.used)
    rows = spark.createDataFrame([("x", value, value, value, None) for value in bad], columns)
    validated = Validated(rows, rows, rows, counts)
    check_gates(validated, CONTRACT, settings=SETTINGS, purpose=purpose)


@pytest.mark.parametrize("purpose", ["train", "score"])
def test_check_gates_limits_the_share_of_bad_rows(spark: SparkSession, purpose: Purpose) -> None:
    check(spark, replace(GOOD, rejected=50), purpose)
    rules = {"age:not_a_number": 40, "malformed_row": 21}
    with pytest.raises(InputError, match=r"6\.1%.*age:not_a_number 40, malformed_row 21") as caught:
        check(spark, replace(GOOD, rejected=61, by_rule=rules), purpose)
    assert caught.value.exit_code == 20
    with pytest.raises(InputError, match=r"100\.0%"):
        check(spark, replace(GOOD, degraded=1000), purpose)


def test_check_gates_names_the_setting_that_reads_the_values(spark: SparkSession) -> None:
    counts = replace(GOOD, rejected=61, by_rule={"age:not_a_number": 2})
    with pytest.raises(InputError) as caught:
        check(spark, counts, "train", bad=["1.234,5", "2.000,7"])
    assert caught.value.fix.endswith("add to age: {decimal: ',', thousands: '.'}")
    assert "234" not in str(caught.value)


def test_check_gates_refuses_ids_that_lost_digits(spark: SparkSession) -> None:
    with pytest.raises(InputError, match="3 of 1000 ids went through a float"):
        check(spark, replace(GOOD, rejected=3, by_rule={"id:id_through_float": 3}), "score")


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        (Counts(0, 0, 0, 0, 0, 0, 0, {}, {}), "no rows"),
        (replace(GOOD, churners=0, stayers=1000), "one class only"),
        (replace(GOOD, churners=1000, stayers=0), "one class only"),
        (replace(GOOD, churners=9, stayers=991), "fewer than 10"),
    ],
)
def test_check_gates_needs_both_classes_to_train_but_not_to_score(
    spark: SparkSession, counts: Counts, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        check(spark, counts, "train")
    check(spark, counts, "score")
    check(spark, GOOD, "train")
