"""Files as they come: what is read from them, and which are refused, each in its own words.

Many files are read by one call where they can be, since every call costs Spark jobs.
"""

from __future__ import annotations

import datetime as dt
import gzip
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import orc
from pyspark.sql import SparkSession

from churn_spark.contract.columns import Column, Contract
from churn_spark.contract.rules import check_record
from churn_spark.errors import InputError
from churn_spark.settings.sections import Input
from churn_spark.spark.input.files import explain_read_failure, reading
from churn_spark.spark.input.sources import RawTable, read_raw

CONTRACT = Contract(
    (
        Column(role="id", name="id"),
        Column(role="numeric", name="age", type="bigint"),
        Column(role="label", name="churn"),
        Column(role="text", name="note", **{"from": "Ticket Note"}),
    )
)
HEADER = "id,age,churn,Ticket Note"
GOOD = ("g1,30,0,fine", "g2,31,1,bad")


def lines(*rows: str) -> bytes:
    return "".join(f"{row}\n" for row in rows).encode()


def read(
    spark: SparkSession,
    location: Path | str,
    *,
    need_label: bool = True,
    limit: int = 1_000_000,
    **options: Any,
) -> RawTable:
    return read_raw(
        spark,
        str(location),
        contract=CONTRACT,
        settings=Input(**options),
        need_label=need_label,
        max_row_chars=limit,
    )


def by_id(raw: RawTable) -> dict[str | None, tuple[Any, ...]]:
    with reading():
        return {row[0]: tuple(row)[1:] for row in raw.df.collect()}


# -- CSV ------------------------------------------------------------------------------------------------


def test_read_raw_reads_every_form_of_csv_by_name(spark: SparkSession, tmp_path: Path) -> None:
    folder = tmp_path / "a b%20c#é[1]"
    folder.mkdir()
    (folder / "plain.csv").write_bytes(lines(HEADER, *GOOD, '00123, 30 ,1,"a, ""quoted"" b"'))
    windows = "\ufeffTICKET NOTE,Churn,id,AGE\r\nnote w,1,w1,40\r\n\r\nlast,0,w2,41"
    (folder / "windows.csv").write_bytes(windows.encode())
    (folder / "extra.csv.gz").write_bytes(gzip.compress(lines(HEADER + ",region", "x1,1,0,n,north")))
    (folder / "long.csv").write_bytes(
        lines(HEADER, 'l1,1,0,"two', 'lines, ""here"""', 'l2,2,1,"', '"', 'l3,3,0,5" x', 'l4,4,0,6" y')
    )
    (folder / "crlf.csv").write_bytes(b'id,age,churn,Ticket Note\r\nc1,1,0,"x\r\ny"\r\nc2,2,1,z\r\n')
    raw = read(spark, folder)
    assert by_id(raw) == {
        "g1": ("30", "0", "fine", None, None),
        "g2": ("31", "1", "bad", None, None),
        "00123": (" 30 ", "1", 'a, "quoted" b', None, None),
        "w1": ("40", "1", "note w", None, None),
        "w2": ("41", "0", "last", None, None),
        "x1": ("1", "0", "n", None, None),
        "l1": ("1", "0", 'two\nlines, "here"', None, None),
        "l2": ("2", "1", "\n", None, None),
        "l3": ("3", "0", '5" x', None, None),
        "l4": ("4", "0", '6" y', None, None),
        "c1": ("1", "0", "x\ny", None, None),
        "c2": ("2", "1", "z", None, None),
    }
    assert (raw.format, raw.files) == ("csv", 5)
    assert raw.warnings == ("1 columns not in the contract, not read: region",)


@pytest.mark.parametrize("multi_line", ["", '"a\nb"'])
def test_read_raw_keeps_the_line_of_a_bad_csv_row(
    spark: SparkSession, tmp_path: Path, multi_line: str
) -> None:
    rows = ["short,1", "comma,1,0,one, two", "long,1,0," + "x" * 2000]
    data = lines(HEADER, *GOOD, f"m,1,0,{multi_line}", *rows, "nul,1,0,a\0b", "fffd,1,0,\ufffd")
    if not multi_line:
        data += lines("many,1,0," + "," * 30_000)
    (tmp_path / "a.csv").write_bytes(data + b"latin,1,0,caf\xe9\n")
    rows_read = read(spark, tmp_path, limit=1000 if multi_line else 50_000).df.collect()
    errors = [(row._row_error, row._corrupt_record) for row in rows_read if row._corrupt_record]
    named = {row.id: (row.note, row._row_error) for row in rows_read if row.id}
    assert ("malformed_row", "short,1") in errors
    assert ("malformed_row", "comma,1,0,one, two") in errors
    assert named["nul"] == ("a\0b", None)
    assert named["latin"] == ("caf\ufffd", "bad_encoding")
    assert {row.id for row in rows_read if row._row_error is None} >= {"g1", "g2", "m"}
    if multi_line:
        assert "long" not in named
        assert [row._row_error for row in rows_read].count("row_too_long") == 1
    else:
        assert ("malformed_row", 10_000) in [(error, len(line)) for error, line in errors]
        assert named["fffd"] == ("\ufffd", None)  # the character itself is no fault


def test_read_raw_bounds_a_line_of_64_mb(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(
        lines(HEADER, *GOOD, "big,1,0," + "x" * 64_000_000, "five,1,0," + "y" * 5_000_000)
    )
    rows = {row.id: row for row in read(spark, tmp_path, limit=16_000_000).df.collect()}
    assert len(rows["five"].note) == 5_000_000
    assert rows[None]._row_error == "row_too_long"
    assert len(rows[None]._corrupt_record) == 10_000


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "0 bytes"),
        (b"\n \n", "blank lines only"),
        (lines(*GOOD), "does the file have a header"),
        (lines(HEADER, *GOOD).replace(b",", b";"), "separator looks like ';'"),
        (lines(HEADER, *GOOD).replace(b",", b"\t"), r"separator looks like '\\t'"),
        (lines(HEADER, *GOOD).decode().encode("utf-16"), "UTF-16"),
        (lines(HEADER, *GOOD).decode().encode("utf-16-be"), "UTF-16"),
        (lines(HEADER + ",AGE", "a,1,0,n,1"), "stand twice: age"),
        (lines("id,churn,x", "a,1,0"), "missing: age, Ticket Note; present: id, churn, x"),
        (lines(HEADER + ",_errors", "a,1,0,n,1"), "reserved column names: _errors"),
        (lines(HEADER + ",Score_Date", "a,1,0,n,1"), "reserved column names: score_date"),
        (lines(HEADER, *GOOD, 'a,1,0,"open', *GOOD), "unclosed quote"),
        (lines(HEADER, *GOOD, 'a,1,0,"open', *GOOD, 'b,1,0,"also', *GOOD), "unclosed quote"),
        (lines(HEADER, *GOOD, 'a,1,0,"he said "hi"', 'and left"', *GOOD), "unclosed quote"),
    ],
)
def test_read_raw_refuses_a_csv_file(spark: SparkSession, tmp_path: Path, data: bytes, words: str) -> None:
    (tmp_path / "a.csv").write_bytes(data)
    with pytest.raises(InputError, match=words) as caught:
        read(spark, tmp_path)
    assert "a.csv" in caught.value.where
    assert "fine" not in str(caught.value)  # no value of a row
    assert caught.value.exit_code == 20


def test_read_raw_takes_another_separator_a_header_alone_and_no_label(
    spark: SparkSession, tmp_path: Path
) -> None:
    (tmp_path / "a.tsv").write_bytes(b"id\tage\tTicket Note\n")
    raw = read(spark, tmp_path / "a.tsv", need_label=False, separator="\t")
    assert raw.df.columns == ["id", "age", "churn", "note", "_row_error", "_corrupt_record"]
    assert raw.df.isEmpty()
    with pytest.raises(InputError, match="missing: churn"):
        read(spark, tmp_path / "a.tsv", separator="\t")


def test_read_raw_names_a_compressed_file_that_is_cut_short(spark: SparkSession, tmp_path: Path) -> None:
    whole = gzip.compress(lines(HEADER, *(f"c{i},{i},0,{i * 7919}" for i in range(20_000))))
    (tmp_path / "cut.csv.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="cut short") as caught:
        read(spark, tmp_path)
    assert caught.value.where.endswith("cut.csv.gz")
    assert "\tat " not in str(caught.value)


BACKSLASH = [
    r'"b1","1","0","say \"hi\", ok"',
    r'"b2","2","1","only \"quotes\""',
    'b3,3,0,"two\\',
    r'lines \"x\""',
    r'"b4","4","1","dir C:\\tmp, end\\"',
]


@pytest.mark.parametrize("whole", [True, False])
def test_read_raw_tells_quotes_escaped_by_a_backslash(
    spark: SparkSession, tmp_path: Path, whole: bool
) -> None:
    rows = BACKSLASH if whole else [*BACKSLASH[:2], BACKSLASH[4]]
    (tmp_path / "a.csv").write_bytes(lines(HEADER, *GOOD, *rows))
    raw = read(spark, tmp_path)
    notes = {key: row[2] for key, row in by_id(raw).items()}
    expected = {"g1": "fine", "g2": "bad", "b1": 'say "hi", ok', "b2": 'only "quotes"', "b3": 'two\nlines "x"',
                "b4": "dir C:\\tmp, end\\"}  # fmt: skip
    assert notes == {key: note for key, note in expected.items() if whole or key != "b3"}
    assert any("escaped by a backslash in 1 files" in warning for warning in raw.warnings)
    (tmp_path / "a.csv").write_bytes(lines(HEADER, *GOOD, *rows, 'd,1,0,"a ""doubled"" one"'))
    with pytest.raises(InputError, match="two ways"):
        read(spark, tmp_path)


def test_read_raw_takes_a_path_in_doubled_quotes_as_it_is(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(lines(HEADER, r'"a","1","0","C:\dir\"', 'b,1,0,"a ""doubled"" one"'))
    raw = read(spark, tmp_path)
    assert {key: row[2] for key, row in by_id(raw).items()} == {"a": "C:\\dir\\", "b": 'a "doubled" one'}
    assert raw.warnings == ()


def test_read_raw_refuses_a_quote_that_another_row_closes(spark: SparkSession, tmp_path: Path) -> None:
    between = [f"c{i},3{i},0,note {i}" for i in range(5)]
    swallowed = ['o1,30,0,"never closed', *between, 'o2,31,1,ends here"']
    (tmp_path / "a.csv").write_bytes(lines(HEADER, *GOOD, *swallowed, *GOOD))
    with pytest.raises(InputError, match="line 5, which is a whole row") as caught:
        read(spark, tmp_path)
    assert caught.value.where.endswith("a.csv, line 5")
    honest = ['o1,30,0,"first', "a list, of, three", "and, some, more, words", 'end"']
    (tmp_path / "a.csv").write_bytes(lines(HEADER, *GOOD, *honest))
    assert by_id(read(spark, tmp_path))["o1"][2] == "first\na list, of, three\nand, some, more, words\nend"


@pytest.mark.parametrize("multi_line", ["", '"a\nb"'])
def test_read_raw_drops_and_counts_repeated_headers(
    spark: SparkSession, tmp_path: Path, multi_line: str
) -> None:
    quoted = ",".join(f'"{name}"' for name in HEADER.split(","))
    (tmp_path / "a.csv").write_bytes(lines(HEADER, *GOOD, f"m,1,0,{multi_line}", HEADER, "h,1,1,n", quoted))
    raw = read(spark, tmp_path)
    assert set(by_id(raw)) == {"g1", "g2", "m", "h"}
    assert raw.warnings == ("2 lines repeat the header: dropped",)


def test_read_raw_reads_tables_as_offices_write_them(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(lines("sep=;", HEADER.replace(",", ";"), "a;1;0;x", 'b;2;1;"y;z"'))
    assert {key: row[2] for key, row in by_id(read(spark, tmp_path)).items()} == {"a": "x", "b": "y;z"}
    titled = (
        lines("Customers, as of today", "", HEADER, "a,1,0,gek\xfcndigt", 'b,2,1,"two')
        .decode()
        .encode("cp1252")
    )
    (tmp_path / "a.csv").write_bytes(titled + b'lines \x80"\n')
    raw = read(spark, tmp_path, skip_lines=1, encoding="windows-1252")
    assert {key: row[2] for key, row in by_id(raw).items()} == {
        "a": "gek\xfcndigt",
        "b": "two\nlines \u20ac",
    }


# -- locations ------------------------------------------------------------------------------------------


def test_read_raw_says_what_is_wrong_with_a_location(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "mixed").mkdir()
    for name in ("a.csv", "b.parquet"):
        (tmp_path / "mixed" / name).write_bytes(b"x")
    for location, words in {
        "none.csv": "no such file",
        "none*.csv": "matches this pattern",
        "empty": "holds no files",
        "mixed": "csv, parquet",
    }.items():
        with pytest.raises(InputError, match=words):
            read(spark, tmp_path / location)
    for location, words in {"foo://x/a.csv": "no file system", "no.such_table": "no such table"}.items():
        with pytest.raises(InputError, match=words):
            read(spark, location)
    with pytest.raises(InputError, match="not a table name"):
        read(spark, "t1 where 1=0 union all select 99", format="table")


def test_read_raw_refuses_a_folder_that_is_not_complete(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "part.csv").write_bytes(lines(HEADER, *GOOD))
    for entry, words in {
        "_temporary": "no _SUCCESS",
        "_delta_log": "Delta table",
        ".hoodie": "Hudi table",
    }.items():
        (tmp_path / entry).mkdir()
        for location in (tmp_path, tmp_path / "*.csv"):
            with pytest.raises(InputError, match=words):
                read(spark, location)
        (tmp_path / entry).rmdir()
    (tmp_path / "_temporary").mkdir()
    (tmp_path / "_SUCCESS").touch()
    assert len(by_id(read(spark, tmp_path))) == 2


def test_explain_read_failure_leaves_other_failures_alone() -> None:
    assert explain_read_failure(ValueError("reading file x. ")) is None
    found = explain_read_failure(
        RuntimeError(
            "[FAILED_READ_FILE.NO_HINT] Encountered error while reading file file:///a/b%20c.csv.  SQLSTATE: KD001\n"
            "Caused by: java.io.IOException: Permission denied: secret value"
        )
    )
    assert found is not None
    assert (found.where, found.what) == ("/a/b c.csv", "cannot be read: this user may not read the file")


# -- typed sources --------------------------------------------------------------------------------------


def write_parquet(path: Path, columns: dict[str, Any]) -> None:
    pq.write_table(pa.table(columns), path, write_page_checksum=True)


def test_read_raw_brings_parquet_files_of_several_types_together(spark: SparkSession, tmp_path: Path) -> None:
    ints, floats = pa.array([9007199254740993, None]), pa.array([30.0, 1e7])
    write_parquet(
        tmp_path / "a.parquet", {"id": ints, "age": floats, "churn": [True, False], "ticket note": ["n", ""]}
    )
    wide = {f"c{i}": [i] for i in range(2000)} | {"nested": [{"x": [1]}]}
    small = {
        "TICKET NOTE": ["m"],
        "churn": pa.array([1], pa.int8()),
        "Age": pa.array([40], pa.int32()),
        "ID": ["00123"],
    }
    write_parquet(tmp_path / "b.parquet", wide | small)
    write_parquet(
        tmp_path / "c.parquet", {"id": [Decimal("12.00")], "churn": [0.0], "Ticket Note": [b"raw\xff"]}
    )
    raw = read(spark, tmp_path / "*.parquet")
    assert by_id(raw) == {
        "9007199254740993": ("30", "true", "n", None, None),
        None: ("10000000", "false", "", None, None),
        "00123": ("40", "1", "m", None, None),
        "12": (None, "0", "raw\ufffd", "bad_encoding", None),
    }
    assert "age is missing in 1 of 3 files" in raw.warnings[0]
    assert raw.warnings[1].startswith("2001 columns not in the contract")
    scan = raw.df._jdf.queryExecution().executedPlan().toString()  # type: ignore[operator]
    assert "c1999" not in scan


def test_read_raw_names_the_parquet_file_that_is_damaged(spark: SparkSession, tmp_path: Path) -> None:
    note = [f"note {i * 7919}" for i in range(500)]
    columns = {"id": note, "age": list(range(500)), "churn": [0] * 500, "Ticket Note": note}
    write_parquet(tmp_path / "good.parquet", columns)
    good = (tmp_path / "good.parquet").read_bytes()
    flipped = bytearray(good)
    flipped[len(good) // 3] ^= 4
    bad = {
        "none": b"",
        "cut": good[: len(good) // 2],
        "random": bytes(range(256)) * 9,
        "flip": bytes(flipped),
    }
    words = {"none": "0 bytes", "cut": "not a whole", "random": "not a whole", "flip": "checksum"}
    for name, data in bad.items():
        folder = tmp_path / name
        folder.mkdir()
        (folder / "good.parquet").write_bytes(good)
        (folder / f"{name}.parquet").write_bytes(data)
        with pytest.raises(InputError, match=words[name]) as caught:
            by_id(read(spark, folder))
        assert caught.value.where.endswith(f"{name}.parquet")
    assert len(by_id(read(spark, tmp_path / "good.parquet"))) == 500


def test_read_raw_refuses_columns_it_cannot_use(spark: SparkSession, tmp_path: Path) -> None:
    base = {"id": ["a"], "age": [1], "churn": [0], "Ticket Note": ["n"]}
    cases = {
        "nested": (base | {"age": [[1]]}, "no plain values: age"),
        "twice": (base | {"AGE": [1]}, "stands? twice"),
        "lacking": ({k: v for k, v in base.items() if k != "id"}, "missing in some files: id"),
    }
    for name, (columns, words) in cases.items():
        folder = tmp_path / name
        folder.mkdir()
        write_parquet(folder / "base.parquet", base)
        write_parquet(folder / "case.parquet", columns)
        with pytest.raises(InputError, match=words) as caught:
            read(spark, folder)
        assert caught.value.where.endswith("case.parquet")


def test_read_raw_reads_partition_folders_tables_and_orc_alike(spark: SparkSession, tmp_path: Path) -> None:
    columns = {"id": ["a"], "churn": [1], "Ticket Note": ["n"]}
    (tmp_path / "p" / "age=30").mkdir(parents=True)
    write_parquet(tmp_path / "p" / "age=30" / "x.parquet", columns)
    orc.write_table(pa.table(columns | {"age": [30]}), tmp_path / "x.orc")
    spark.read.orc(str(tmp_path / "x.orc")).write.format("parquet").saveAsTable("default.raw_customers")
    expected = {"a": ("30", "1", "n", None, None)}
    for location, kind in {
        tmp_path / "p": "parquet",
        tmp_path / "x.orc": "orc",
        "default.raw_customers": "table",
    }.items():
        raw = read(spark, location)
        assert (by_id(raw), raw.format) == (expected, kind)


def test_read_raw_keeps_the_text_of_folder_values_and_reads_nanoseconds(
    spark: SparkSession, tmp_path: Path
) -> None:
    day = Column(role="passthrough", name="day", type="date")
    contract = Contract((CONTRACT.id, Column(role="categorical", name="plan"), day))
    moment = pa.array([1769868300000000000], pa.timestamp("ns"))
    for value in ("007", "1e5"):
        (tmp_path / f"plan={value}").mkdir()
        write_parquet(tmp_path / f"plan={value}" / "x.parquet", {"id": [f"i{value}"], "day": moment})
    raw = read_raw(spark, str(tmp_path), contract=contract, settings=Input(), need_label=False)
    rows = {row.id: (row.plan, row.day) for row in raw.df.collect()}
    assert rows == {f"i{value}": (value, "2026-01-31 14:05:00") for value in ("007", "1e5")}


def test_read_raw_makes_the_ids_that_records_get(spark: SparkSession, tmp_path: Path) -> None:
    row = Column(role="id", name="row", generated=True)
    contract = Contract((row, CONTRACT.columns[1], CONTRACT.columns[2], CONTRACT.columns[3]))
    (tmp_path / "a.csv").write_bytes(lines(HEADER, *GOOD, "g3,30,1,fine"))
    rows = [row.row for row in read_raw(spark, str(tmp_path), contract=contract, settings=Input(), need_label=True).df
            .collect()]  # fmt: skip
    record = {"age": 30, "churn": 0, "Ticket Note": "fine"}
    made = check_record(record, contract.columns)[0]["row"]
    assert sorted(rows) == sorted({made, f"{made}-2", *rows})
    assert len(set(rows)) == 3


def test_read_raw_turns_dates_into_dates(spark: SparkSession, tmp_path: Path) -> None:
    day = Column(role="snapshot", name="day")
    moments = [dt.datetime(2024, 1, 2), dt.datetime(2024, 1, 2, 3, 4)]
    write_parquet(tmp_path / "a.parquet", {"id": ["a", "b"], "day": moments})
    raw = read_raw(
        spark,
        str(tmp_path),
        contract=Contract((CONTRACT.id, day)),
        settings=Input(),
        need_label=True,
    )
    assert {row.id: row.day for row in raw.df.collect()} == {"a": "2024-01-02", "b": "2024-01-02 03:04:00"}


def test_read_raw_reads_json_lines_exactly(spark: SparkSession, tmp_path: Path) -> None:
    record = {"ID": 9007199254740993, "age": 30.0, "churn": True, "Ticket Note": {"a": [1]}, "more": 1}
    rows = [json.dumps(record), '{"ID": "00123", "age": 12345678901234567890}', "no json", "[1]"]
    (tmp_path / "a.json").write_bytes(lines(*rows) + b'{"ID": "latin", "Ticket Note": "caf\xe9"}\n')
    raw = read(spark, tmp_path)
    rows_read = raw.df.collect()
    named = {row.id: tuple(row)[1:] for row in rows_read}
    assert named["9007199254740993"] == ("30.0", "true", '{"a":[1]}', None, None)
    assert named["00123"] == ("12345678901234567890", None, None, None, None)
    assert named["latin"][3] == "bad_encoding"
    bad = [row._corrupt_record for row in rows_read if row._row_error == "malformed_row"]
    assert sorted(bad) == ["[1]", "no json"]
    (tmp_path / "a.json").write_bytes(b'{"a": 1}\n')
    with pytest.raises(InputError, match="none of the expected columns"):
        read(spark, tmp_path)


def test_read_raw_reads_an_array_of_objects_and_what_stands_inside_them(
    spark: SparkSession, tmp_path: Path
) -> None:
    inner = Contract((CONTRACT.id, Column(role="numeric", name="cost", **{"from": "plan.cost"})))
    rows = [{"id": "a", "plan": {"cost": 12.5}}, {"id": "b", "plan": None}]
    (tmp_path / "array.json").write_text(json.dumps(rows, indent=1))
    (tmp_path / "lines.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name in ("array.json", "lines.json"):
        raw = read_raw(
            spark,
            str(tmp_path / name),
            contract=inner,
            settings=Input(),
            need_label=False,
            max_row_chars=10**6,
        )
        assert {row.id: row.cost for row in raw.df.collect()} == {"a": "12.5", "b": None}
