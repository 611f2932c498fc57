"""What the trees say of model inputs: log-odds, and what each source column adds to them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import numpy.typing as npt
import xgboost as xgb

from churn_spark.arrays import Matrix
from churn_spark.model import contributions, reasons
from churn_spark.model.features import FeatureSpec

Places = npt.NDArray[np.intp]


class Scorer(Protocol):
    """Of rows: one booster for all, or one for each fold."""

    def margin(self, matrix: Matrix) -> Matrix: ...
    def effects(self, matrix: Matrix) -> tuple[tuple[str, ...], Matrix]: ...
    def of(self, rows: Places) -> Scorer: ...


@dataclass(frozen=True)
class OneBooster:
    """A booster, the same for every row."""

    booster: xgb.Booster
    spec: FeatureSpec

    def margin(self, matrix: Matrix) -> Matrix:
        """The raw log-odds, float32 of shape (n,), of model inputs as `assemble` makes them."""
        if not len(matrix):
            return np.empty(0, np.float32)
        return np.asarray(
            self.booster.inplace_predict(matrix, predict_type="margin", validate_features=False), np.float32
        )

    def effects(self, matrix: Matrix) -> tuple[tuple[str, ...], Matrix]:
        """Contributions by source column and the baseline, which add up to the margin; see `contributions`."""
        if self.tables is not None:
            return self.tables.groups, self.tables.effects(matrix)
        if not len(matrix):
            groups = tuple(dict.fromkeys(self.spec.sources))
            return groups, np.empty((0, len(groups) + 1), np.float32)
        data = xgb.DMatrix(
            matrix, feature_names=self.booster.feature_names, feature_types=self.spec.types, missing=np.nan, nthread=1,
            enable_categorical=True,
        )  # fmt: skip
        found = self.booster.predict(data, pred_contribs=True)
        return reasons.grouped_contributions(found, self.spec.sources)

    @cached_property
    def tables(self) -> contributions.Tables | None:
        """The trees laid out for `effects`; None where they are too deep for that."""
        return contributions.tabulate(self.booster, self.spec.sources)

    def of(self, rows: Places) -> OneBooster:
        """The scorer of these rows."""
        return self


@dataclass(frozen=True, eq=False)
class ByFold:
    """For the rows of each `fold` the booster that did not see it."""

    boosters: tuple[OneBooster, ...]
    fold: npt.NDArray[np.int64]

    def margin(self, matrix: Matrix) -> Matrix:
        margin = np.empty(len(matrix), np.float32)
        for rows, booster in self._parts():
            margin[rows] = booster.margin(matrix[rows])
        return margin

    def effects(self, matrix: Matrix) -> tuple[tuple[str, ...], Matrix]:
        groups, nothing = self.boosters[0].effects(matrix[:0])
        effects = np.empty((len(matrix), nothing.shape[1]), np.float32)
        for rows, booster in self._parts():
            effects[rows] = booster.effects(matrix[rows])[1]
        return groups, effects

    def of(self, rows: Places) -> ByFold:
        return ByFold(self.boosters, self.fold[rows])

    def _parts(self) -> Iterator[tuple[Places, OneBooster]]:
        for number in np.unique(self.fold):
            yield np.flatnonzero(self.fold == number), self.boosters[number]
