"""Customers with a life: what their tables show, and that the truth is the truth."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from churn_spark.cli import main
from churn_spark.errors import ConfigError
from churn_spark.sample.lives import PRICE_RISES, Lives, lives, write_tables

KEY = ["customer_id", "snapshot_date"]


@pytest.fixture(scope="module")
def made() -> Lives:
    return lives(1_000, seed=1, months=24)


@pytest.fixture(scope="module")
def panel(made: Lives) -> pd.DataFrame:
    table = made.customers.merge(made.truth, on=KEY).sort_values(KEY)
    rates = table["usage"] / table.groupby("customer_id")["usage"].transform("mean")
    return table.assign(relative=rates)


def test_a_shorter_panel_and_fewer_customers_are_the_beginning_of_more(made: Lives) -> None:
    fewer = lives(400, seed=1, months=6)
    last = fewer.customers["snapshot_date"].max()
    days = {"customers": "snapshot_date", "tickets": "opened", "events": "date", "truth": "snapshot_date"}
    for name, day in days.items():
        longer, shorter = getattr(made, name), getattr(fewer, name)
        same = longer[(longer["customer_id"] <= "C0000400") & (longer[day] <= last)]
        pd.testing.assert_frame_equal(same.reset_index(drop=True), shorter.reset_index(drop=True))


def test_truth_is_calibrated_and_no_single_snapshot_shows_it(panel: pd.DataFrame) -> None:
    for _, rows in panel.groupby(pd.qcut(panel["true_probability"], 5), observed=True):
        p = rows["true_probability"]
        assert abs(rows["churn"].mean() - p.mean()) < 4 * np.sqrt((p * (1 - p)).sum()) / len(p)
    assert 0.76 < roc_auc_score(panel["churn"], panel["true_probability"]) < 0.85
    assert roc_auc_score(panel["churn"], -panel["usage"]) < 0.70


def test_usage_falls_and_tickets_pile_up_before_a_customer_leaves(made: Lives, panel: pd.DataFrame) -> None:
    leaves = panel["churn"] == 1
    assert panel["relative"][leaves].mean() < 0.8 * panel["relative"][~leaves].mean()
    opened = made.tickets.assign(
        snapshot_date=(pd.to_datetime(made.tickets["opened"]) + pd.offsets.MonthEnd(0))
    )
    opened["snapshot_date"] = opened["snapshot_date"].dt.strftime("%Y-%m-%d")
    seen = panel.merge(opened.groupby(KEY).size().rename("tickets").reset_index(), how="left", on=KEY)
    tickets = seen["tickets"].fillna(0).groupby(seen["churn"]).mean()
    assert tickets[1] > 1.8 * tickets[0]


def test_seasons_price_rises_and_returns(made: Lives, panel: pd.DataFrame) -> None:
    by_month = panel.groupby("snapshot_date")["relative"].mean()
    assert by_month["2024-12-31"] > 1.3 * by_month["2024-07-31"]
    days = sorted(panel["snapshot_date"].unique())
    monthly = panel[panel["plan_type"] == "monthly"].groupby("snapshot_date")["churn"].mean()
    rises = [days[rise] for rise in PRICE_RISES]
    assert monthly[rises].mean() > 1.3 * monthly.drop(rises).mean()
    price = panel.groupby("customer_id")["spend_rate"].agg(["min", "max"])
    assert (price["max"] / price["min"]).max() == pytest.approx(1.12**2, abs=0.01)
    month = pd.to_datetime(panel["snapshot_date"]).dt.to_period("M").map(lambda p: p.ordinal)
    gaps = month.groupby(panel["customer_id"]).diff()
    assert (gaps > 1).sum() > 20  # came back
    assert set(panel["tenure"][gaps > 1]) == {1}


def test_who_has_left_uses_nothing_until_coming_back(made: Lives) -> None:
    months = made.events["date"].str[:7].groupby(made.events["customer_id"]).agg(set)
    seen = made.customers["snapshot_date"].str[:7].groupby(made.customers["customer_id"]).agg(set)
    left = made.customers[made.customers["churn"] == 1].set_index("customer_id")["snapshot_date"]
    for customer, day in left.items():
        leaving = str(pd.Period(day[:7]) + 1)
        stray = months.get(customer, set()) - seen[customer] - {leaving}
        others = {str(pd.Period(d[:7]) + 1) for d in left.loc[[customer]]}
        assert stray <= others


def test_tables_are_written_by_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = ["--rows", "1100", "--panel", "3", "--seed", "2", "--output", str(tmp_path / "company")]
    assert main(["sample", "--lives", *place]) == 0
    assert capsys.readouterr().out.count("wrote") == 4
    by_command = {p.name: p.read_bytes() for p in (tmp_path / "company").iterdir()}
    written = write_tables(tmp_path / "again", 1100, seed=2, months=3)
    assert by_command == {p.name: p.read_bytes() for p in written}
    customers = pd.read_csv(tmp_path / "again/customers.csv")
    assert list(customers) == list(lives(1, seed=2, months=1).customers)
    assert customers["customer_id"].max() == "C0001100"
    with pytest.raises(ConfigError, match="0 is below the minimum 1"):
        write_tables(tmp_path / "none", 0, seed=2, months=3)
