"""Settings of money: what contacting costs and brings, and the offers to choose from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field, model_validator

from churn_spark.settings.section import Money, Positive, Section, Share

# A number, or the column that has each row's own.
Amount = Money | str
Rate = Share | str


class Decision(Section):
    contact_cost: Amount = 1.0
    offer_cost: Amount = 10.0
    accept_rate: Rate = 0.3
    stayer_accept_rate: Rate = 1.0
    customer_value: Amount = 200.0
    capacity: Positive | None = None
    holdout_share: Annotated[float, Field(ge=0, lt=1)] = 0.0


class Who(Section):
    """Whom an offer is open to, by one column: words of it, or a range of its numbers."""

    among: tuple[str, ...] | None = None
    min: float | None = None
    max: float | None = None

    @model_validator(mode="before")
    @classmethod
    def _words_are_enough(cls, value: Any) -> Any:
        words = [value] if isinstance(value, str) else value
        return {"among": words} if isinstance(words, list | tuple) else value

    @model_validator(mode="after")
    def _says_one_thing(self) -> Who:
        if (self.among is None) == (self.min is None and self.max is None):
            raise ValueError("give either a list of words, or {min: ..., max: ...}")
        return self


class Offer(Section):
    """One of several offers; what it does not say is as in `decision`."""

    name: str
    cost: Amount | None = None
    accept_rate: Rate | None = None
    stayer_accept_rate: Rate | None = None
    contact_cost: Amount | None = None
    who: dict[str, Who] = {}


def amounts_of(decision: Decision, offers: Sequence[Offer]) -> dict[str, Any]:
    """Every setting that is an amount, or names a column of amounts, by its dotted key."""
    of_offers = {
        f"offers.{offer.name}.{name}": value
        for offer in offers
        for name, value in offer
        if name not in ("name", "who")
    }
    return {f"decision.{name}": value for name, value in decision} | of_offers


def columns_of(decision: Decision, offers: Sequence[Offer]) -> tuple[str, ...]:
    """The columns that amounts, and whom an offer is open to, are read from."""
    amounts = [value for value in amounts_of(decision, offers).values() if isinstance(value, str)]
    return tuple(dict.fromkeys([*amounts, *(column for offer in offers for column in offer.who)]))
