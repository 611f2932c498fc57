"""Settings of labels that are made, and of tables of events: what they mean, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from churn_spark.settings.sections import Config

COLUMNS = {
    "id": {"role": "id"},
    "month": {"role": "snapshot"},
    "left_on": {"role": "date"},
    "age": {"role": "numeric"},
}


def config(**more: Any) -> Config:
    return Config.model_validate({"raw": "c.csv", "output": "out", "columns": COLUMNS, **more})


def test_a_label_made_of_a_date_has_a_name_and_its_own_horizon_and_the_date_is_no_input() -> None:
    made = config(label={"from": "left_on", "lead_days": 10, "horizon_days": 60})
    assert made.contract.label is not None
    assert made.contract.label.name == "churn"
    assert made.split.horizon_days == 70
    assert made.contract.history.dates == ()
    assert not [c.name for c in made.contract.role("numeric", "categorical") if "left_on" in c.name]
    assert config().contract.history.dates == ("left_on",)
    assert config().split.horizon_days == 30


def test_a_declared_label_keeps_its_name() -> None:
    made = config(columns={**COLUMNS, "gone": {"role": "label"}}, label={"from": "left_on"})
    assert made.contract.label is not None
    assert made.contract.label.name == "gone"
    assert made.contract.without_label.label is None


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"label": {"from": "leaving"}}, "leaving is neither `events` nor a declared column with a date"),
        ({"label": {"from": "age"}}, "age is neither"),
        ({"label": {"from": "month"}}, "month is neither"),
        (
            {"label": {"from": "left_on"}, "columns": {**COLUMNS, "month": None}},
            "table of one moment needs a column",
        ),
        (
            {"label": {"from": "left_on"}, "columns": {**COLUMNS, "churn": {"role": "numeric"}}},
            "rename yours",
        ),
        ({"events": {"raw": "o.csv", "value": ["date"]}}, "two columns are called"),
        ({"tickets": {"columns": {"status": "open"}}}, "day of the export"),
    ],
)
def test_what_has_no_meaning_is_refused(changed: dict[str, Any], says: str) -> None:
    columns = {n: c for n, c in changed.pop("columns", COLUMNS).items() if c}
    with pytest.raises(ValueError, match=says):
        config(columns=columns, **changed)


def test_one_value_of_a_filter_needs_no_list() -> None:
    events = config(events={"calls": {"raw": "c.csv", "filter": {"kind": "phone"}}}).events["calls"]
    assert events.filter == {"kind": ("phone",)}


@pytest.mark.parametrize(("lags", "beyond"), [([1], ()), ([3, 1, 2, 2], (2, 3)), ([12], (12,))])
def test_the_last_snapshot_is_an_input_and_so_are_those_that_lags_name(
    lags: list[int], beyond: tuple[int, ...]
) -> None:
    names = [*config(features={"history": {"lags": lags}}).contract.history.sources]
    expected = ["age__last", *(f"age__lag_{lag}" for lag in beyond)]
    assert [name for name in names if name.startswith("age__la")] == expected


def test_a_lag_of_the_present_is_refused() -> None:
    with pytest.raises(ValueError, match="lags"):
        config(features={"history": {"lags": [0]}})
