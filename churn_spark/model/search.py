"""A budgeted search for the trees' settings, judged by log-loss out of fold and nothing else.

Trials use xgboost in this process on a sample of rows, since a distributed fit costs seconds before its first
tree; the final fit with the settings found uses all rows.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from churn_spark.errors import ConfigError
from churn_spark.model.crossfit import Choice, CrossFit, Learning, choose, cross_fit
from churn_spark.settings.sections import Training

if TYPE_CHECKING:
    import optuna

log = logging.getLogger(__name__)

WARM_UP_TREES = 10  # no trial is given up before
WARM_UP_TRIALS = 5

# setting: lowest, highest, and whether ratios count rather than differences
SPACE: Mapping[str, tuple[float, float, bool]] = {
    "max_depth": (1, 10, False),
    "learning_rate": (0.02, 0.3, True),
    "min_child_weight": (0.5, 100.0, True),
    "subsample": (0.5, 1.0, False),
    "colsample_bytree": (0.1, 1.0, False),
    "reg_lambda": (0.1, 1000.0, True),
    "gamma": (0.0, 5.0, False),
}


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


def search(rows: Learning, training: Training) -> Choice:
    """Try settings by Optuna's tree-structured Parzen estimator (Bergstra et al. 2011).

    The first trial is what `choose` chooses, so the result is never worse on these rows. Trials that do worse than
    the median of the others after as many trees are given up. The same rows, settings and seed give the same trials
    unless `max_seconds` ends the search. Each trial tells its number, state, log_loss, trees, and the settings tried.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    budget, deadline = training.search, time.monotonic() + training.search.max_seconds
    start, fits = choose(rows, training), dict[int, CrossFit]()

    def objective(trial: optuna.Trial) -> float:
        def watch(loss: float, tree: int) -> None:
            trial.report(loss, tree)
            if trial.should_prune() or (trial.number and time.monotonic() > deadline):
                raise optuna.TrialPruned

        fits[trial.number] = cross_fit(rows, training.model_copy(update=_suggest(trial)), watch=watch)
        return fits[trial.number].loss

    study = optuna.create_study(
        sampler=optuna.samplers.TPESampler(seed=training.seed),
        pruner=optuna.pruners.MedianPruner(WARM_UP_TRIALS, WARM_UP_TREES),
    )
    study.enqueue_trial({name: getattr(start.training, name) for name in SPACE})
    study.optimize(objective, n_trials=1)
    if budget.trials > 1:
        study.optimize(objective, n_trials=budget.trials - 1, timeout=deadline - time.monotonic())
    best = study.best_trial
    log.info("step=search best=%d log_loss=%.4f %s", best.number, best.value, best.params)
    trials = tuple(_record(trial, fits.get(trial.number)) for trial in study.trials)
    return Choice(training.model_copy(update=best.params), fits[best.number], trials)


def _suggest(trial: optuna.Trial) -> dict[str, Any]:
    return {
        name: trial.suggest_int(name, int(low), int(high))
        if name == "max_depth"
        else trial.suggest_float(name, low, high, log=by_ratio)
        for name, (low, high, by_ratio) in SPACE.items()
    }


def _record(trial: optuna.trial.FrozenTrial, fit: CrossFit | None) -> dict[str, Any]:
    last = trial.intermediate_values.get(trial.last_step) if trial.last_step is not None else None
    return {
        "number": trial.number,
        "state": trial.state.name.lower(),
        "log_loss": trial.value if trial.value is not None else last,
        "trees": fit.rounds if fit else (trial.last_step or 0) + 1,
        **trial.params,
    }
