"""The search: the same seed gives the same trials, and its result is never worse than what was configured."""

import numpy as np
import pytest

from churn_spark.errors import ConfigError
from churn_spark.model.features import FeatureSpec, Numeric
from churn_spark.model.search import Sample, require_optuna, search
from churn_spark.settings.sections import Training

SPEC = FeatureSpec(tuple(Numeric(f"x{i}") for i in range(4)))
TRAINING = Training(n_estimators=30, early_stopping_rounds=5, learning_rate=0.02, search={"trials": 6})


def rows(seed: int, count: int) -> Sample:
    random = np.random.default_rng(seed)
    x = random.normal(size=(count, 4)).astype(np.float32)
    label = x[:, 0] + x[:, 1] ** 2 + random.normal(size=count) > 1
    return Sample(x, label.astype(np.float32))


def test_search_repeats_itself_and_begins_with_the_configured_settings() -> None:
    first, second = (search(rows(1, 300), rows(2, 200), SPEC, training=TRAINING) for _ in range(2))
    assert first == second
    assert len(first.trials) == 6
    configured = {name: getattr(TRAINING, name) for name in first.settings}
    assert {k: first.trials[0][k] for k in configured} == pytest.approx(configured)


def test_search_result_has_the_lowest_validation_loss() -> None:
    found = search(rows(1, 300), rows(2, 200), SPEC, training=TRAINING)
    complete = [t for t in found.trials if t["state"] == "complete"]
    best = min(complete, key=lambda t: t["log_loss"])
    assert {k: best[k] for k in found.settings} == found.settings
    assert best["log_loss"] < found.trials[0]["log_loss"]
    assert Training(**{**TRAINING.model_dump(), **found.settings}).learning_rate > TRAINING.learning_rate


def test_search_stops_when_its_time_is_up_but_judges_the_configured_settings() -> None:
    hurried = TRAINING.model_copy(update={"search": TRAINING.search.model_copy(update={"max_seconds": 1e-6})})
    found = search(rows(1, 300), rows(2, 200), SPEC, training=hurried)
    assert [t["state"] for t in found.trials] == ["complete"]


def test_search_without_the_optimiser_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    require_optuna()
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(ConfigError, match="optuna"):
        require_optuna()
