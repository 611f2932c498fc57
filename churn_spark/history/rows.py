"""Rows of many customers, each customer's in the order of time, and the few looks back that all of history needs.

Everything is an array over rows that are sorted by customer and day. A look back never leaves the customer, and its
result depends on that customer's rows alone: so it is the same to the bit whatever other customers are in the batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.float64]
Places = npt.NDArray[np.intp]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Rows:
    """The customer (any number, the same for all rows of one) and the day (since 1970) of each row, sorted by both."""

    customer: Ints
    day: Ints

    @cached_property
    def begins(self) -> Flags:
        """Whether a row is its customer's first."""
        return np.concatenate([[True], self.customer[1:] != self.customer[:-1]])[: len(self.customer)]

    @cached_property
    def first(self) -> Places:
        """The place of each row's customer's first row."""
        return np.maximum.accumulate(np.where(self.begins, np.arange(len(self.customer)), 0))

    @cached_property
    def position(self) -> Places:
        """How many rows of the customer lie before each row."""
        return np.arange(len(self.customer)) - self.first

    def lagged(self, values: Numbers, back: int) -> Numbers:
        """The value `back` rows earlier; NaN where the customer has none."""
        shifted = np.full(len(values), np.nan)
        shifted[back:] = values[: max(len(values) - back, 0)]
        return np.where(self.position >= back, shifted, np.nan)

    def since(self, happened: Flags) -> Numbers:
        """How many rows ago something last happened, 0 for the row itself; NaN where it never did."""
        places = np.arange(len(happened))
        last = np.maximum.accumulate(np.where(happened, places, -1))
        return np.where(last >= self.first, places - last, np.nan)


def equal(left: Numbers, right: Numbers) -> Flags:
    """Whether two values are the same, a missing one being the same as another missing one."""
    same: Flags = (left == right) | (np.isnan(left) & np.isnan(right))
    return same
