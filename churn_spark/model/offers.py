"""What contacting a customer brings, offer by offer, and which offer is the best one to make.

Amounts are numbers or columns, so that each row may have its own, and an offer may be open to some customers only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from churn_spark.arrays import Columns, Floats, arrow_array


@dataclass(frozen=True)
class Amount:
    """A number, or each row's own in `column`, where `typical` stands in for a missing one."""

    typical: float
    column: str | None = None

    def of(self, frame: Columns, rows: int) -> Floats:
        """The amount of each row."""
        if self.column is None:
            return np.full(rows, self.typical)
        values = _numbers(frame[self.column])
        return np.where(np.isnan(values), self.typical, values)


@dataclass(frozen=True)
class Only:
    """Whom an offer is open to: those with one of these words in a column, or with a number in this range."""

    column: str
    among: tuple[str, ...] | None = None
    min: float | None = None
    max: float | None = None

    def holds(self, frame: Columns) -> NDArray[np.bool_]:
        """Whether it holds for each row; not where the value is missing."""
        if self.among is not None:
            words = arrow_array(frame[self.column], pa.string()).to_pylist()
            return np.array([word in self.among for word in words], bool)
        values = _numbers(frame[self.column])
        low = -math.inf if self.min is None else self.min
        high = math.inf if self.max is None else self.max
        return (values >= low) & (values <= high)


@dataclass(frozen=True)
class Offer:
    """What may be offered, to whom, and what comes of it: see `policy`. The one offer of a policy has no name."""

    name: str
    cost: Amount
    accept_rate: Amount
    stayer_accept_rate: Amount
    contact_cost: Amount
    who: tuple[Only, ...] = ()

    @property
    def amounts(self) -> tuple[Amount, ...]:
        return self.cost, self.accept_rate, self.stayer_accept_rate, self.contact_cost

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that its terms are read from."""
        return (*(a.column for a in self.amounts if a.column), *(only.column for only in self.who))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Offer:
        """Rebuild an offer; KeyError or TypeError where it is none."""
        amounts = {
            name: Amount(**values[name])
            for name in ("cost", "accept_rate", "stayer_accept_rate", "contact_cost")
        }
        who = tuple(
            Only(**{**only, "among": None if only["among"] is None else tuple(only["among"])})
            for only in values["who"]
        )
        return cls(name=values["name"], who=who, **amounts)


class Terms(NamedTuple):
    """What contacting a row means, in money: one number a row, or one a row and offer.

    `saved` is brought by one who would leave, `given` taken by one who would not, and `contact` spent on either;
    it is infinite where the offer is not open.
    """

    saved: Floats
    given: Floats
    contact: Floats

    def expected(self, probability: Floats) -> Floats:
        """The money expected from contacting rows of these probabilities."""
        return probability * self.saved - (1 - probability) * self.given - self.contact


class Best(NamedTuple):
    """The best offer of each row, -1 where none is open, and its terms, nothing where none is open."""

    offer: NDArray[np.intp]
    terms: Terms


def terms_of(offers: Sequence[Offer], value: Amount, frame: Columns, rows: int) -> Terms:
    """The terms of each offer, (rows, offers), for customers who are worth `value`."""
    worth, parts = value.of(frame, rows), []
    for offer in offers:
        cost, accepted, taken, contact = (amount.of(frame, rows) for amount in offer.amounts)
        is_open = np.all([only.holds(frame) for only in offer.who], axis=0) if offer.who else True
        parts.append(Terms(accepted * (worth - cost), taken * cost, np.where(is_open, contact, math.inf)))
    return Terms(*(np.column_stack(columns) for columns in zip(*parts, strict=True)))


def best_offers(terms: Terms, probability: Floats) -> Best:
    """Choose of terms (rows, offers) what is worth most at these probabilities; the first of equals."""
    rows = np.arange(len(probability))
    known = np.where(np.isnan(probability), 0.0, probability)
    place = np.argmax(terms.expected(known[:, None]), axis=1)
    chosen = Terms(*(part[rows, place] for part in terms))
    is_open = np.isfinite(chosen.contact)
    return Best(np.where(is_open, place, -1), Terms(*(np.where(is_open, part, 0.0) for part in chosen)))


def _numbers(column: Any) -> Floats:
    return arrow_array(column, pa.float64()).to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]
