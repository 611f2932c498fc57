"""Calls to a paid endpoint that can be trusted: one owner of retries, pacing, budgets and circuit breaker.

`call_all` asks for many items at once and gives one Result for each, in order. It never raises for what an
endpoint does, so that no answer is lost with a Spark task. Its state (calls and tokens spent, the breaker)
lives as long as a task (`begin_task`), elsewhere as long as the process. Every task keeps to its share: the
limits divided by `partitions`. What a run has `Spent` is known to its driver, which hands out what is `left`.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import math
import os
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from email.utils import parsedate_to_datetime
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

from churn_spark.errors import ChurnError, ConfigError, ResourceError
from churn_spark.settings.sections import Remote

if TYPE_CHECKING:
    from openai import AsyncOpenAI

log = logging.getLogger(__name__)
T = TypeVar("T")

FIRST_WAIT_SECONDS = 1.0  # before the second attempt; doubled for each one after
MAX_WAIT_SECONDS = 60.0  # whatever Retry-After asks for
MAX_FAILURES_IN_A_ROW = 10  # items given up one after another, before the endpoint counts as unavailable
BREAK_SECONDS = 60.0  # how long an open breaker refuses, before the next call may try again
MAX_ANSWER_BYTES = 64_000_000

# Why calls are pending; any other code of a pending one is the name of an exception that nobody foresaw.
BUDGETS = {
    "max_calls": "the budget of calls is spent",
    "max_tokens": "the budget of tokens is spent",
    "max_seconds": "the budget of time is spent",
}
STOPS = BUDGETS | {
    "no_package": "the openai package is not installed",
    "no_key": "no API key is set",
    "authentication": "the endpoint refuses the API key",
    "quota": "the endpoint's quota is used up",
    "not_found": "the endpoint does not know this path or model",
    "unavailable": f"{MAX_FAILURES_IN_A_ROW} calls in a row failed after all their attempts",
}


class Answer(NamedTuple):
    """What one request gave, and the tokens it is billed with."""

    value: Any
    tokens: int = 0


class Result(NamedTuple):
    """What became of one item; `value` is None unless it is ok.

    failed: given up for the reason in `error`. pending: a budget or the breaker (named in `error`) stopped it
    first, so a later run may ask.
    """

    value: Any
    status: Literal["ok", "failed", "pending"]
    error: str = ""
    calls: int = 0
    tokens: int = 0


class BadAnswerError(Exception):
    """An answer that cannot be used. Asking again costs again, so only garbled transport is worth it."""

    def __init__(self, code: str, *, tokens: int = 0, worth_retrying: bool = False) -> None:
        super().__init__(code)
        self.code, self.tokens, self.worth_retrying = code, tokens, worth_retrying


Ask = Callable[["AsyncOpenAI", Any], Awaitable[Answer]]


def call_all(items: Sequence[Any], ask: Ask, *, limits: Remote) -> list[Result]:
    """Ask for every item; one Result each, in order.

    `ask(client, item)` makes exactly one request. It is called again after a time-out, a lost connection, a
    429, a 5xx or an answer that is no JSON, at most `max_attempts` times in all; each call is cut off after
    `timeout_seconds`, whatever trickles in. Budgets are looked at before each call, so that at most
    `concurrency` answers come after one is spent. Where the endpoint stops the work (key, quota, unknown
    model, unavailable), the rest is pending, and so is all that is asked in the following minute.
    """
    meter = _meter(limits)
    with meter.lock:  # one batch at a time, or the limits would hold for each
        if items and (obstacle := _obstacle(limits)):
            meter.stop(obstacle)
        if meter.is_stopped():
            return [Result(None, "pending", meter.stop_code) for _ in items]
        return _run(_answer_all(items, ask, meter))


def problem(code: str, limits: Remote, *, done: str = "") -> ChurnError:
    """The error that ends a run whose calls are pending for the reason `code`; `done` says how far it came."""
    what = STOPS.get(code, f"a remote call failed unexpectedly ({code})")
    if code == "no_key":
        return ConfigError(
            f"the environment variable {limits.api_key_env} holds no API key",
            where="text.*.remote.api_key_env",
            fix="set it on the driver and the executors, or name a base_url that needs none",
        )
    if code == "no_package":
        return ResourceError(what, fix="pip install 'churn-spark[openai]'")
    what = f"{what}; {done}" if done else what
    if code in BUDGETS:
        where = f"text.*.remote.{code} = {getattr(limits, code)}, in shares of 1/{limits.partitions}"
        return ResourceError(
            what, where=where, fix="run it again: answers are kept, and it goes on from there"
        )
    return ResourceError(
        what,
        where=limits.base_url or "api.openai.com",
        fix=f"check ${limits.api_key_env}, the base_url and the model; what was answered is kept",
    )


def check(limits: Remote) -> None:
    """Raise ConfigError or ResourceError where this machine could not make a call."""
    if obstacle := _obstacle(limits):
        raise problem(obstacle, limits)


async def read_json(request: AbstractAsyncContextManager[Any]) -> dict[str, Any]:
    """Send a request such as `client.embeddings.with_streaming_response.create(...)`; return its JSON.

    The body is read here, not by the client, so that its size is bounded. Raises BadAnswerError where it is
    too large or no JSON object.
    """
    content = bytearray()
    async with request as response:
        async for part in response.iter_bytes():
            content += part
            if len(content) > MAX_ANSWER_BYTES:
                raise BadAnswerError("too_long")
    try:
        answer = json.loads(content)
    except ValueError:
        raise BadAnswerError("not_json", worth_retrying=True) from None
    if not isinstance(answer, dict):
        raise BadAnswerError("not_json", worth_retrying=True)
    return answer


# -- a run's budget -------------------------------------------------------------------------------------


class Budget:
    """What a run may spend at one endpoint, in all its processes; kept by the driver, sent to the tasks."""

    def __init__(self, limits: Remote) -> None:
        self.limits, self.since = limits, time.time()
        self.calls = self.tokens = 0

    def pay(self, *, calls: int, tokens: int) -> None:
        self.calls, self.tokens = self.calls + calls, self.tokens + tokens

    def left(self) -> Remote:
        """The limits less what was spent until now, for no more partitions than may call at once, or at all."""
        limits, calls = self.limits, _less(self.limits.max_calls, self.calls)
        partitions = min(limits.partitions, limits.concurrency)
        if calls is not None:
            partitions = min(partitions, max(1, int(calls)))
        budgets = {
            "max_calls": calls,
            "max_tokens": _less(limits.max_tokens, self.tokens),
            "max_seconds": _less(limits.max_seconds, time.time() - self.since),
        }
        return limits.model_copy(update={**budgets, "partitions": partitions})


def _less(budget: float | None, spent: float) -> float | None:
    return None if budget is None else max(0, budget - spent)


def begin_task() -> None:
    """Forget what this process spent in an earlier task: Spark uses a Python worker again, for other runs too."""
    _meter.cache_clear()


# -- state ----------------------------------------------------------------------------------------------


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


@cache
def _meter(limits: Remote) -> Meter:
    return Meter(limits)


# -- calls ----------------------------------------------------------------------------------------------


def _run(work: Coroutine[Any, Any, T]) -> T:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as pool:  # a notebook runs a loop of its own in this thread
        return pool.submit(asyncio.run, work).result()


async def _answer_all(items: Sequence[Any], ask: Ask, meter: Meter) -> list[Result]:
    places = asyncio.Semaphore(meter.concurrency)
    async with _client(meter.limits) as client:

        async def in_turn(item: Any) -> Result:
            async with places:
                return await _answer(item, ask, client, meter)

        return list(await asyncio.gather(*map(in_turn, items)))


async def _answer(item: Any, ask: Ask, client: AsyncOpenAI, meter: Meter) -> Result:
    fault, tokens = _Fault(""), 0
    for attempt in range(1, meter.limits.max_attempts + 1):
        if refusal := await meter.may_call():
            return Result(None, "pending", refusal, attempt - 1, tokens)
        try:
            async with asyncio.timeout(meter.limits.timeout_seconds):
                answer = await ask(client, item)
        except Exception as problem:
            fault = _fault(problem)
        else:
            meter.note_answer(answer.tokens)
            return Result(answer.value, "ok", "", attempt, tokens + answer.tokens)
        tokens += fault.tokens
        meter.tokens += fault.tokens
        if fault.action == "stop":
            meter.stop(fault.code)
            return Result(None, "pending", fault.code, attempt, tokens)
        if fault.action == "fail":
            return Result(None, "failed", fault.code, attempt, tokens)
        if attempt < meter.limits.max_attempts:
            await _wait(fault, item, attempt, meter)
    meter.note_failure()
    return Result(None, "failed", fault.code, meter.limits.max_attempts, tokens)


async def _wait(fault: _Fault, item: Any, attempt: int, meter: Meter) -> None:
    """Wait before the next attempt, twice as long each time, with jitter that is a function of the item."""
    digest = hashlib.blake2b(f"{attempt}:{item!r}".encode("utf-8", "replace"), digest_size=8).digest()
    jitter = 0.5 + int.from_bytes(digest) / 2**64
    seconds = max(fault.retry_after, FIRST_WAIT_SECONDS * 2 ** (attempt - 1) * jitter)
    seconds = min(seconds, MAX_WAIT_SECONDS, max(0.0, meter.deadline - time.monotonic()))
    if fault.code == "rate_limit":
        meter.hold(seconds)
    await asyncio.sleep(seconds)


class _Fault(NamedTuple):
    code: str
    action: Literal["retry", "fail", "stop"] = "retry"
    retry_after: float = 0.0
    tokens: int = 0


def _fault(problem: Exception) -> _Fault:
    """Say what went wrong in a word, and what to do about it. The exception itself may quote the note."""
    import openai

    if isinstance(problem, BadAnswerError):
        return _Fault(problem.code, "retry" if problem.worth_retrying else "fail", tokens=problem.tokens)
    if isinstance(problem, TimeoutError | openai.APITimeoutError):
        return _Fault("timeout")
    if isinstance(problem, openai.APIStatusError):
        return _status_fault(problem)
    # While a body is read, the client lets its HTTP library's errors through: httpx, or httpx2 of late.
    from_http = type(problem).__module__.startswith("httpx")
    if from_http or isinstance(problem, openai.APIConnectionError | OSError):
        return _Fault("connection")
    return _Fault(type(problem).__name__, "stop")


def _status_fault(problem: Any) -> _Fault:
    status = int(problem.status_code)
    if status in (401, 403):
        return _Fault("authentication", "stop")
    if status == 404:
        return _Fault("not_found", "stop")
    if status == 429 and "insufficient_quota" in (problem.code, problem.type):
        return _Fault("quota", "stop")
    if status == 429:
        return _Fault("rate_limit", retry_after=_retry_after(problem.response.headers))
    if status in (408, 409) or status >= 500:
        return _Fault(f"http_{status}", retry_after=_retry_after(problem.response.headers))
    return _Fault(f"http_{status}", "fail")


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


def _obstacle(limits: Remote) -> str:
    """Why this process cannot make a call at all, or an empty string."""
    if find_spec("openai") is None:
        return "no_package"
    return "" if limits.base_url or _key(limits) else "no_key"


def _key(limits: Remote) -> str:
    return os.environ.get(limits.api_key_env, "").strip()


def _client(limits: Remote) -> AsyncOpenAI:
    import openai

    for name in ("openai", "httpx", "httpx2", "httpcore", "httpcore2"):
        logging.getLogger(name).setLevel(logging.WARNING)  # at DEBUG they log whole requests, notes included
    return openai.AsyncOpenAI(
        api_key=_key(limits) or "none",
        base_url=limits.base_url,
        max_retries=0,
        timeout=limits.timeout_seconds,
    )
