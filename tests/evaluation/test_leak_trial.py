"""The audit's trial: columns that give the answer away as real tables have them, and honest ones, one at a time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from churn_spark.contract.columns import Column
from churn_spark.evaluation.audit import (
    column_findings,
    missing_findings,
    name_findings,
    single_column_aucs,
)
from churn_spark.evaluation.findings import Finding
from churn_spark.settings.sections import Leakage

N = 3000
Make = Callable[[pd.DataFrame, np.random.Generator], object]


def customers(rng: np.random.Generator) -> pd.DataFrame:
    """A table without leaks, whose best column ranks with some 0.7."""
    frame = pd.DataFrame({"tenure": rng.exponential(24, N).round(), "spend": rng.gamma(4, 15, N).round(2),
                          "complaints": rng.poisson(0.6, N), "plan": rng.choice(["a", "b", "c"], N)})  # fmt: skip
    odds = -1.6 - frame["tenure"] / 30 + 0.5 * frame["complaints"] + (frame["plan"] == "a")
    return frame.assign(churn=(odds + rng.logistic(size=N) > 0).astype(float))


def where(share: float, value: Callable[[int], object], other: object) -> Make:
    """`value` for this share of those who left, `other` for the rest."""

    def make(frame: pd.DataFrame, rng: np.random.Generator) -> object:
        chosen = (frame["churn"] == 1) & (rng.random(N) < share)
        return np.where(chosen, np.array(value(N), object), other)

    return make


def left_by(center: float, spread: float) -> Make:
    """A number that is higher for those who left."""
    return lambda frame, rng: rng.normal(frame["churn"] * center, spread)


LEAKS: dict[str, Make] = {
    "segment_code": lambda f, r: np.where(r.random(N) < 0.02, 1 - f["churn"], f["churn"]),
    "score_of_last_campaign": left_by(3.0, 0.8),
    "usage_this_month": lambda f, r: np.where(f["churn"] == 1, 0.0, r.gamma(3, 20, N)),
    "balance": lambda f, r: np.where((f["churn"] == 1) & (r.random(N) < 0.9), 0.0, r.normal(50, 20, N)),
    "final_bill": lambda f, r: np.where(f["churn"] == 1, r.gamma(2, 30, N), np.nan),
    "refund": lambda f, r: np.where((f["churn"] == 1) & (r.random(N) < 0.7), r.gamma(2, 30, N), np.nan),
    "cancellation_reason": where(0.4, lambda n: ["price"] * n, "none"),
    "account_status": where(0.8, lambda n: ["closed"] * n, "open"),
    "exit_interview": lambda f, r: r.integers(0, 2, N).astype(float),
    "days_since_login": lambda f, r: r.exponential(np.where(f["churn"] == 1, 90, 9), N).round(),
    "router_returned": where(0.85, lambda n: ["yes"] * n, "no"),
    "retention_calls_made": left_by(1.8, 1.0),
    "row_in_export": lambda f, r: f["churn"] * N + r.permutation(N),
    "termination_fee": lambda f, r: np.where(f["churn"] == 1, r.gamma(2, 20, N), 0.0),
}
HONEST: dict[str, Make] = {
    "age": lambda f, r: r.normal(45, 14, N).round(),
    "months_left_in_contract": lambda f, r: np.clip(r.normal(9 - 3 * f["churn"], 6), 0, 24).round(),
    "late_payments": lambda f, r: r.poisson(0.3 + 0.5 * f["churn"]),
    "tickets_opened": lambda f, r: r.poisson(0.5 + 0.7 * f["churn"]),
    "cancelled_orders_before": lambda f, r: r.poisson(0.4, N),
    "region": lambda f, r: r.choice([f"r{i}" for i in range(40)], N),
    "city": lambda f, r: [f"c{i}" for i in r.integers(0, 1500, N)],
    "survey_score": lambda f, r: np.where(r.random(N) < 0.4, np.nan, r.normal(7 - f["churn"], 2)),
    "discount": lambda f, r: np.where(r.random(N) < 0.8, np.nan, r.uniform(0, 30, N)),
    "calls_to_support": lambda f, r: r.poisson(1 + 0.8 * f["churn"]),
    "customer_number": lambda f, r: r.permutation(N).astype(float),
    "usage_last_month": lambda f, r: r.gamma(3, np.where(f["churn"] == 1, 13, 20), N),
    "paperless": lambda f, r: np.where(r.random(N) < 0.5 + 0.1 * f["churn"], "yes", "no"),
    "price_change": lambda f, r: r.normal(0.4 * f["churn"], 1, N),
}


def findings(name: str, make: Make, *, seed: int) -> list[Finding]:
    """What the audit says of the table with this column."""
    rng = np.random.default_rng(seed)
    frame = customers(rng)
    frame[name] = make(frame, rng)
    label, columns = frame["churn"], [c for c in frame if c != "churn"]
    aucs = single_column_aucs(frame, label, columns=columns)
    found = column_findings(aucs, Leakage()) + missing_findings(frame, label, columns=columns)
    roles = {c: "numeric" if pd.api.types.is_numeric_dtype(frame[c]) else "categorical" for c in columns}
    return found + name_findings([Column(name=c, role=r) for c, r in roles.items()])  # type: ignore[arg-type]


def test_planted_leaks_are_named() -> None:
    missed = [n for n, make in LEAKS.items() if n not in {f.column for f in findings(n, make, seed=1)}]
    assert len(LEAKS) == 14
    assert not missed


def test_honest_columns_raise_no_alarm_and_few_questions() -> None:
    said = [f for name, make in HONEST.items() for f in findings(name, make, seed=2)]
    assert len(HONEST) == 14
    assert [f.column for f in said if f.severity != "ask"] == []
    assert len(said) <= 2, said
