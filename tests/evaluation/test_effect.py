"""What contact changed, with its interval."""

import numpy as np
import pytest

from churn_spark.evaluation.effect import Group, effect_of_contact


def test_interval_is_newcombe_s_of_his_first_example() -> None:
    """56 of 70 against 48 of 80: 0.0524 to 0.3339 (Newcombe 1998, table II, method 10)."""
    found = effect_of_contact(contacted=Group(80, 48), held=Group(70, 56))
    assert found == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)


def test_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    rng, kept, rounds = np.random.default_rng(3), 0.06, 400
    hits = 0
    for _ in range(rounds):
        contacted, held = rng.binomial(400, 0.20 - kept), rng.binomial(60, 0.20)
        found = effect_of_contact(Group(400, contacted), Group(60, held))
        hits += found.low <= kept <= found.high
    assert 0.92 <= hits / rounds <= 0.99


def test_nobody_left_is_no_division_by_zero() -> None:
    found = effect_of_contact(Group(10, 0), Group(10, 0))
    assert found.value == 0
    assert found.low < 0 < found.high
