"""Small JSON documents that a single wrong digit cannot change unseen: each carries the hash of what it says."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from churn_spark.errors import ResourceError

SEAL = "sha256"


def sealed(content: Mapping[str, Any]) -> str:
    """The document's text: its content and, as `sha256`, the hash of it."""
    plain = json.loads(json.dumps(content, default=str))
    return json.dumps({**plain, SEAL: content_hash(plain)}, indent=2) + "\n"


def unsealed(text: str, *, where: str, fix: str) -> dict[str, Any]:
    """The content of a sealed document; one that never had a seal, under whatever name, is taken as it is.

    Raises ResourceError, with the caller's `where` and `fix`, for one that is damaged.
    """
    try:
        content = dict(json.loads(text))
    except (ValueError, TypeError):
        content = {SEAL: ""}
    if not _is_whole(content):
        raise ResourceError(f"{where.rpartition('/')[2]} is damaged", where=where, fix=fix)
    return {name: value for name, value in content.items() if name != SEAL}


def content_hash(content: Mapping[str, Any]) -> str:
    """The sha256 of JSON-ready content, whatever its order."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _is_whole(content: Mapping[str, Any]) -> bool:
    """A seal whose name was damaged is one still: the hash of all else."""
    others = {name: {k: v for k, v in content.items() if k != name} for name in content}
    if SEAL in content:
        return bool(content[SEAL] == content_hash(others[SEAL]))
    return all(value != content_hash(others[name]) for name, value in content.items())
