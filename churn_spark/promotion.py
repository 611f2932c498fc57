"""Which model is live: a small pointer file, replaced as a unit, with the history of who was champion when."""

from __future__ import annotations

import datetime as dt
import json
import math
from dataclasses import dataclass
from typing import Any

from churn_spark import storage
from churn_spark.config import Config
from churn_spark.errors import InputError
from churn_spark.evaluation import Evaluation
from churn_spark.model import CHAMPION


@dataclass(frozen=True)
class Verdict:
    """Whether the new model becomes champion, and why."""

    promoted: bool
    why: str


def decide(config: Config, result: Evaluation) -> Verdict:
    """Judge a new model: a gate that could not be computed fails."""
    auc = result.value("roc_auc")
    if math.isnan(auc):
        return Verdict(False, "ROC-AUC on the test rows could not be computed")
    least = config.promotion.min_first
    if auc < least:
        return Verdict(False, f"ROC-AUC {auc:.3f} on the test rows, at least {least} is required")
    return Verdict(True, f"ROC-AUC {auc:.3f} on the test rows")


def read_pointer(models: str) -> dict[str, Any]:
    """The pointer's content; empty where there is no champion yet."""
    path = storage.join(models, CHAMPION)
    return json.loads(storage.read_text(path)) if storage.exists(path) else {}


def set_champion(models: str, model_id: str, *, run_id: str, at: dt.datetime) -> None:
    """Point at a model and remember since when; nothing changes where it is champion already."""
    pointer = read_pointer(models)
    if pointer.get("model_id") == model_id:
        return
    entry = {"model_id": model_id, "since": at.isoformat(), "run_id": run_id}
    history = [*pointer.get("history", []), entry]
    storage.write_json(storage.join(models, CHAMPION), {"model_id": model_id, "history": history})


def rollback(models: str, *, at: dt.datetime, run_id: str) -> str:
    """Make the previous champion champion again; returns its id. Raises InputError where there is none."""
    pointer = read_pointer(models)
    history = pointer.get("history", [])
    previous = [h["model_id"] for h in history if h["model_id"] != pointer.get("model_id")]
    if not previous:
        raise InputError(
            "there is no earlier champion to go back to", where=models, fix="train a model first"
        )
    set_champion(models, previous[-1], run_id=run_id, at=at)
    return str(previous[-1])
