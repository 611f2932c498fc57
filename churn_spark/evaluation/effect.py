"""What contact changed: who left of the customers that were contacted, against those held out at random."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.stats import binomtest


class Group(NamedTuple):
    """Customers whose outcome is known, and how many of them left."""

    customers: int
    left: int

    @property
    def share(self) -> float:
        return self.left / self.customers

    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the share (Wilson 1927)."""
        ends = binomtest(self.left, self.customers).proportion_ci(method="wilson")
        return float(ends.low), float(ends.high)


class Effect(NamedTuple):
    """By how much contact lowered the share that leaves, with a 95 % interval; negative where more left."""

    value: float
    low: float
    high: float


def effect_of_contact(contacted: Group, held: Group) -> Effect:
    """The held-out share that left less the contacted one, with Newcombe's interval (1998, method 10).

    Both are groups of at least one customer, parted by chance. Everybody counts who was to be contacted, reached or
    not, so that the effect is that of the campaign.
    """
    (low, high), (low_held, high_held) = contacted.interval(), held.interval()
    value = held.share - contacted.share
    below = np.hypot(held.share - low_held, high - contacted.share)
    above = np.hypot(high_held - held.share, contacted.share - low)
    return Effect(value, float(value - below), float(value + above))
