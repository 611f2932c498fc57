"""Which offer is made to whom: amounts by row, several offers, and whom they are open to."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from churn_spark.errors import ConfigError
from churn_spark.model.policy import Policy, campaign_policy
from churn_spark.settings.decision import Decision, Offer
from churn_spark.settings.layers import load_config

# One who may get the discount, one whose plan is not known, and one whose own terms are missing.
FRAME = pd.DataFrame({
    "plan_type": ["monthly", None, "annual"], "tenure": [3.0, 30.0, np.nan], "spend_rate": [1000.0, 40.0, np.nan],
})  # fmt: skip
TYPICAL = {"spend_rate": 200.0, "tenure": 10.0}


def policy(*offers: dict[str, Any], **decision: Any) -> Policy:
    return campaign_policy(Decision(**decision), tuple(Offer(**o) for o in offers), typical=TYPICAL)


def made(policy: Policy, probability: list[float]) -> tuple[list[int], list[float]]:
    best = policy.offered(FRAME, np.array(probability))
    return best.offer.tolist(), best.terms.expected(np.array(probability)).round(6).tolist()


def test_one_offer_of_numbers_is_the_policy_itself() -> None:
    assert policy() == Policy()
    assert not policy().has_own_terms
    assert made(policy(), [0.5, 0.0, 0.5]) == ([0, 0, 0], [22.5, -11.0, 22.5])


def test_each_customer_is_worth_what_the_column_says_and_the_typical_value_where_it_says_nothing() -> None:
    # 0.5 x 0.3 x 990 - 5 - 1 = 142.5; 0.5 x 0.3 x 30 - 5 - 1 = -1.5; typical as above.
    valued = policy(customer_value="spend_rate")
    assert made(valued, [0.5, 0.5, 0.5])[1] == [142.5, -1.5, 22.5]
    assert valued.customer_value == 200.0
    assert valued.values(FRAME, 3).tolist() == [1000.0, 40.0, 200.0]


def test_costs_may_be_of_the_row_too() -> None:
    # 0.5 x 0.3 x (200 - 3) - 0.5 x 3 - 1 = 27.05, and so on for 30 and the typical 10.
    assert made(policy(offer_cost="tenure"), [0.5] * 3)[1] == [27.05, 9.5, 22.5]


def test_the_offer_that_is_worth_most_is_made_to_each() -> None:
    # At 0.9 a discount of 40, taken by six in ten, brings 0.9 x 0.6 x 160 - 0.1 x 40 - 1 = 81.4; the plain offer
    # 0.9 x 57 - 1 - 1 = 49.3. At 0.1 it is 0.1 x 96 - 36 - 1 = -27.4 against 5.7 - 9 - 1 = -4.3.
    both = policy({"name": "plain"}, {"name": "discount", "cost": 40, "accept_rate": 0.6})
    assert made(both, [0.9, 0.1, 0.9]) == ([1, 0, 1], [81.4, -4.3, 81.4])
    assert both.offer_cost == 10.0  # the one that pays from the lowest probability on


@pytest.mark.parametrize(
    ("who", "offers"),
    [
        ({"plan_type": ["monthly", "annual"]}, [0, -1, 0]),
        ({"tenure": {"min": 3, "max": 30}}, [0, 0, -1]),
        ({"tenure": {"min": 3.5}}, [-1, 0, -1]),
        ({"plan_type": "monthly", "tenure": {"max": 5}}, [0, -1, -1]),
    ],
)
def test_an_offer_is_made_only_to_those_it_is_open_to(who: dict[str, Any], offers: list[int]) -> None:
    found, expected = made(policy({"name": "discount", "who": who}), [0.5] * 3)
    assert found == offers
    assert expected == [0.0 if place < 0 else 22.5 for place in offers]


def test_a_policy_with_offers_survives_json() -> None:
    several = policy({"name": "a", "who": {"plan_type": ["monthly"], "tenure": {"min": 1}}}, {"name": "b", "cost": 3},
                     customer_value="spend_rate")  # fmt: skip
    assert Policy.from_dict(json.loads(json.dumps(several.to_dict()))) == several
    assert several.columns == ("spend_rate", "plan_type", "tenure")


SETTINGS = {
    "offers": [{"name": "discount", "cost": 5, "who": {"plan_type": ["monthly"]}}, {"name": "call", "cost": "age"}],
}  # fmt: skip


def test_offers_and_currency_are_settings() -> None:
    config = load_config(options={**SETTINGS, "currency": "EUR"})
    assert [offer.name for offer in config.offers] == ["discount", "call"]
    assert config.currency == "EUR"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"offers": [{"name": "a"}, {"name": "a"}]}, "names of several offers"),
        (
            {"offers": [{"name": "a", "cost": "agee"}]},
            "offers.a.cost: neither a number nor a column of numbers",
        ),
        ({"offers": [{"name": "a", "accept_rate": 1.5}]}, "less than or equal to 1"),
        ({"offers": [{"name": "a", "who": {"ages": {"min": 3}}}]}, "ages is no numeric"),
        ({"offers": [{"name": "a", "who": {"age": ["old"]}}]}, "min and max are asked for"),
        ({"offers": [{"name": "a", "who": {"plan_type": {"min": 3}}}]}, "words are asked for"),
        ({"offers": [{"name": "a", "who": {"age": {}}}]}, "either a list of words"),
        ({"decision.customer_value": "plan_type"}, "decision.customer_value: neither"),
    ],
)
def test_offers_that_cannot_be_made_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load_config(options=options)


def test_a_setting_that_stands_at_the_top_is_named_where_it_was_looked_for_in_a_section() -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(settings=["decision.currency=EUR"])
    assert caught.value.fix == "did you mean currency?"
