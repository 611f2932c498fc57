"""The search: the same seed gives the same trials, and its result is never worse than what was configured."""

import numpy as np
import pytest

from churn_spark.errors import ConfigError
from churn_spark.model.crossfit import Learning, lay_out
from churn_spark.model.features import FeatureSpec, Numeric
from churn_spark.model.search import require_optuna, search
from churn_spark.settings.sections import Training

SPEC = FeatureSpec(tuple(Numeric(f"x{i}") for i in range(4)))
TRAINING = Training(
    n_estimators=30,
    early_stopping_rounds=5,
    max_depth=2,
    reg_lambda=10,
    learning_rate=0.02,
    search={"trials": 6},
)


def rows() -> Learning:
    random = np.random.default_rng(1)
    x = random.normal(size=(400, 4)).astype(np.float32)
    label = (x[:, 0] + x[:, 1] ** 2 + random.normal(size=400) > 1).astype(float)
    return lay_out(x, label, np.arange(400) % 5, SPEC, max_bin=TRAINING.max_bin)


def test_search_repeats_itself_and_begins_with_the_settings_chosen() -> None:
    first, second = (search(rows(), TRAINING) for _ in range(2))
    assert first.trials == second.trials
    assert len(first.trials) == 6
    assert {k: first.trials[0][k] for k in ("max_depth", "reg_lambda")} == {"max_depth": 2, "reg_lambda": 10}


def test_search_result_has_the_lowest_loss_out_of_fold() -> None:
    found = search(rows(), TRAINING)
    complete = [t for t in found.trials if t["state"] == "complete"]
    best = min(complete, key=lambda t: t["log_loss"])
    assert best["learning_rate"] == found.training.learning_rate > TRAINING.learning_rate
    assert best["log_loss"] == found.fit.loss < found.trials[0]["log_loss"]


def test_search_stops_when_its_time_is_up_but_judges_the_settings_chosen() -> None:
    hurried = TRAINING.model_copy(update={"search": TRAINING.search.model_copy(update={"max_seconds": 1e-6})})
    assert [t["state"] for t in search(rows(), hurried).trials] == ["complete"]


def test_search_without_the_optimiser_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    require_optuna()
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(ConfigError, match="optuna"):
        require_optuna()
