"""The verdict: each answer follows from a measurement, and a bad model is never called a good one."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report_data import comparison, facts, measure, measured, simulate

from churn_spark.evaluation.findings import Finding
from churn_spark.evaluation.words import amount, number, percent, plain, signed
from churn_spark.report.facts import profit_share
from churn_spark.report.takeaways import TAKEAWAYS, takeaway
from churn_spark.report.verdict import (
    a_forecast,
    better_than_champion,
    better_than_no_model,
    better_than_no_text,
    calibrated,
    gain_over,
    headline,
    leaking,
)

SOUND = {"label_basis": "panel", "split_mode": "time", "findings": ()}


@pytest.fixture(scope="module")
def good() -> pd.DataFrame:
    return measure(*simulate(2000))[0]


def test_headline_recommends_a_sound_model(good: pd.DataFrame) -> None:
    assert headline(good, facts(**SOUND)).short == "Ready to use"


@pytest.mark.parametrize(
    ("change", "short"),
    [
        ({"label_basis": "cross_section"}, "Use with care"),
        ({"findings": None}, "Use with care"),
        ({"findings": (Finding("warn", "n", "m"),)}, "Use with care"),
        ({"findings": (Finding("fail", "n", "m"),)}, "Do not use"),
        ({"promoted": False, "reason": "no gain"}, "Do not switch"),
    ],
)
def test_headline_holds_back_where_something_is_wrong(
    good: pd.DataFrame, change: dict[str, object], short: str
) -> None:
    assert headline(good, facts(**{**SOUND, **change})).short == short


def test_headline_refuses_a_model_that_guesses() -> None:
    label, _ = simulate(1000)
    verdict = headline(measure(label, np.random.default_rng(5).random(1000))[0], facts(**SOUND))
    assert (verdict.state, verdict.short) == ("fail", "Do not use")


def test_headline_says_when_the_campaign_does_not_pay(good: pd.DataFrame) -> None:
    loss = good.assign(ci_low=good["ci_low"].where(good["metric"] != "profit", -1.0))
    assert headline(loss, facts(**SOUND)).short == "Check first"


@pytest.mark.parametrize(
    ("label", "probability"), [([], []), ([0, 0, 0], [0.1, 0.5, 0.9]), ([0, 1], [0.1, 0.9])]
)
def test_headline_does_not_judge_by_too_few_customers(label: list[int], probability: list[float]) -> None:
    assert headline(measure(label, probability)[0], facts(**SOUND)).short == "Not judged"


def test_better_than_no_model_needs_the_whole_interval_above_chance(good: pd.DataFrame) -> None:
    assert better_than_no_model(good, facts()).state == "ok"
    unsure = good.assign(ci_low=good["ci_low"].where(good["metric"] != "roc_auc", 0.49))
    assert better_than_no_model(unsure, facts()).short == "Not shown"


@pytest.mark.parametrize(
    ("table_only", "finding", "short"),
    [(0.6, "other", "Yes"), (0.99, "other", "No"), (0.6, "text_beats_table", "Suspiciously well")],
)
def test_better_than_no_text_reads_the_ablation(
    good: pd.DataFrame, table_only: float, finding: str, short: str
) -> None:
    known = facts(comparison=comparison(table_only=table_only), findings=(Finding("warn", finding, ""),))
    answer = better_than_no_text(good, known)
    assert answer is not None
    assert answer.short == short


def test_better_than_no_text_is_left_out_without_text(good: pd.DataFrame) -> None:
    assert better_than_no_text(good, facts()) is None
    unmeasured = better_than_no_text(good, facts(text_columns=("notes",)))
    assert unmeasured is not None
    assert unmeasured.state == "unknown"


def test_gain_over_prefers_the_paired_difference(good: pd.DataFrame) -> None:
    paired = comparison(champion=0.02).rename(columns={"variant": "baseline"})
    both = facts(comparison=comparison(champion=0.6), differences=paired)
    assert gain_over("champion", "roc_auc", good, both).value == 0.02
    unpaired = gain_over("champion", "roc_auc", good, facts(comparison=comparison(champion=0.6)))
    assert unpaired.low < unpaired.value - 0.01  # two intervals add up
    assert not gain_over("champion", "roc_auc", good, facts()).known


@pytest.mark.parametrize(
    ("known", "short"),
    [
        ({"promoted": True}, "First model"),
        ({"promoted": False}, "Not promoted"),
        ({"champion": "m-0", "promoted": True}, "Yes, promoted"),
        ({"champion": "m-0", "promoted": False}, "No, it stays"),
        ({"champion": "m-0"}, "Not shown"),
        ({"champion": "m-0", "comparison": comparison(champion=0.5)}, "Yes"),
    ],
)
def test_better_than_champion_follows_the_promotion(
    good: pd.DataFrame, known: dict[str, object], short: str
) -> None:
    answer = better_than_champion(good, facts(**known))
    assert answer is not None
    assert answer.short == short


def test_better_than_champion_is_left_out_where_nothing_is_known_of_one(good: pd.DataFrame) -> None:
    assert better_than_champion(good, facts()) is None


@pytest.mark.parametrize(
    ("severities", "short"), [((), "Nothing found"), (("ok",), "Nothing found"), (("ok", "warn"), "Perhaps"),
                              (("warn", "fail"), "Yes")],
)  # fmt: skip
def test_leaking_reports_the_worst_finding(severities: tuple[str, ...], short: str) -> None:
    found = tuple(Finding(severity, severity, f"about {severity}") for severity in severities)  # type: ignore[arg-type]
    answer = leaking(facts(findings=found))
    assert answer.short == short
    assert severities[-1:] != ("fail",) or "about fail" in answer.evidence


@pytest.mark.parametrize(("squeeze", "state"), [(1.0, "ok"), (0.6, "warn")])
def test_calibrated_tells_true_probabilities_from_squeezed_ones(squeeze: float, state: str) -> None:
    label, probability = simulate(4000)
    assert calibrated(measure(label, probability * squeeze)[0], facts()).state == state


def test_a_forecast_needs_dates() -> None:
    states = [a_forecast(facts(label_basis="panel", split_mode=mode)) for mode in ("time", "hash")]
    assert [answer and answer.state for answer in states] == ["ok", "warn"]
    assert a_forecast(facts()) is None


def test_takeaway_speaks_for_every_figure_with_numbers() -> None:
    tables = measured()
    lines = {name: takeaway(name, *tables, facts()) for name in TAKEAWAYS}
    unknown = {name for name, line in lines.items() if not line}
    assert unknown == {"feature_importance", "comparison", "dependence", "backtest"}
    nothing = measure([], [])
    assert not [line for name in TAKEAWAYS if (line := takeaway(name, *nothing, facts()))]


def test_takeaway_names_the_weakest_slice() -> None:
    label, probability = simulate(2000)
    weak = np.arange(2000) < 500
    scores = np.where(weak, np.random.default_rng(0).random(2000), probability)
    table, lines = measure(label, scores, slices=pd.DataFrame({"plan": np.where(weak, "new", "old")}))
    assert takeaway("slices", table, lines, facts()).startswith("Weakest for plan = new")


def test_profit_share_is_unknown_where_the_curve_is_elsewhere() -> None:
    table, lines = measure(*simulate(1000))
    assert 0 < profit_share(table, lines) < 1
    by_value = table.assign(value=table["value"].where(table["metric"] != "profit", 99.0))
    assert math.isnan(profit_share(by_value, lines))


@settings(max_examples=50, deadline=None)
@given(st.floats())
def test_numbers_are_written_without_nan_or_hyphen(value: float) -> None:
    written = [number(value), signed(value), amount(value) if abs(value) < 1e15 or value != value else ""]
    for text in [*written, percent(value) if 0 <= value <= 1 else ""]:
        assert "nan" not in text
        assert "inf" not in text
        assert "-" not in text


@pytest.mark.parametrize(
    ("value", "text"), [(5312.4, "5,310"), (-87.6, "−88"), (0.4, "0"), (-0.4, "0"), (1234567, "1,230,000")]
)
def test_amount_keeps_three_digits(value: float, text: str) -> None:
    assert amount(value) == text


@settings(max_examples=50, deadline=None)
@given(st.text(), st.integers(4, 40))
def test_plain_gives_one_printable_line_within_the_limit(text: str, limit: int) -> None:
    line = plain(text, limit=limit)
    assert len(line) <= limit
    assert line.isprintable()
    assert line == line.strip()
