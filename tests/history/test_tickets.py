"""What became of tickets, and their last notes, as of each snapshot; and that nothing later ever counts."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from churn_spark.contract.columns import Contract
from churn_spark.contract.history import APART
from churn_spark.history.records import Past, records_history
from churn_spark.settings.sections import Config

CONFIG = Config.model_validate(
    {
        "raw": "customers.csv", "output": "out",
        "columns": {"id": {"role": "id"}, "day": {"role": "snapshot"}, "plan": {"role": "categorical"}},
        "features": {"history": "off"},
        "tickets": {
            "customer": "id", "date": "opened", "text": "body", "last": 2, "within": "30d", "delay": "1d",
            "windows": ["30d", "lifetime"], "known_at": "loaded", "filter": {"kind": "support"},
            "columns": {
                "resolved": "closed", "first_response": "answered", "reopened": "again", "satisfaction": "stars",
            },
        },
    }
)  # fmt: skip
DAY = dt.date(2026, 1, 1)


def day(number: int | None) -> str | None:
    return None if number is None else (DAY + dt.timedelta(number)).isoformat()


def ticket(opened: int, **more: Any) -> dict[str, Any]:
    days = {name: day(more.pop(name, None)) for name in ("closed", "answered", "again", "loaded")}
    return {"id": "a", "opened": day(opened), "kind": "support", **days, **more}


def as_of(number: int, tickets: list[dict[str, Any]]) -> dict[str, Any]:
    contract: Contract = CONFIG.contract
    rows = [{"id": "a", "day": DAY + dt.timedelta(number)}]
    told = records_history(rows, contract, Past(events={"tickets": tickets}), as_of=DAY)
    return {name: None if values[0] != values[0] else values[0] for name, values in told.items()}


TICKETS = [
    ticket(10, body="first", closed=14, answered=12, stars=2),
    ticket(20, body="second", closed=50, again=30, stars=5),
    ticket(25, body="unread", kind="sales"),
    ticket(28, body="third", loaded=45),
]


@pytest.mark.parametrize(
    ("number", "column", "expected"),
    [
        (10, "count_lifetime", 0.0),  # the delay is one day
        (11, "count_lifetime", 1.0),
        (29, "count_lifetime", 2.0),  # the third is not known before day 45, the sale is no ticket
        (46, "count_lifetime", 3.0),
        (14, "open", 1.0),
        (15, "open", 0.0),
        (29, "open", 1.0),
        (14, "days_to_resolve_30d", None),
        (15, "days_to_resolve_30d", 4.0),
        (51, "days_to_resolve_lifetime", 17.0),
        (51, "days_to_resolve_30d", 30.0),
        (12, "days_to_first_response_30d", None),
        (13, "days_to_first_response_30d", 2.0),
        (30, "times_reopened_30d", 0.0),
        (31, "times_reopened_30d", 1.0),
        (14, "satisfaction_lifetime", None),
        (29, "satisfaction_lifetime", 2.0),
        (51, "satisfaction_lifetime", 3.5),
        (11, "notes", "first"),
        (29, "notes", f"second{APART}first"),
        (45, "notes", "second"),  # the first is more than 30 days old, the third not known
        (46, "notes", f"third{APART}second"),
        (99, "notes", None),
    ],
)
def test_tickets_by_hand(number: int, column: str, expected: object) -> None:
    assert as_of(number, TICKETS)[f"tickets__{column}"] == expected


@pytest.mark.parametrize(("closed", "answered"), [(5, None), (None, 3)])
def test_what_lies_before_its_ticket_is_unknown(closed: int | None, answered: int | None) -> None:
    told = as_of(20, [ticket(10, body="odd", closed=closed, answered=answered)])
    assert told["tickets__open"] == 1.0
    assert (
        told["tickets__days_to_first_response_lifetime"] is told["tickets__days_to_resolve_lifetime"] is None
    )


maybe = st.one_of(st.none(), st.integers(0, 80))
many = st.lists(
    st.builds(
        ticket, st.integers(0, 60), closed=maybe, answered=maybe, again=maybe, loaded=maybe,
        body=st.sampled_from(["x", "y", None]), stars=st.sampled_from([1, 5, None]),
        kind=st.sampled_from(["support", "sales"]),
    ),
    max_size=8,
)  # fmt: skip
LATER = ("opened", "closed", "answered", "again", "loaded")


def censored(row: dict[str, Any], cut: int) -> dict[str, Any] | None:
    """A row as it stood in the table on a day: none that was not there, no date that lay ahead."""
    if row["opened"] > day(cut) or (row["loaded"] or "") > (day(cut) or ""):
        return None
    hidden = {n: None for n in LATER if (row[n] or "") > (day(cut) or "")}
    stars = {"stars": None} if "closed" in hidden or row["closed"] is None else {}
    return {**row, **hidden, **stars}


@given(many, st.integers(0, 70), st.randoms())
@settings(max_examples=150, deadline=None)
def test_no_later_day_of_a_ticket_counts_and_no_order(
    rows: list[dict[str, Any]], cut: int, chance: Any
) -> None:
    whole = as_of(cut, rows)
    assert whole == as_of(cut, [seen for row in rows if (seen := censored(row, cut)) is not None])
    assert whole == as_of(cut, chance.sample(rows, len(rows)))
    late = [ticket(cut + 1, body="later", closed=cut + 2), ticket(cut, loaded=cut + 5, body="late")]
    assert whole == as_of(cut, [*rows, *late])


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"status": "status"}, "status is that of the day of the export"),
        ({"satisfaction": "stars"}, "satisfaction needs `resolved`"),
    ],
)
def test_what_no_snapshot_could_know_is_refused(columns: dict[str, str], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Config.model_validate({**CONFIG.model_dump(by_alias=True), "tickets": {"columns": columns}})


def test_several_notes_are_read_in_the_mean_at_worst_and_by_their_trend() -> None:
    from churn_spark.model.features import TextVector, loudest, text_inputs

    text = TextVector("notes", 2, mean=(0.0, 1.0), components=((1.0, 0.0), (0.0, 2.0)), notes=3)
    nothing = [np.nan] * 2
    vectors = np.array([[3, 1, 1, 5, *nothing], [*nothing, *nothing, *nothing]], np.float32)
    inputs = text_inputs(text, vectors, 2)
    np.testing.assert_array_equal(inputs[0], [2, 4, 3, 8, 1, -4])
    assert np.isnan(inputs[1]).all()
    assert loudest(text, vectors, np.array([1.0, 1.0])).tolist() == [1, 0]
    assert text.owners == [None] * 6


def test_declared_columns_of_tickets_have_the_notation_of_the_input() -> None:
    config = Config.model_validate(
        {
            "raw": "c.csv", "output": "out", "input": {"date_format": "dd.MM.yyyy"},
            "columns": {"id": {"role": "id"}}, "tickets": {"customer": "id", "date": "opened"},
        }
    )  # fmt: skip
    told = records_history(
        [{"id": "a"}],
        config.contract,
        Past(events={"tickets": [{"id": "a", "opened": "31.12.2025"}]}),
        as_of=DAY,
    )
    assert told["tickets__days_since_last"].tolist() == [1.0]


def test_a_function_of_one_row_refuses_a_model_that_reads_history() -> None:
    functions = pytest.importorskip("churn_spark.functions")
    from churn_spark.errors import InputError
    from churn_spark.model.calibration import IDENTITY
    from churn_spark.model.features import FeatureSpec
    from churn_spark.model.model import ChurnModel

    model = ChurnModel("m", None, FeatureSpec(), IDENTITY, None, CONFIG.contract, CONFIG.text, {})  # type: ignore[arg-type]
    with pytest.raises(InputError, match="which a struct of one row does not hold"):
        functions.churn_probability(model)
