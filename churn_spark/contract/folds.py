"""Which fold a customer belongs to: by hash, so that Spark and a process without it give the same answer."""

from __future__ import annotations

import hashlib

FOLDS = 5  # parts of the learning customers
DIGITS = 8  # of the hash in hexadecimal


def fold_salt(seed: int) -> str:
    """What is put before the customer, or the group, before it is hashed."""
    return f"churn_spark:{seed}:fold:"


def fold_of(unit: str, *, seed: int) -> int:
    """A number from 0 to FOLDS - 1 by SHA-256 of a customer's id, or of a group."""
    salted = f"{fold_salt(seed)}{unit}".encode("utf-8", "surrogatepass")
    return int(hashlib.sha256(salted).hexdigest()[:DIGITS], 16) % FOLDS
