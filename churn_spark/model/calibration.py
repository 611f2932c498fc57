"""Turn the booster's raw margin into a probability that can be believed.

Every calibrator is one increasing, piecewise-linear map from margin to calibrated log-odds, kept as plain
numbers: two knots are Platt scaling, many are isotonic regression, and (0, 0), (1, 1) changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import isotonic_regression, minimize
from scipy.special import expit, log_expit, logit

from churn_spark.arrays import Floats
from churn_spark.contract.folds import FOLDS
from churn_spark.errors import ResourceError

Kind = Literal["identity", "platt", "isotonic"]

# Rows of the rarer class: below, two parameters are noise, and isotonic regression gains nothing over them
# (Niculescu-Mizil & Caruana 2005 need 1,000; on the tables measured it was no better below 20,000).
LEAST_ROWS: Mapping[Kind, int] = {"platt": 30, "isotonic": 20_000}
MIN_SLOPE = 1e-3  # a useless score is flattened, never reversed
LIMIT = 20.0  # log-odds, i.e. 2e-9 to 1 - 2e-9: never exactly 0 or 1


@dataclass(frozen=True)
class Calibrator:
    """An increasing map from margin (`x`) to calibrated log-odds (`y`), linear between and beyond knots."""

    kind: Kind
    x: tuple[float, ...]
    y: tuple[float, ...]

    def __post_init__(self) -> None:
        sound = (
            self.kind in get_args(Kind)
            and len(self.x) == len(self.y) >= 2
            and bool(np.isfinite([*self.x, *self.y]).all())
            and bool((np.diff(self.x) > 0).all() and (np.diff(self.y) > 0).all())
        )
        if not sound:
            raise ResourceError(
                "the calibrator is not a list of at least two increasing, finite knots",
                where="manifest.json: calibrator",
                fix="train again, or load another model package",
            )

    def apply(self, margin: ArrayLike) -> Floats:
        """Return the calibrated probability of each margin, strictly between 0 and 1.

        The order of the margins is kept: unlike a step function this makes no ties, so ROC-AUC and ranks
        are those of the raw score. A missing margin gives a missing probability.
        """
        margin, x, y = np.asarray(margin, np.float64), np.array(self.x), np.array(self.y)
        left = np.clip(np.searchsorted(x, margin, side="right") - 1, 0, len(x) - 2)
        slope = np.diff(y) / np.diff(x)
        return expit(np.clip(y[left] + slope[left] * (margin - x[left]), -LIMIT, LIMIT))  # type: ignore[no-any-return]

    def moved(self, *, trained: float, target: float) -> Calibrator:
        """The calibrator for a population whose base rate is `target` instead of the `trained` one.

        Assumes that churners, and stayers, look alike in both populations and only their shares differ: the
        odds are scaled by the ratio of the prior odds (Saerens, Latinne & Decaestecker 2002).
        """
        shift = float(logit(target) - logit(trained))
        return Calibrator(self.kind, self.x, tuple(y + shift for y in self.y))

    def to_dict(self) -> dict[str, Any]:
        """Return the calibrator as JSON-ready values."""
        return {"kind": self.kind, "x": list(self.x), "y": list(self.y)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Calibrator:
        """Rebuild a calibrator; ResourceError when the values are not one."""
        try:
            x, y = (tuple(float(v) for v in values[key]) for key in "xy")
            return cls(values["kind"], x, y)
        except (KeyError, TypeError, ValueError):
            raise ResourceError(
                "the calibrator lacks kind, x or y, or holds something that is not a number",
                where="manifest.json: calibrator",
                fix="train again, or load another model package",
            ) from None


IDENTITY = Calibrator("identity", (0.0, 1.0), (0.0, 1.0))


def fit_calibrator(
    label: ArrayLike, margin: ArrayLike, *, weight: ArrayLike = 1.0, fold: ArrayLike | None = None
) -> Calibrator:
    """Fit the calibrator that pays: identity, Platt or isotonic, in this order of caution.

    `label` is 0/1 and `margin` the booster's raw log-odds, on rows used neither for trees nor for test; `weight` is
    how many rows each stands for, and `fold` keeps together what belongs together (default: row by row). A kind is
    taken for which the rarer class has rows enough, and which lowers the loss on folds that it was not fitted on by
    more than a standard error.
    """
    label, margin = np.asarray(label, np.float64), np.asarray(margin, np.float64)
    weight = np.broadcast_to(np.asarray(weight, np.float64), label.shape)
    fold = np.arange(len(label)) % FOLDS if fold is None else np.asarray(fold)
    positives = weight @ label
    rarer = min(positives, weight.sum() - positives)
    best, loss = IDENTITY, log_losses(label, margin)
    for kind, least in LEAST_ROWS.items():
        if rarer < least or len(np.unique(fold)) < 2:
            break
        challenger = np.empty(len(label))
        for number in np.unique(fold):
            seen, held = fold != number, fold == number
            fitted = fit_kind(kind, label[seen], margin[seen], weight=weight[seen])
            challenger[held] = log_losses(label[held], logit(fitted.apply(margin[held])))
        if is_better(challenger, loss, weight=weight):
            best, loss = fit_kind(kind, label, margin, weight=weight), challenger
    return best


def fit_kind(kind: Kind, label: ArrayLike, margin: ArrayLike, *, weight: ArrayLike = 1.0) -> Calibrator:
    """Fit a calibrator of this kind, `platt` or `isotonic`, to any number of rows of both classes."""
    label, margin = np.asarray(label, np.float64), np.asarray(margin, np.float64)
    weight = np.broadcast_to(np.asarray(weight, np.float64), label.shape)
    slope, intercept = _platt(label, margin, weight)
    if kind == "platt":
        return Calibrator("platt", (0.0, 1.0), (intercept, intercept + slope))
    return _isotonic(label, margin, weight, tail_slope=slope)


def log_losses(label: Floats, margin: Floats) -> Floats:
    """The log-loss of each row."""
    return np.logaddexp(0, np.where(label == 1, -margin, margin))


def is_better(loss: Floats, other: Floats, *, weight: ArrayLike = 1.0) -> bool:
    """Whether losses are lower than others, row by row, by more than a standard error of the difference."""
    gain, weight = other - loss, np.broadcast_to(np.asarray(weight, np.float64), loss.shape)
    mean = weight @ gain / weight.sum()
    return bool(mean > np.sqrt(weight @ (gain - mean) ** 2) / weight.sum())


def _platt(label: Floats, margin: Floats, weight: Floats) -> tuple[float, float]:
    """Slope and intercept of a logistic regression on Platt's smoothed targets (Platt 1999)."""
    positives = weight @ label
    negatives = weight.sum() - positives
    share = weight / weight.sum()
    target = np.where(label == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))

    def loss(parameters: Floats) -> tuple[float, Floats]:
        score = parameters[0] * margin + parameters[1]
        residual = expit(score) - target
        value = -share @ (target * log_expit(score) + (1 - target) * log_expit(-score))
        return float(value), np.array([share @ (residual * margin), share @ residual])

    start = np.array([1.0, logit(share @ target) - share @ margin])
    best = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(MIN_SLOPE, None), (None, None)],
                    options={"ftol": 1e-14, "gtol": 1e-9})  # fmt: skip
    return float(best.x[0]), float(best.x[1])


def _isotonic(label: Floats, margin: Floats, weight: Floats, *, tail_slope: float) -> Calibrator:
    """Join the centres of the isotonic blocks (Zadrozny & Elkan 2002); continue with Platt's slope beyond."""
    _, index = np.unique(margin, return_inverse=True)
    rows, positives = np.bincount(index, weight), np.bincount(index, weight * label)
    starts = isotonic_regression(positives / rows, weights=rows).blocks[:-1]
    rows, positives, total = (
        np.add.reduceat(values, starts) for values in (rows, positives, np.bincount(index, weight * margin))
    )
    # Pool blocks that differ by rounding only, and end blocks of one class, whose rate would be 0 or 1.
    first, last = int(np.argmax(positives > 0)), int(np.argmax((positives < rows)[::-1]))
    rises = np.r_[True, np.diff(positives / rows) > 1e-12]
    rises[1 : first + 1] = rises[len(rows) - last :] = False
    starts = np.flatnonzero(rises)
    rows, positives, total = (np.add.reduceat(values, starts) for values in (rows, positives, total))
    x, y = total / rows, logit(positives / rows)
    x = np.r_[x[0] - 1, x, x[-1] + 1]
    y = np.r_[y[0] - tail_slope, y, y[-1] + tail_slope]
    return Calibrator("isotonic", tuple(x.tolist()), tuple(y.tolist()))
