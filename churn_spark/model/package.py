"""A model package as files, and the id that stands for what was learnt.

A package is a folder: `model.json` (the trees), `manifest.json` (everything else that was learnt, and the sha256 of
every file), a model card, figures, the report. Nothing in it is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from churn_spark.contract.sealed import content_hash, unsealed
from churn_spark.errors import InputError, ResourceError

FORMAT = 2
CHAMPION, CHALLENGER = "champion.json", "challenger.json"
TREES, MANIFEST = "model.json", "manifest.json"
MEND_POINTER = "churn-spark recover, with the same --output and --models"
RETRAIN = "restore the package from a backup, `churn-spark rollback`, or train again"

# What a manifest tells of its run; all else in it was learnt, and the id stands for it.
OF_THE_RUN = (
    "model_id", "run_id", "created_at", "versions", "rows", "metrics", "training", "search", "sha256",
)  # fmt: skip


def content_id(trees: bytes, document: Mapping[str, Any]) -> str:
    """The id of a model with these trees and this JSON-ready document: `m-` and 16 digits of a sha256.

    It is made of plain JSON with sorted keys, so that no name in the code has a part in it. What `document` tells
    of the run counts for nothing: the same data and settings give the same id.
    """
    learnt = {name: value for name, value in document.items() if name not in OF_THE_RUN}
    plain = json.dumps(
        {**learnt, "format": FORMAT, "trees": hashlib.sha256(trees).hexdigest()}, sort_keys=True
    )
    return f"m-{hashlib.sha256(plain.encode()).hexdigest()[:16]}"


def write_package(folder: Path, trees: bytes, document: Mapping[str, Any]) -> None:
    """Write `model.json` and `manifest.json` into an existing folder, hashing every file, the manifest included."""
    (folder / TREES).write_bytes(trees)
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != MANIFEST)
    hashes = {str(p.relative_to(folder)): _file_hash(p) for p in files}
    about = {**document, "format": FORMAT, "model_id": content_id(trees, document), "sha256": hashes}
    plain = json.loads(json.dumps(about))
    manifest = {**plain, "sha256": {**hashes, MANIFEST: content_hash(plain)}}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


def read_package(folder: Path) -> dict[str, Any]:
    """The manifest of a package that is what was saved.

    Raises ResourceError where a file is missing or changed, the manifest too: its id is the hash of what was learnt,
    and among the files' hashes is its own (packages of old lack it).
    """
    manifest = _read_manifest(folder)
    hashes = manifest.get("sha256")
    if not isinstance(hashes, dict) or TREES not in hashes:
        raise ResourceError("manifest.json lacks the hash of model.json", where=str(folder), fix=RETRAIN)
    files = {name: expected for name, expected in hashes.items() if name != MANIFEST}
    for name, expected in files.items():
        if not (folder / name).is_file():
            raise ResourceError(f"{name} is missing from the model package", where=str(folder), fix=RETRAIN)
        if _file_hash(folder / name) != expected:
            raise ResourceError(f"{name} is not the file that was saved", where=str(folder), fix=RETRAIN)
    whole = hashes.get(MANIFEST) in (None, content_hash({**manifest, "sha256": files}))
    if not whole or content_id((folder / TREES).read_bytes(), manifest) != manifest.get("model_id"):
        raise ResourceError("manifest.json is not what was saved", where=str(folder), fix=RETRAIN)
    return manifest


def package_folder(path: Path) -> Path:
    """The package at `path`: itself, or the champion's where `path` is a folder of packages."""
    if (path / MANIFEST).is_file() or path.name.startswith("m-"):
        return path
    return path / champion_id(path)


def champion_id(models: Path) -> str:
    """The id of the live model. Raises InputError where there is none yet, ResourceError where it cannot be told."""
    path = models / CHAMPION
    if not path.is_file() and not path.with_name(f"{CHAMPION}.copy").is_file():
        if (models / CHALLENGER).is_file():
            raise InputError(
                "there is no champion model yet; the one that was trained was not promoted",
                where=str(models),
                fix="its report.html says why; `--model challenger` scores with it all the same",
            )
        raise InputError(
            "there is no champion model yet", where=str(models), fix="train one first: churn-spark train"
        )
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    return str(pointer_of(text, where=str(path))["model_id"])


def pointer_of(text: str, *, where: str) -> dict[str, Any]:
    """The content of a pointer file. Raises ResourceError where it is damaged."""
    pointer = unsealed(text, where=where, fix=MEND_POINTER)
    if not isinstance(pointer.get("model_id"), str):
        raise ResourceError("the pointer names no model", where=where, fix=MEND_POINTER)
    return pointer


def _file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_manifest(folder: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ResourceError("there is no such model package", where=str(folder), fix=RETRAIN) from None
    except ValueError:
        raise ResourceError("manifest.json is not JSON", where=str(folder), fix=RETRAIN) from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ResourceError(
            f"the package is not of format {FORMAT}, which this version reads",
            where=str(folder),
            fix="train again, or use the version of churn-spark that wrote it",
        )
    return manifest
