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
    return json.dumps({**plain, SEAL: _hash(plain)}, indent=2) + "\n"


def unsealed(text: str, *, where: str, fix: str) -> dict[str, Any]:
    """The content of a sealed document; one that never had a seal is taken as it is.

    Raises ResourceError, with the caller's `where` and `fix`, for one that is damaged.
    """
    try:
        content = dict(json.loads(text))
    except (ValueError, TypeError):
        content = {SEAL: ""}
    seal = content.pop(SEAL, None)
    if seal is not None and seal != _hash(content):
        raise ResourceError(f"{where.rpartition('/')[2]} is damaged", where=where, fix=fix)
    return content


def _hash(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
