"""Pointers to models: who is champion, who was, and how to go back."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from churn_spark.errors import InputError, ResourceError
from churn_spark.spark.training import registry

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def crowned(models: Path, *ids: str) -> str:
    for day, model_id in enumerate(ids):
        (models / model_id).mkdir(parents=True)
        (models / model_id / "manifest.json").write_text("{}")
        registry.set_champion(
            str(models), model_id, run_id=f"r{day}", at=NOW + dt.timedelta(days=day), why="better"
        )
    return str(models)


def test_rollback_goes_back_one_champion_at_a_time(tmp_path: Path) -> None:
    models = crowned(tmp_path, "m-a", "m-b", "m-c")
    assert registry.rollback(models, at=NOW) == "m-b"
    assert registry.rollback(models, at=NOW) == "m-a"
    assert registry.read_pointer(models)["model_id"] == "m-a"
    with pytest.raises(InputError, match="no earlier champion"):
        registry.rollback(models, at=NOW)


def test_rollback_refuses_a_package_that_is_gone(tmp_path: Path) -> None:
    models = crowned(tmp_path, "m-a", "m-b")
    (tmp_path / "m-a/manifest.json").unlink()
    with pytest.raises(ResourceError, match="m-a is gone"):
        registry.rollback(models, at=NOW)
    assert registry.read_pointer(models)["model_id"] == "m-b"


def test_history_says_who_was_champion_when_and_why(tmp_path: Path) -> None:
    models = crowned(tmp_path, "m-a", "m-b")
    registry.rollback(models, at=NOW + dt.timedelta(days=5))
    rows = registry.history(models)
    assert [(r["model_id"], r["since"][:10], r["until"][:10]) for r in rows] == [
        ("m-a", "2026-01-01", "2026-01-02"), ("m-b", "2026-01-02", "2026-01-06"), ("m-a", "2026-01-06", ""),
    ]  # fmt: skip
    assert rows[-1]["why"] == "rolled back from m-b"
    assert registry.history(str(tmp_path / "none")) == []


def test_a_challenger_that_is_promoted_is_one_no_longer(tmp_path: Path) -> None:
    models = crowned(tmp_path, "m-a")
    for challenger in ("m-b", "m-c"):
        registry.set_challenger(models, challenger, run_id="r", at=NOW, why="not better")
    crowned(tmp_path, "m-b")
    assert registry.read_pointer(models, "challenger.json")["model_id"] == "m-c"
    crowned(tmp_path, "m-c")
    assert registry.read_pointer(models, "challenger.json") == {}
