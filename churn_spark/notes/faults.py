"""What went wrong with a call, in a word, and what to do about it."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime
from typing import Any, Literal, NamedTuple


class BadAnswerError(Exception):
    """An answer that cannot be used. Asking again costs again, so only garbled transport is worth it."""

    def __init__(self, code: str, *, tokens: int = 0, worth_retrying: bool = False) -> None:
        super().__init__(code)
        self.code, self.tokens, self.worth_retrying = code, tokens, worth_retrying


class Fault(NamedTuple):
    code: str
    action: Literal["retry", "fail", "stop"] = "retry"
    retry_after: float = 0.0
    tokens: int = 0


def fault_of(problem: Exception) -> Fault:
    """Say what went wrong in a word, and what to do about it. The exception itself may quote the note."""
    import openai

    if isinstance(problem, BadAnswerError):
        return Fault(problem.code, "retry" if problem.worth_retrying else "fail", tokens=problem.tokens)
    if isinstance(problem, TimeoutError | openai.APITimeoutError):
        return Fault("timeout")
    if isinstance(problem, openai.APIStatusError):
        return _status_fault(problem)
    # While a body is read, the client lets its HTTP library's errors through: httpx, or httpx2 of late.
    from_http = type(problem).__module__.startswith("httpx")
    if from_http or isinstance(problem, openai.APIConnectionError | OSError):
        return Fault("connection")
    return Fault(type(problem).__name__, "stop")


def _status_fault(problem: Any) -> Fault:
    status = int(problem.status_code)
    if status in (401, 403):
        return Fault("authentication", "stop")
    if status == 404:
        return Fault("not_found", "stop")
    if status == 429 and "insufficient_quota" in (problem.code, problem.type):
        return Fault("quota", "stop")
    if status == 429:
        return Fault("rate_limit", retry_after=_retry_after(problem.response.headers))
    if status in (408, 409) or status >= 500:
        return Fault(f"http_{status}", retry_after=_retry_after(problem.response.headers))
    return Fault(f"http_{status}", "fail")


def _retry_after(headers: Any) -> float:
    """Seconds of Retry-After, given as a number or as a date (RFC 9110); 0 where there is none."""
    value = headers.get("retry-after", "")
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return 0.0
