from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import beta

from churn_spark.errors import ConfigError, InputError, ResourceError
from churn_spark.model.policy import (
    BANDS,
    Campaign,
    Policy,
    band_cutoffs,
    capacity_cutoff,
    expected_maximum_profit,
    expected_value,
    fit_policy,
    in_holdout,
    maximum_profit,
    risk_band,
)


def profit(churners, stayers, policy):
    return Campaign.typical(np.asarray(churners, float), np.asarray(stayers, float), policy).profit


POLICY = Policy(contact_cost=1.0, offer_cost=10.0, accept_rate=0.3, customer_value=200.0)
probabilities = st.lists(st.floats(0.001, 0.999), min_size=1, max_size=40)
policies = st.builds(
    Policy,
    contact_cost=st.floats(0, 5),
    offer_cost=st.floats(0, 20),
    accept_rate=st.floats(0.05, 0.95),
    customer_value=st.floats(0, 500),
)


def test_campaign_profit_counts_churners_and_stayers():
    # A contacted churner: 0.3 x (200 - 10) - 1 = 56. A contacted stayer: -(10 + 1) = -11.
    # 2 churners and 3 stayers: 2 x 56 - 3 x 11 = 79.
    assert profit(2, 3, POLICY) == pytest.approx(79.0)


def test_campaign_profit_is_verbrakens_formula():
    # With delta = d/CLV and phi = f/CLV: CLV (g (1 - delta) - phi) a churner, -CLV (delta + phi) a stayer.
    clv, delta, phi, g = 200.0, 10 / 200, 1 / 200, 0.3
    expected = 7 * clv * (g * (1 - delta) - phi) - 20 * clv * (delta + phi)
    assert profit(7, 20, POLICY) == pytest.approx(expected)


def test_stayers_who_leave_the_offer_cost_only_the_contact():
    # A fifth of stayers take it: 0.2 x 10 + 1 = 3 each; break-even at 3 / (57 + 2).
    seldom = replace(POLICY, stayer_accept_rate=0.2)
    assert profit(2, 3, seldom) == pytest.approx(2 * 56 - 3 * 3)
    assert seldom.break_even == pytest.approx(3 / 59)
    assert expected_value([3 / 59], seldom.typical) == pytest.approx([0.0], abs=1e-9)
    with pytest.raises(ConfigError, match="stayer_accept_rate"):
        replace(POLICY, stayer_accept_rate=1.2)


def test_a_policy_from_before_the_stayers_rate_means_that_all_take_the_offer():
    values = POLICY.to_dict()
    for later in ("stayer_accept_rate", "offers", "value_column"):
        del values[later]
    assert Policy.from_dict(values) == POLICY


def test_expected_value_weighs_both_outcomes():
    # p = 0.5: 0.5 x 56 - 0.5 x 11 = 22.5. p = 0: -11.
    assert expected_value([0.5, 0.0], POLICY.typical) == pytest.approx([22.5, -11.0])


def test_expected_value_of_a_missing_probability_is_missing():
    assert np.isnan(expected_value([math.nan], POLICY.typical)).all()


def test_policy_break_even_at_the_defaults():
    # (1 + 10) / (0.3 x (200 - 10) + 10) = 11 / 67
    assert Policy().break_even == pytest.approx(11 / 67)


def test_policy_break_even_is_1_where_no_customer_is_worth_it():
    assert Policy(customer_value=5.0).break_even == 1.0


@settings(max_examples=50, deadline=None)
@given(policies, st.floats(0.001, 0.999))
def test_policy_break_even_is_where_the_expected_value_changes_sign(policy, probability):
    money = expected_value([probability], policy.typical)[0]
    if money > 1e-9:
        assert probability > policy.break_even
    if money < -1e-9:
        assert probability < policy.break_even


def test_fit_policy_threshold_earns_the_most_on_calibrated_probabilities():
    rng = np.random.default_rng(0)
    probability = rng.beta(1, 6, 100_000)
    threshold = fit_policy(probability, POLICY).threshold
    assert threshold == POLICY.break_even

    def earned(cutoff):
        return expected_value(probability[probability >= cutoff], POLICY.typical).sum()

    others = np.linspace(0.01, 0.6, 60)
    assert all(earned(threshold) >= earned(other) for other in others)


def test_fit_policy_raises_the_threshold_to_the_capacity():
    probability = np.arange(1, 100) / 100
    policy = fit_policy(probability, Policy(capacity=20), population=198)  # 20 of 198: at most 10 of these 99
    assert policy.capacity_share == pytest.approx(20 / 198)
    assert policy.threshold == 0.90
    assert (probability >= policy.threshold).sum() == 10


def test_fit_policy_ignores_a_capacity_that_is_never_reached():
    probability = np.arange(1, 100) / 100
    assert fit_policy(probability, Policy(capacity=95)).threshold == POLICY.break_even


def test_fit_policy_recommends_nobody_where_nobody_is_worth_it():
    assert fit_policy([0.2, 0.9], Policy(customer_value=5.0)).threshold == 1.0


def test_fit_policy_needs_probabilities():
    with pytest.raises(InputError, match="no probabilities"):
        fit_policy([math.nan], POLICY)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from([0.1, 0.2, 0.3, 0.5, 0.9]), min_size=1, max_size=60), st.floats(0.01, 1))
def test_capacity_cutoff_is_the_lowest_that_fits(score, share):
    score = np.array(score)
    cutoff = capacity_cutoff(score, share=share)
    room = share * len(score) + 1e-9
    assert (score >= cutoff).sum() <= room
    lower = score[score < cutoff]
    if len(lower):
        assert (score >= lower.max()).sum() > room


def test_maximum_profit_by_hand():
    # Scores best first, one customer each: churn, churn, stay, churn, stay.
    # Cumulative profit: 56, 112, 101, 157, 146: best after 4 of 5, 157 / 5 = 31.4 a customer.
    churned, stayed = np.cumsum([1.0, 1, 0, 1, 0]), np.cumsum([0.0, 0, 1, 0, 1])
    money, share = maximum_profit(Campaign.typical(churned, stayed, POLICY))
    assert (money, share) == (pytest.approx(31.4), pytest.approx(0.8))


def test_maximum_profit_contacts_nobody_at_a_loss():
    money, share = maximum_profit(Campaign.typical(np.array([0.0, 0.0]), np.array([1.0, 2.0]), POLICY))
    assert (money, share) == (0.0, 0.0)


def test_maximum_profit_uses_the_customers_own_values():
    # Two churners worth 40 and 400: 0.3 x (40 - 10) - 1 = 8, then 0.3 x 390 - 1 = 116; (8 + 116) / 2 = 62.
    saved = 0.3 * (np.array([40.0, 440.0]) - np.array([10.0, 20.0]))
    money, _ = maximum_profit(Campaign(saved, spent=np.array([1.0, 2.0]), customers=np.array([1.0, 2.0])))
    assert money == pytest.approx(62.0)


def test_expected_maximum_profit_equals_the_integral_over_accept_rates():
    churned, stayed = np.cumsum([3.0, 2, 2, 1, 1]), np.cumsum([1.0, 4, 10, 20, 50])

    def best(rate):
        earned = churned * (rate * 190 - 1) - stayed * 11
        return max(0.0, earned.max()) / 94 * beta(6, 14).pdf(rate)

    exact = quad(best, 0, 1, limit=500, epsabs=1e-10)[0]
    campaign = Campaign.typical(churned, stayed, POLICY)
    assert expected_maximum_profit(campaign, accept_rate=0.3)[0] == pytest.approx(exact, rel=5e-3)


@pytest.mark.parametrize("accept_rate", [0.0, 1.0])
def test_expected_maximum_profit_accepts_a_certain_rate(accept_rate):
    policy = Policy(accept_rate=accept_rate)
    campaign = Campaign.typical(np.array([1.0, 1.0]), np.array([0.0, 1.0]), policy)
    money, share = expected_maximum_profit(campaign, accept_rate=accept_rate)
    assert math.isfinite(money)
    assert 0 <= share <= 1


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=20), policies)
def test_expected_maximum_profit_is_at_least_the_maximum_profit_at_the_mean_rate(cells, policy):
    churned, stayed = np.cumsum(np.array(cells, float), axis=0).T
    if not (churned + stayed)[-1]:
        return
    # The maximum of linear functions is convex in the rate: Jensen.
    campaign = Campaign.typical(churned, stayed, policy)
    certain, _ = maximum_profit(campaign)
    uncertain, _ = expected_maximum_profit(campaign, accept_rate=policy.accept_rate)
    assert uncertain >= certain - 1e-9
    assert certain >= campaign.profit.max() / (churned + stayed)[-1] - 1e-9


def test_band_cutoffs_relate_to_threshold_and_average_risk():
    # threshold 0.16, average 0.30: high from 0.30 (odds 3/7); three times those odds is 9/7, or 9/16.
    assert band_cutoffs(0.16, base_rate=0.30) == (0.16, 0.30, pytest.approx(9 / 16))
    assert band_cutoffs(0.30, base_rate=0.16) == (0.16, 0.30, pytest.approx(9 / 16))


@pytest.mark.parametrize("threshold", [0.0, 1.0])
def test_band_cutoffs_fall_back_to_the_average_risk(threshold):
    assert band_cutoffs(threshold, base_rate=0.25) == (0.25, 0.25, pytest.approx(0.5))


def test_risk_band_names_each_probability():
    policy = Policy(bands=(0.1, 0.3, 0.6))
    assert risk_band([0.05, 0.1, 0.3, 0.6, 1.0, math.nan], policy).tolist() == [
        "low", "medium", "high", "very_high", "very_high", None,
    ]  # fmt: skip


@settings(max_examples=50, deadline=None)
@given(probabilities)
def test_risk_band_rises_with_probability(probability):
    policy = fit_policy(probability, POLICY)
    ranks = [BANDS.index(band) for band in risk_band(sorted(probability), policy)]
    assert ranks == sorted(ranks)


def test_policy_from_dict_restores_it_exactly_through_json():
    policy = fit_policy([0.1, 0.2, 0.9], Policy(capacity=2, holdout_share=0.1))
    assert Policy.from_dict(json.loads(json.dumps(policy.to_dict()))) == policy


@pytest.mark.parametrize("change", [{"bands": None}, {"discount": 1.0}, {"bands": [0.1, "x", 0.3]}])
def test_policy_from_dict_refuses_other_entries(change):
    with pytest.raises(ResourceError, match="policy"):
        Policy.from_dict({**POLICY.to_dict(), **change})


def test_policy_from_dict_does_not_fill_a_missing_threshold_with_the_default():
    values = POLICY.to_dict()
    del values["threshold"]
    with pytest.raises(ResourceError, match="missing"):
        Policy.from_dict(values)


@pytest.mark.parametrize(
    "wrong",
    [
        {"contact_cost": -1.0},
        {"customer_value": math.inf},
        {"accept_rate": 1.5},
        {"threshold": math.nan},
        {"bands": (0.5, 0.2, 0.7)},
        {"capacity": 0},
    ],
)
def test_policy_refuses_impossible_settings(wrong):
    with pytest.raises(ConfigError, match="must"):
        Policy(**wrong)


def test_in_holdout_is_pinned():
    # Changing the hash would put customers into the campaign whom an earlier run held out.
    assert in_holdout(["C1", "C2", "C3", "00123", "é"], share=0.5).tolist() == [
        True, False, False, True, False,
    ]  # fmt: skip


def test_in_holdout_holds_about_the_share_and_a_larger_one_keeps_the_smaller():
    ids = [f"C{number}" for number in range(20_000)]
    small, large = in_holdout(ids, share=0.1), in_holdout(ids, share=0.2)
    assert small.mean() == pytest.approx(0.1, abs=0.01)
    assert large.mean() == pytest.approx(0.2, abs=0.01)
    assert large[small].all()


def test_in_holdout_of_another_salt_is_independent():
    ids = [f"C{number}" for number in range(20_000)]
    both = in_holdout(ids, share=0.5) & in_holdout(ids, share=0.5, salt="second campaign")
    assert both.mean() == pytest.approx(0.25, abs=0.015)


def test_in_holdout_at_the_ends():
    assert not in_holdout(["C1", "C2"], share=0.0).any()
    assert in_holdout(["C1", "C2"], share=1.0).all()
    assert in_holdout([], share=0.5).tolist() == []


def test_in_holdout_accepts_a_lone_surrogate():
    assert in_holdout(["\ud800"], share=1.0).tolist() == [True]
