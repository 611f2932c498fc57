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
import os
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

from churn_spark.errors import ChurnError, ConfigError, ResourceError
from churn_spark.notes.faults import BadAnswerError, Fault, fault_of
from churn_spark.notes.meter import MAX_FAILURES_IN_A_ROW, Meter
from churn_spark.settings.sections import Remote

if TYPE_CHECKING:
    from openai import AsyncOpenAI

log = logging.getLogger(__name__)
T = TypeVar("T")

FIRST_WAIT_SECONDS = 1.0  # before the second attempt; doubled for each one after
MAX_WAIT_SECONDS = 60.0  # whatever Retry-After asks for
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
    fault, tokens = Fault(""), 0
    for attempt in range(1, meter.limits.max_attempts + 1):
        if refusal := await meter.may_call():
            return Result(None, "pending", refusal, attempt - 1, tokens)
        try:
            async with asyncio.timeout(meter.limits.timeout_seconds):
                answer = await ask(client, item)
        except Exception as problem:
            fault = fault_of(problem)
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


async def _wait(fault: Fault, item: Any, attempt: int, meter: Meter) -> None:
    """Wait before the next attempt, twice as long each time, with jitter that is a function of the item."""
    digest = hashlib.blake2b(f"{attempt}:{item!r}".encode("utf-8", "replace"), digest_size=8).digest()
    jitter = 0.5 + int.from_bytes(digest) / 2**64
    seconds = max(fault.retry_after, FIRST_WAIT_SECONDS * 2 ** (attempt - 1) * jitter)
    seconds = min(seconds, MAX_WAIT_SECONDS, max(0.0, meter.deadline - time.monotonic()))
    if fault.code == "rate_limit":
        meter.hold(seconds)
    await asyncio.sleep(seconds)


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
