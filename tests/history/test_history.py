"""History of snapshots and events, by hand and against a plain loop; and that nothing later ever counts."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from churn_spark.contract.history import EventPlan, HistoryPlan
from churn_spark.history.table import CUSTOMER, DAY, KIND, SNAPSHOT, history

PLAN = HistoryPlan(
    numeric=("spend",), categorical=("plan",), windows=(2, 6), lags=(2,),
    events=(EventPlan("orders", ("amount",), windows=(7, 0), delay=1),),
)  # fmt: skip
Row = tuple[str, int, str, float | None, str | None, float | None]


def table(rows: list[Row]) -> pa.Table:
    """customer, day, kind, spend, plan and orders__amount, in order of customer and day."""
    names = [CUSTOMER, DAY, KIND, "spend", "plan", "orders__amount"]
    types = [pa.string(), pa.int32(), pa.string(), pa.float64(), pa.string(), pa.float64()]
    ordered = sorted(rows, key=lambda r: (r[0], r[1], r[2], r[5] or 0.0))
    columns = zip(*ordered, strict=True) if ordered else [[]] * 6
    return pa.table({n: pa.array(list(c), t) for n, c, t in zip(names, columns, types, strict=True)})


def snapshot(customer: str, day: int, spend: float | None, plan: str | None) -> Row:
    return customer, day, SNAPSHOT, spend, plan, None


def order(customer: str, day: int, amount: float | None) -> Row:
    return customer, day, "orders", None, None, amount


def only(rows: list[Row], name: str) -> list[float | None]:
    return [None if np.isnan(v) else float(v) for v in history(table(rows), PLAN)[name]]


SPENDS = [
    snapshot("a", 10, 3.0, "x"), snapshot("a", 40, 3.0, "x"), snapshot("a", 70, 0.0, "y"), snapshot("b", 10, 5.0, None),
]  # fmt: skip


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ("spend__last", [None, 3.0, 3.0, None]),
        ("spend__change", [None, 0.0, -3.0, None]),
        ("spend__lag_2", [None, None, 3.0, None]),
        ("spend__mean_2", [None, 3.0, 3.0, None]),
        ("spend__trend_2", [None, 0.0, -3.0, None]),
        ("spend__since_change", [0.0, 1.0, 0.0, 0.0]),
        ("spend__since_nonzero", [0.0, 0.0, 1.0, 0.0]),
        ("plan__since_change", [0.0, 1.0, 0.0, 0.0]),
        ("snapshots_seen", [0.0, 1.0, 2.0, 0.0]),
    ],
)
def test_a_panel_s_history_by_hand(column: str, expected: list[float | None]) -> None:
    assert only(SPENDS, column) == expected


ORDERS = [
    snapshot("a", 100, 1.0, "x"), snapshot("c", 100, 1.0, "x"),
    order("a", 90, 5.0), order("a", 96, 2.0), order("a", 96, 1.0), order("a", 100, 50.0), order("b", 99, 9.0),
]  # fmt: skip


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ("orders__count_7d", [2.0, 0.0]),  # day 100 is not known yet: the delay is one day
        ("orders__sum_amount_7d", [3.0, 0.0]),
        ("orders__count_lifetime", [3.0, 0.0]),
        ("orders__sum_amount_lifetime", [8.0, 0.0]),
        ("orders__days_since_last", [4.0, None]),
        ("orders__days_since_first", [10.0, None]),
        ("orders__mean_gap", [6.0, None]),
        ("orders__gap_spread", [None, None]),
        ("orders__overdue", [4 / 6, None]),
    ],
)
def test_an_event_s_history_by_hand(column: str, expected: list[float | None]) -> None:
    assert only(ORDERS, column) == expected


customers = st.sampled_from("abc")
days = st.integers(0, 60)
values = st.one_of(st.none(), st.sampled_from([0.0, 0.1, 2.5, 7.0]))
snapshots = st.lists(
    st.tuples(customers, days, values, st.sampled_from(["x", "y", None])), min_size=1, max_size=12
)
purchases = st.lists(st.tuples(customers, days, values), max_size=15)


def rows_of(panel: list, bought: list) -> list[Row]:
    unique = {(c, d): snapshot(c, d, v, p) for c, d, v, p in panel}
    return [*unique.values(), *(order(*b) for b in bought)]


def by_key(rows: list[Row]) -> dict[tuple[str, int], tuple[float, ...]]:
    ordered = table(rows)
    places = zip(*(ordered.column(n).to_pylist() for n in (CUSTOMER, DAY, KIND)), strict=True)
    keys = [(c, d) for c, d, kind in places if kind == SNAPSHOT]
    columns = np.column_stack(list(history(ordered, PLAN).values()))
    return dict(zip(keys, map(tuple, np.nan_to_num(columns, nan=-999.5).tolist()), strict=True))


@given(snapshots, purchases, st.integers(0, 60))
@settings(max_examples=60, deadline=None)
def test_nothing_later_than_a_snapshot_changes_its_history(panel: list, bought: list, cut: int) -> None:
    whole = by_key(rows_of(panel, bought))
    before = by_key(
        rows_of([p for p in panel if p[1] <= cut] or panel[:1], [b for b in bought if b[1] <= cut])
    )
    moved = by_key(rows_of([(c, d, 99.0 if d > cut else v, p) for c, d, v, p in panel], bought))
    for key in (k for k in whole if k[1] <= cut):
        assert whole[key] == moved[key]
        assert key not in before or whole[key] == before[key]


@given(snapshots, purchases)
@settings(max_examples=60, deadline=None)
def test_a_customer_s_history_is_the_same_to_the_bit_whoever_else_is_there(panel: list, bought: list) -> None:
    rows = rows_of(panel, bought)
    whole = by_key(rows)
    for customer in {r[0] for r in rows if r[2] == SNAPSHOT}:
        alone = by_key([r for r in rows if r[0] == customer])
        assert alone == {k: v for k, v in whole.items() if k[0] == customer}


@given(snapshots, purchases)
@settings(max_examples=60, deadline=None)
def test_windows_count_what_a_plain_loop_counts(panel: list, bought: list) -> None:
    rows = rows_of(panel, bought)
    place = list(PLAN.sources).index("orders__count_7d")
    for (customer, day), found in by_key(rows).items():
        assert found[place] == sum(c == customer and day - 8 < d <= day - 1 for c, d, _ in bought)


def test_history_of_no_rows_is_empty() -> None:
    assert {len(v) for v in history(table([]), PLAN).values()} == {0}
