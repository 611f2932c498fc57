"""What one process may still ask of one endpoint: its share of rate and budgets, and a circuit breaker."""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from churn_spark.notes.faults import ABOUT_THE_NOTE
from churn_spark.settings.notes import Remote

log = logging.getLogger(__name__)

MAX_FAILURES_IN_A_ROW = 10  # items given up one after another, before the endpoint counts as unavailable
BREAK_SECONDS = 60.0  # how long an open breaker refuses, before the next call may try again


FIRST_BATCH = 10  # calls that are judged before the rest is paid for
FEW = 15  # items that are not worth stopping for what is wrong with the answers
RENAMED = {"max_tokens": "max_completion_tokens"}  # as OpenAI's newer models call it


class Meter:
    """What was spent on one endpoint, when the next call may start, and whether the breaker is open.

    `answers` and `refusals` are what it gave so far in this task, `left_out` the parameters it refuses.
    """

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
        self.first_batch = max(3, FIRST_BATCH // limits.partitions)
        self.answers, self.refusals = 0, Counter[str]()
        self.left_out: dict[str, None] = {}  # in the order in which they were refused

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
        self.answers += 1
        self.failures_in_a_row = 0

    def note_refusal(self, code: str, *, n_items: int) -> None:
        """Count a call that need not be repeated; stop after ten alike without an answer.

        What is wrong with a note says nothing about the next one, and few items are not worth stopping for:
        they may be what is left of many.
        """
        self.refusals[code] += 1
        is_for_all = code.startswith("http_") or (code not in ABOUT_THE_NOTE and n_items > FEW)
        if is_for_all and not self.answers and self.refusals[code] >= self.first_batch:
            self.stop(code)

    def judge(self, *, n_items: int) -> None:
        """Stop before the many are paid for, where most of the first batch could not be used."""
        code, n_refused = max(self.refusals.items(), key=lambda item: item[1], default=("", 0))
        if (
            n_items >= 10 * self.first_batch
            and 2 * n_refused > self.first_batch
            and code not in ABOUT_THE_NOTE
        ):
            self.stop(code)

    def leave_out(self, parameter: str) -> None:
        """Ask without a parameter from now on, or by its newer name."""
        if parameter not in self.left_out:
            log.warning("step=remote parameter=%s refused=true action=leave_out", parameter)
        self.left_out[parameter] = None

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


MAX_TOKENS_A_CALL = 10_000_000  # no endpoint takes more, so more was not counted
CHARS_PER_TOKEN = 4


def billed(answer: Mapping[str, Any], *, chars: int) -> int:
    """The tokens an answer says it costs; where it says nothing credible, an estimate from the text."""
    usage = answer.get("usage")
    total = usage.get("total_tokens") if isinstance(usage, Mapping) else None
    credible = isinstance(total, int) and not isinstance(total, bool) and 0 < total <= MAX_TOKENS_A_CALL
    return total if credible else chars // CHARS_PER_TOKEN + 1  # type: ignore[return-value]
