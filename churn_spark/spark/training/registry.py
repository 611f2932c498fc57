"""Which model is live, who was champion when, and every package by name.

`champion.json` is a small pointer with its history, `challenger.json` names the newest model that was not promoted;
each is replaced as a unit.
"""

from __future__ import annotations

import datetime as dt
import tempfile
from itertools import product
from typing import Any

from churn_spark.contract.sealed import sealed
from churn_spark.errors import InputError, ResourceError
from churn_spark.model.model import ChurnModel
from churn_spark.model.package import CHALLENGER, CHAMPION, pointer_of
from churn_spark.notes import precision
from churn_spark.notes import prepare as notes
from churn_spark.settings.sections import Config
from churn_spark.spark import storage

ROLLBACK = "rollback"


def read_pointer(models: str, name: str = CHAMPION) -> dict[str, Any]:
    """A pointer's content; empty where there is none. Raises ResourceError where it is damaged."""
    path = storage.join(models, name)
    if not storage.exists(path):
        return pointer_of("", where=path) if storage.exists(f"{path}.copy") else {}
    return pointer_of(storage.read_text(path), where=path)


def mend_pointers(models: str) -> list[str]:
    """Put each damaged or lost pointer's copy in its place; returns the names of those. Raises ResourceError."""
    mended = []
    for name in (CHAMPION, CHALLENGER):
        path = storage.join(models, name)
        try:
            read_pointer(models, name)
        except ResourceError:
            if not storage.exists(f"{path}.copy"):
                raise
            text = storage.read_text(f"{path}.copy")
            pointer_of(text, where=f"{path}.copy")
            storage.write_text(path, text)
            mended.append(name)
    return mended


def set_champion(models: str, model_id: str, *, run_id: str, at: dt.datetime, why: str = "") -> None:
    """Point at a model and remember since when and why; nothing changes where it is champion already."""
    pointer = read_pointer(models)
    if pointer.get("model_id") == model_id:
        return
    entry = {"model_id": model_id, "since": at.isoformat(), "run_id": run_id, "why": why}
    history = [*pointer.get("history", []), entry]
    _write_pointer(models, CHAMPION, {"model_id": model_id, "history": history})
    if read_pointer(models, CHALLENGER).get("model_id") == model_id:
        storage.remove(storage.join(models, f"{CHALLENGER}.copy"))
        storage.remove(storage.join(models, CHALLENGER))


def set_challenger(models: str, model_id: str, *, run_id: str, at: dt.datetime, why: str) -> None:
    """Name the model that was not promoted, for `score --model challenger`."""
    entry = {"model_id": model_id, "since": at.isoformat(), "run_id": run_id, "why": why}
    _write_pointer(models, CHALLENGER, entry)


def _write_pointer(models: str, name: str, content: dict[str, Any]) -> None:
    """The copy first: what it is needed for is a pointer that is at least as old."""
    text = sealed(content)
    storage.write_text(storage.join(models, f"{name}.copy"), text)
    storage.write_text(storage.join(models, name), text)


def rollback(models: str, *, at: dt.datetime) -> str:
    """Make the previous champion champion again; returns its id. Raises InputError where there is none.

    A second rollback goes one champion further back, not forward again.
    """
    line: list[str] = []
    for entry in read_pointer(models).get("history", []):
        line = line[:-1] if entry["run_id"] == ROLLBACK else [*line, entry["model_id"]]
    if len(line) < 2:
        raise InputError(
            "there is no earlier champion to go back to", where=models, fix="train a model first"
        )
    if not storage.exists(storage.join(models, line[-2], "manifest.json")):
        raise ResourceError(
            f"the package of the earlier champion {line[-2]} is gone",
            where=models,
            fix="restore it, or train",
        )
    set_champion(models, line[-2], run_id=ROLLBACK, at=at, why=f"rolled back from {line[-1]}")
    return line[-2]


def history(models: str) -> list[dict[str, str]]:
    """Who was champion when, oldest first: model_id, since, until (empty for the present one), run_id, why."""
    entries = read_pointer(models).get("history", [])
    ends = [*[entry["since"] for entry in entries], ""][1:]
    return [{"why": "", **entry, "until": end} for entry, end in zip(entries, ends, strict=True)]


# -- packages -------------------------------------------------------------------------------------------


def load_model(models: str, name: str) -> ChurnModel:
    """Load the champion, the challenger or a model by id; elsewhere than on a local disk by the running session."""
    known = [n for n in storage.names(models) if n.startswith("m-")] if storage.is_local(models) else [name]
    if name == "challenger":
        name = read_pointer(models, CHALLENGER).get("model_id", name)
    if name != "champion" and name not in known:
        raise InputError(
            "there is no such model",
            where=f"--model {name}",
            fix=f"use champion, or one of: {', '.join(known) or 'none yet, train first'}",
        )
    folder = models if name == "champion" else storage.join(models, name)
    if storage.is_local(models):
        return ChurnModel.load(storage.local(folder))
    return ChurnModel.load(storage.fetch(folder, tempfile.mkdtemp(prefix="churn_spark-model-")))


def check_columns(config: Config, model: ChurnModel) -> None:
    """The run's table contract must have the columns the model was trained with."""
    declared = {c.name: c.role for c in (*config.contract.columns, *config.contract.derived)}
    wanted = {c.name: c.role for c in model.contract.role("numeric", "categorical", "text")}
    missing = sorted(
        {n for n, role in wanted.items() if declared.get(n) != role} | {*model.policy.columns} - {*declared}
    )
    if missing:
        raise InputError(
            f"the model needs columns that the table contract lacks: {', '.join(missing)}",
            where="columns",
            fix="score with the configuration the model was trained with",
        )


def following(config: Config, model: ChurnModel) -> Config:
    """The settings of a run that scores: notes are embedded in the precision that the model was trained with."""
    text = precision.followed(config.text, model.manifest["embedding"])
    return config.model_copy(update={"text": text})


def check_fits(config: Config, model: ChurnModel) -> None:
    """The run's columns and text settings must be those the model was trained with."""
    check_columns(config, model)
    for column, (what, identity) in product(
        (c.name for c in model.contract.texts),
        (("embedding", notes.embedding_identity), ("summary", notes.summary_identity)),
    ):
        mine, theirs = identity(config.text.of(column)), model.manifest[what][column]
        if mine != theirs:
            keys = sorted(k for k in {*mine, *theirs} if mine.get(k) != theirs.get(k))
            raise ResourceError(
                f"the model was trained with another {what}: {', '.join(keys)} differ",
                where=f"text, column {column}",
                fix="score with the text settings the model was trained with, or train again",
            )
