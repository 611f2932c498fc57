"""Cross-fitting: a booster per fold of the customers, grown on the others, judged by those that it did not see.

Every learning row is learnt from four times and judged once. The losses out of fold choose the number of rounds and
the trees' settings; the margins out of fold serve the calibrator, the threshold and the bands.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import xgboost as xgb

from churn_spark.arrays import Matrix
from churn_spark.contract.folds import FOLDS
from churn_spark.model.calibration import is_better, log_losses
from churn_spark.model.features import FeatureSpec
from churn_spark.model.trees import candidates, native_parameters
from churn_spark.settings.sections import Training

Floats = npt.NDArray[np.float64]
Watch = Callable[[float, int], None]


class Part(NamedTuple):
    """The rows of the other folds to learn from, and those of one fold, at these places, to judge by."""

    fold: int
    learn: xgb.QuantileDMatrix
    judge: xgb.QuantileDMatrix
    places: npt.NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Learning:
    """Learning rows laid out for cross-fitting.

    `inputs` (n, width) are the model's, as `projection.assemble_unseen` makes them; `label` is 0/1, `fold` from 0 to
    FOLDS - 1.
    """

    inputs: Matrix
    label: Floats
    fold: npt.NDArray[np.int64]
    spec: FeatureSpec
    parts: tuple[Part, ...]

    @property
    def names(self) -> list[str]:
        """The names of a booster's inputs."""
        return [self.spec.names[i] for i in self.spec.inputs_of(0)]

    @property
    def base_score(self) -> float:
        """Where all boosters start from: the share of churners."""
        return float(np.float32(self.label.mean()))


@dataclass(frozen=True, eq=False)
class CrossFit:
    """A booster for each part, cut to `rounds` trees, the margins out of fold (n,), and the losses by round."""

    boosters: tuple[xgb.Booster, ...]
    rounds: int
    margin: Floats
    learn_loss: tuple[float, ...]
    unseen_loss: tuple[float, ...]

    @property
    def loss(self) -> float:
        """The log-loss out of fold at the rounds chosen."""
        return self.unseen_loss[self.rounds - 1]


@dataclass(frozen=True, eq=False)
class Choice:
    """The settings chosen, their cross-fit, and every candidate: its settings, log_loss and trees."""

    training: Training
    fit: CrossFit
    trials: tuple[dict[str, Any], ...]

    @property
    def settings(self) -> dict[str, Any]:
        """What was open and is chosen."""
        return _open_settings(self.training)

    @property
    def rounded(self) -> Training:
        """The settings chosen, with the number of trees chosen."""
        return self.training.model_copy(update={"n_estimators": self.fit.rounds})


def lay_out(
    inputs: Matrix, label: Floats, fold: npt.NDArray[np.int64], spec: FeatureSpec, *, max_bin: int
) -> Learning:
    """Divide learning rows by fold; see `Learning`. A fold without rows has no part."""

    def part(number: int) -> Part:
        own = spec.inputs_of(number)
        settings: dict[str, Any] = {
            "feature_types": [spec.types[i] for i in own], "enable_categorical": True, "nthread": 1, "max_bin": max_bin,
        }  # fmt: skip
        seen, places = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        learn = xgb.QuantileDMatrix(inputs[seen][:, own], label[seen], **settings)
        judged = inputs[places][:, own]
        return Part(number, learn, xgb.QuantileDMatrix(judged, label[places], ref=learn, **settings), places)

    parts = tuple(part(number) for number in range(FOLDS) if 0 < (fold == number).sum() < len(fold))
    return Learning(inputs, label, fold, spec, parts)


def unseen_margin(rows: Learning, boosters: Sequence[xgb.Booster]) -> Floats:
    """The margin of each learning row by the booster of its fold, which did not see it."""
    margin = np.empty(len(rows.label))
    for number, booster in enumerate(boosters):
        places = np.flatnonzero(rows.fold == number)
        if len(places):
            inputs = np.ascontiguousarray(rows.inputs[places][:, rows.spec.inputs_of(number)])
            margin[places] = booster.inplace_predict(inputs, predict_type="margin", validate_features=False)
    return margin


def cross_fit(rows: Learning, training: Training, *, watch: Watch | None = None) -> CrossFit:
    """Grow the folds' boosters side by side, a tree each at a time, until their common loss falls no more.

    `watch` is told that loss and the number of the tree.
    """
    settings = native_parameters(training, rows.names, base_score=rows.base_score)
    boosters = [xgb.Booster(settings, [part.learn, part.judge]) for part in rows.parts]
    weights = np.array([len(part.places) for part in rows.parts]) / len(rows.label)
    losses: list[Floats] = []  # by round: on the rows learnt from, and out of fold
    best = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for number in range(training.n_estimators):
            grown = pool.map(_grow, boosters, rows.parts, [number] * len(boosters))
            losses.append(weights @ np.array(list(grown)))
            if watch is not None:
                watch(float(losses[-1][1]), number)
            best = number if losses[-1][1] < losses[best][1] else best
            if number - best >= training.early_stopping_rounds:
                break
    cut = tuple(booster[: best + 1] for booster in boosters)
    margin = np.empty(len(rows.label))
    for booster, part in zip(cut, rows.parts, strict=True):
        margin[part.places] = booster.predict(part.judge, output_margin=True)
    learn, unseen = zip(*(loss.tolist() for loss in losses), strict=True)
    return CrossFit(cut, best + 1, margin, learn, unseen)


def _grow(booster: xgb.Booster, part: Part, number: int) -> tuple[float, float]:
    """Add a tree; returns the log-loss on the rows learnt from and on those not seen."""
    booster.update(part.learn, number)
    told = booster.eval_set([(part.learn, "learn"), (part.judge, "judge")], number)
    learn, unseen = (float(word.rpartition(":")[2]) for word in told.split("\t")[1:])
    return learn, unseen


def choose(rows: Learning, training: Training) -> Choice:
    """Cross-fit the candidates for what the settings leave open, and choose by the loss out of fold.

    The least loss wins, one standard error in favor of the simpler: the first candidate that is not worse than the
    best by more than that, by the difference of losses row by row (Breiman et al. 1984).
    """
    tried = [(settings, cross_fit(rows, settings)) for settings in candidates(training)]
    losses = [log_losses(rows.label, fit.margin) for _, fit in tried]
    best = min(losses, key=np.mean)
    chosen = next(i for i, loss in enumerate(losses) if not is_better(best, loss))
    trials = tuple(
        {**_open_settings(settings), "log_loss": float(loss.mean()), "trees": fit.rounds}
        for (settings, fit), loss in zip(tried, losses, strict=True)
    )
    return Choice(*tried[chosen], trials)


def _open_settings(training: Training) -> dict[str, Any]:
    return {name: getattr(training, name) for name in ("max_depth", "reg_lambda", "learning_rate")}
