"""What is damaged is told before it can be taken for a number, with the command that mends it."""

from pathlib import Path

import pandas as pd
import polars as pl
import pytest
from conftest import EVERYONE

from churn_spark.cli import main


def flip(path: Path, at: float = 0.5) -> None:
    content = bytearray(path.read_bytes())
    content[int(len(content) * at)] ^= 1
    path.write_bytes(content)


def test_published_folders_hold_parquet_files_only_and_polars_reads_them(output: Path) -> None:
    for name in ("churn_scores", "churn_reasons"):
        files = [p for p in (output / name).rglob("*") if p.is_file()]
        assert {p.suffix for p in files} == {".parquet"}
        assert len(pl.scan_parquet(output / name).collect()) == len(pd.read_parquet(output / name))


def test_verify_finds_nothing_on_what_runs_have_left(
    output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", "--output", str(output)]) == 0
    assert "as they were written" in capsys.readouterr().out


def test_verify_names_each_damage_and_what_mends_it(
    own_output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flip(next((own_output / "churn_scores/score_date=2026-01-30").glob("2*.parquet")))
    flip(next((own_output / "models").glob("m-*/manifest.json")))
    flip(next((own_output / "churn_notes").rglob("*.parquet")))
    assert main(["verify", "--output", str(own_output)]) == 23
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert all(" -> " in line for line in lines)


def test_a_damaged_champion_is_told_and_mended(own_output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pointer = own_output / "models/champion.json"
    before = pointer.read_text()
    pointer.write_text(before.replace("m-", "n-"))
    assert main(["history", "--output", str(own_output)]) == 23
    assert "next: churn-spark recover" in capsys.readouterr().err
    assert main(["recover", "--output", str(own_output)]) == 0
    assert pointer.read_text() == before


def test_readers_refuse_a_damaged_date(own_output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flip(next((own_output / "churn_scores/score_date=2026-01-31").glob("2*.parquet")))
    for command in (["export"], ["explain", "--customer", "C1"]):
        assert main([*command, "--output", str(own_output)]) == 23
        assert "next: churn-spark rollback --score-date 2026-01-31" in capsys.readouterr().err


def test_yesterdays_damaged_file_does_not_stop_todays_scoring(
    spark: object, own_output: Path, raw: Path
) -> None:
    (next((own_output / "churn_scores/score_date=2026-01-31").glob("2*.parquet"))).write_bytes(b"PAR1")
    place = ["-q", "--raw", str(raw), "--output", str(own_output), "--score-date", "2026-02-01"]
    assert main(["score", *place, *EVERYONE]) == 0
    scores = pd.read_parquet(own_output / "churn_scores/score_date=2026-02-01")
    assert len(scores) > 100
    assert scores["previous_probability"].notna().all()
    assert scores["score_reused"].all()  # from the day before it
    assert main(["score", *place, *EVERYONE, "--set", "columns.age.type=double"]) == 2
