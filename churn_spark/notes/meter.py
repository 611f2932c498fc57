"""What one process may still ask of one endpoint: its share of rate and budgets, and a circuit breaker."""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time

from churn_spark.settings.sections import Remote

log = logging.getLogger(__name__)

MAX_FAILURES_IN_A_ROW = 10  # items given up one after another, before the endpoint counts as unavailable
BREAK_SECONDS = 60.0  # how long an open breaker refuses, before the next call may try again


class Meter:
    """What was spent on one endpoint, when the next call may start, and whether the breaker is open."""

    def __init__(self, limits: Remote) -> None:
        share = 1 / limits.partitions
        self.limits = limits
        self.lock = threading.Lock()
        self.concurrency = max(1, int(limits.concurrency * share))
        self.interval = 60 / (limits.requests_per_minute * share)
        self.max_calls = _or_endless(limits.max_calls) * share
        self.max_tokens = _or_endless(limits.max_tokens) * share
        self.deadline = time.monotonic() + _or_endless(limits.max_seconds)
        self.calls = self.tokens = self.failures_in_a_row = 0
        self.next_start = self.closed_until = 0.0
        self.stop_code = ""

    async def may_call(self) -> str:
        """Wait for this call's turn; return why it may not be made, or an empty string."""
        now = time.monotonic()
        start = max(now, self.next_start)
        if refusal := self._refusal(start):
            return refusal
        self.calls += 1
        self.next_start = start + self.interval
        await asyncio.sleep(start - now)
        if self.is_stopped():
            self.calls -= 1
            return self.stop_code
        return ""

    def _refusal(self, start: float) -> str:
        if self.is_stopped():
            return self.stop_code
        if self.calls + 1 > self.max_calls:
            return "max_calls"
        if self.tokens >= self.max_tokens:
            return "max_tokens"
        return "max_seconds" if start >= self.deadline else ""

    def note_answer(self, tokens: int) -> None:
        self.tokens += tokens
        self.failures_in_a_row = 0

    def note_failure(self) -> None:
        self.failures_in_a_row += 1
        if self.failures_in_a_row >= MAX_FAILURES_IN_A_ROW:
            self.stop("unavailable")

    def hold(self, seconds: float) -> None:
        """Let no call start before this many seconds: a rate limit is everybody's."""
        self.next_start = max(self.next_start, time.monotonic() + seconds)

    def stop(self, code: str) -> None:
        if not self.is_stopped():
            log.error("step=remote stopped=%s calls=%d tokens=%d", code, self.calls, self.tokens)
        self.stop_code, self.closed_until = code, time.monotonic() + BREAK_SECONDS
        self.failures_in_a_row = 0

    def is_stopped(self) -> bool:
        return time.monotonic() < self.closed_until


def _or_endless(budget: float | None) -> float:
    return math.inf if budget is None else budget
