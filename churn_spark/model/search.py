"""A budgeted search for the trees' settings, judged by log-loss on validation rows and nothing else.

Trials use xgboost in this process on a sample of rows, since a distributed fit costs seconds before its first
tree; the final fit with the settings found uses all rows.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import xgboost as xgb

from churn_spark.arrays import Matrix
from churn_spark.errors import ConfigError
from churn_spark.model.features import FeatureSpec
from churn_spark.settings import sections as config

if TYPE_CHECKING:
    import optuna

log = logging.getLogger(__name__)

WARM_UP_TREES = 10  # no trial is given up before
WARM_UP_TRIALS = 5


@dataclass(frozen=True)
class Sample:
    """Model inputs of shape (n, inputs) and their labels, 0 or 1."""

    features: Matrix
    label: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Found:
    """The best settings, and every trial: number, state, log_loss, trees, and the settings tried."""

    settings: dict[str, Any]
    trials: tuple[dict[str, Any], ...]


def require_optuna() -> None:
    """Raises ConfigError where the optimiser is not installed."""
    try:
        import optuna  # noqa: F401
    except ImportError:
        raise ConfigError(
            "training.search needs the package optuna",
            where="training.search.trials",
            fix='pip install "churn-spark[search]", or set it to 0',
        ) from None


def search(train: Sample, validation: Sample, spec: FeatureSpec, *, training: config.Training) -> Found:
    """Try settings by Optuna's tree-structured Parzen estimator (Bergstra et al. 2011).

    The first trial is the settings as configured, so the result is never worse on these rows. Trials that do
    worse than the median of the others after as many trees are given up. The same rows, settings and seed
    give the same trials unless `max_seconds` ends the search.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    budget, deadline = training.search, time.monotonic() + training.search.max_seconds
    inputs = {"feature_names": spec.names, "feature_types": spec.types, "enable_categorical": True}
    learn = xgb.QuantileDMatrix(train.features, train.label, max_bin=training.max_bin, **inputs)
    judge = xgb.QuantileDMatrix(validation.features, validation.label, ref=learn, **inputs)
    fixed = {name: getattr(training, name) for name in ("reg_alpha", "max_bin", "scale_pos_weight")}
    fixed |= {
        "objective": "binary:logistic",
        "eval_metric": "logloss",
        "tree_method": "hist",
        "seed": training.seed,
    }
    if any(training.monotone.values()):
        fixed["monotone_constraints"] = tuple(training.monotone.get(n, 0) for n in spec.names)

    def objective(trial: optuna.Trial) -> float:
        booster = xgb.train(
            fixed | _suggest(trial),
            learn,
            training.n_estimators,
            evals=[(judge, "validation")],
            early_stopping_rounds=training.early_stopping_rounds,
            callbacks=[_Prune(trial, deadline)],
            verbose_eval=False,
        )
        trial.set_user_attr("trees", booster.best_iteration + 1)
        return float(booster.best_score)

    study = optuna.create_study(
        sampler=optuna.samplers.TPESampler(seed=training.seed),
        pruner=optuna.pruners.MedianPruner(WARM_UP_TRIALS, WARM_UP_TREES),
    )
    study.enqueue_trial({name: getattr(training, name) for name in SPACE})
    study.optimize(objective, n_trials=1)
    if budget.trials > 1:
        study.optimize(objective, n_trials=budget.trials - 1, timeout=deadline - time.monotonic())
    best = study.best_trial
    log.info("step=search best=%d log_loss=%.4f %s", best.number, best.value, best.params)
    return Found(best.params, tuple(_record(trial) for trial in study.trials))


# setting: lowest, highest, and whether ratios count rather than differences
SPACE: Mapping[str, tuple[float, float, bool]] = {
    "max_depth": (2, 10, False),
    "learning_rate": (0.02, 0.3, True),
    "min_child_weight": (0.5, 100.0, True),
    "subsample": (0.5, 1.0, False),
    "colsample_bytree": (0.1, 1.0, False),
    "reg_lambda": (0.1, 1000.0, True),
    "gamma": (0.0, 5.0, False),
}


def _suggest(trial: optuna.Trial) -> dict[str, Any]:
    return {
        name: trial.suggest_int(name, int(low), int(high))
        if name == "max_depth"
        else trial.suggest_float(name, low, high, log=by_ratio)
        for name, (low, high, by_ratio) in SPACE.items()
    }


class _Prune(xgb.callback.TrainingCallback):
    """Tells the study each tree's loss, and gives the trial up where it, or the clock, says so."""

    def __init__(self, trial: optuna.Trial, deadline: float) -> None:
        super().__init__()
        self.trial, self.deadline = trial, deadline

    def after_iteration(self, model: xgb.Booster, epoch: int, evals_log: Any) -> bool:
        import optuna

        self.trial.report(evals_log["validation"]["logloss"][-1], epoch)
        if self.trial.should_prune() or (self.trial.number and time.monotonic() > self.deadline):
            raise optuna.TrialPruned
        return False


def _record(trial: optuna.trial.FrozenTrial) -> dict[str, Any]:
    last = trial.intermediate_values.get(trial.last_step) if trial.last_step is not None else None
    return {
        "number": trial.number,
        "state": trial.state.name.lower(),
        "log_loss": trial.value if trial.value is not None else last,
        "trees": trial.user_attrs.get("trees", (trial.last_step or 0) + 1),
        **trial.params,
    }
