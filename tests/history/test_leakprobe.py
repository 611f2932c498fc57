"""The metamorphic probes of `leakprobe` find no leak in history, and the ones that are planted beside it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest

from churn_spark.history.records import Past, records_history
from churn_spark.settings.sections import Config

leakprobe = pytest.importorskip("leakprobe")

CONFIG = Config.model_validate(
    {
        "raw": "panel.csv", "output": "out",
        "columns": {"id": {"role": "id"}, "month": {"role": "snapshot"}, "spend": {"role": "numeric"}},
        "events": {"orders": {"customer": "id", "value": ["amount"], "windows": ["30d", "lifetime"]}},
        "tickets": {
            "customer": "id", "date": "opened", "text": "body", "windows": ["60d"],
            "columns": {"resolved": "closed", "satisfaction": "stars"},
        },
    }
)  # fmt: skip
CLOCKS = {"panel": "month", "orders": "date", "tickets": "opened"}
AS_OF = pd.Timestamp("2025-07-31")
CUSTOMERS = [f"c{n}" for n in range(40)]


def sources() -> dict[str, pd.DataFrame]:
    rng = np.random.default_rng(5)

    def days(rows: int) -> pd.Series:
        return pd.Timestamp("2025-01-01") + pd.to_timedelta(rng.integers(0, 365, rows), unit="D").to_series(
            index=range(rows)
        )

    months = pd.date_range("2025-01-31", periods=12, freq="ME")
    keys = pd.MultiIndex.from_product([CUSTOMERS, months], names=["id", "month"]).to_frame(index=False)
    orders, tickets = rng.choice(CUSTOMERS, 400), rng.choice(CUSTOMERS, 300)
    opened = days(300)
    return {
        "panel": keys.assign(spend=rng.gamma(2, 10, len(keys)).round(1)),
        "orders": pd.DataFrame({"id": orders, "date": days(400), "amount": rng.gamma(2, 9, 400).round(2)}),
        "tickets": pd.DataFrame(
            {
                "id": tickets, "opened": opened, "closed": opened + pd.to_timedelta(rng.integers(1, 90, 300), unit="D"),
                "stars": rng.integers(1, 6, 300), "body": rng.choice(["slow", "fine", "thanks"], 300),
            }
        ),
    }  # fmt: skip


def inputs(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Every input of history as of one day; the snapshots that are asked about are always the same."""
    raw = {name: table.astype(object).to_dict("records") for name, table in tables.items()}
    asked: list[dict[str, Any]] = [{"id": c, "month": AS_OF.date(), "spend": 1.0} for c in CUSTOMERS]
    past = Past(raw["panel"], {name: raw[name] for name in ("orders", "tickets")})
    told = records_history(asked, CONFIG.contract, past, as_of=AS_OF.date())
    return pd.DataFrame(told, index=CUSTOMERS)


def declared() -> dict[str, list[str]]:
    own = {"orders": "orders", "tickets": "tickets"}
    sources_of = {**CONFIG.contract.history.sources, "tickets__notes": "tickets"}
    return {column: [own.get(source, "panel")] for column, source in sources_of.items()}


def test_no_probe_finds_a_leak_in_history() -> None:
    report = leakprobe.check(inputs, sources(), CLOCKS, declared(), cutoff=AS_OF)
    assert len(report.features) > 20
    assert report.leaks == report.future == []


@pytest.mark.parametrize("planted", ["all_of_time", "undeclared"])
def test_the_probes_find_what_is_planted(planted: str) -> None:
    def leaky(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
        orders = tables["orders"]
        odd = orders.groupby("id")["amount"].sum() if planted == "undeclared" else orders.groupby("id").size()
        return pd.DataFrame({"odd": odd.reindex(CUSTOMERS).fillna(0.0).astype(float)})

    of = {"odd": [] if planted == "undeclared" else ["orders"]}
    report = leakprobe.check(leaky, sources(), CLOCKS, of, cutoff=AS_OF)
    assert not report.clean


def test_what_was_asked_about_is_no_input_of_another_day() -> None:
    """The probes see one day; so a day before it, with all later rows there, is the same as with none."""
    tables, early = sources(), dt.datetime(2025, 4, 30)
    cut = {name: table[table[CLOCKS[name]] <= early] for name, table in tables.items()}
    asked = [{"id": c, "month": early.date(), "spend": 1.0} for c in CUSTOMERS]

    def told(given: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
        raw = {name: table.astype(object).to_dict("records") for name, table in given.items()}
        past = Past(raw.pop("panel"), raw)
        return pd.DataFrame(records_history(asked, CONFIG.contract, past, as_of=early.date()))

    pd.testing.assert_frame_equal(told(tables), told(cut), check_exact=True)
