"""What can go wrong, in words a user can act on, and the exit code each kind ends a run with."""

from __future__ import annotations


class ChurnError(Exception):
    """A failure that the user can understand and mend.

    `what` says what was found and what was expected, `where` names the file or setting, `fix` says what
    to do next. None of them may hold a row value, a note, an id or a secret.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str = "", fix: str = "") -> None:
        super().__init__(what)
        self.what, self.where, self.fix = what, where, fix

    def lines(self) -> list[str]:
        """The last words of a run: at most three lines."""
        parts = [("error", self.what), ("where", self.where), ("next", self.fix)]
        return [f"{label}: {' '.join(text.split())}" for label, text in parts if text]

    def __str__(self) -> str:
        return " | ".join(self.lines())

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.what, self.where, self.fix)


def _rebuild(kind: type[ChurnError], what: str, where: str, fix: str) -> ChurnError:
    return kind(what, where=where, fix=fix)


class ConfigError(ChurnError):
    """Wrong arguments or configuration."""

    exit_code = 2


class InputError(ChurnError):
    """The input breaks the table contract, or there is nothing to work on."""

    exit_code = 20


class GateError(ChurnError):
    """A quality gate was not met; what was published before stays."""

    exit_code = 21


class ResourceError(ChurnError):
    """A model file, endpoint, disk or cluster resource failed after its retries."""

    exit_code = 23


class ImpreciseError(ResourceError):
    """Vectors in int8 are too far from those in float32."""


class LockedError(ChurnError):
    """Another run holds the lock."""

    exit_code = 24


class Cancelled(BaseException):
    """A signal asked the run to end; no `except Exception` holds it up."""

    def __init__(self, signal: int) -> None:
        super().__init__(f"signal {signal}")
        self.exit_code = 128 + signal
