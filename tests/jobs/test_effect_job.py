"""`churn-spark effect`: the recommended of a date against its holdout, by a later raw table."""

import csv
from pathlib import Path

import pandas as pd
import pytest

from churn_spark.cli import main

DAY = "2026-01-31"


@pytest.fixture
def campaign(tmp_path: Path) -> Path:
    """Scores of 200 recommended and 60 held-out customers, and a table in which 20 % and 50 % of them have left.

    One more held-out customer was not worth a contact, and one of the recommended is not in the table any more.
    """
    rows = [(f"R{n}", True, False, 10.0 + n) for n in range(200)]
    rows += [(f"H{n}", False, True, 10.0 + n) for n in range(60)] + [("H60", False, True, 1.0)]
    columns = ["customer_id", "recommended", "in_holdout", "expected_value"]
    folder = tmp_path / f"out/churn_scores/score_date={DAY}"
    folder.mkdir(parents=True)
    pd.DataFrame(rows, columns=columns).to_parquet(folder / "part-0.parquet")
    with (tmp_path / "later.csv").open("w", newline="") as file:
        later = csv.writer(file)
        later.writerow(["customer_id", "churn"])
        for key, *_ in rows[1:]:
            number = int(key[1:])
            later.writerow([key, int(number % 5 == 0 if key[0] == "R" else number % 2 == 0)])
    return tmp_path


def place(folder: Path) -> list[str]:
    return ["--raw", str(folder / "later.csv"), "--output", str(folder / "out")]


def test_effect_says_whom_contact_kept(
    spark: object, campaign: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["effect", "--score-date", DAY, *place(campaign)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"recommended on {DAY}: 199 customers, 39 left (19.6%)",
        "held out, of the same expected value: 60 customers, 30 left (50.0%)",
        "contact keeps 30.4% of them (95 % interval 16.7% to 43.6%), an accept rate of 0.61 "
        "(decision.accept_rate: 0.3)",
        "1 of them are not in the raw table, or without a label: not counted",
    ]


@pytest.mark.parametrize(
    ("day", "holdout", "code", "words"),
    [
        ("2026-02-28", True, 20, "nobody was recommended on 2026-02-28"),
        (DAY, False, 2, "nobody like the recommended was held out"),
    ],
)
def test_effect_refuses_what_tells_nothing(
    spark: object,
    campaign: Path,
    capsys: pytest.CaptureFixture[str],
    day: str,
    holdout: bool,
    code: int,
    words: str,
) -> None:
    if not holdout:
        (part,) = campaign.glob("out/churn_scores/*/*.parquet")
        pd.read_parquet(part).query("not in_holdout").to_parquet(part)
    assert main(["effect", "--score-date", day, *place(campaign)]) == code
    assert words in capsys.readouterr().err


def test_effect_refuses_a_table_of_other_customers(
    spark: object, campaign: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (campaign / "later.csv").write_text("customer_id,churn\nX1,0\nX2,1\n")
    assert main(["effect", "--score-date", DAY, *place(campaign)]) == 20
    assert "knows what became of 0 recommended and 0 held-out customers" in capsys.readouterr().err
