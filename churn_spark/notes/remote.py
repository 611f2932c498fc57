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
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from churn_spark.errors import ChurnError, ConfigError, ResourceError
from churn_spark.notes.faults import BadAnswerError, Fault, fault_of
from churn_spark.notes.meter import MAX_FAILURES_IN_A_ROW, RENAMED, Meter
from churn_spark.settings.notes import Remote

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
    "redirect": "the endpoint redirects to another address, to which no note is sent",
    "unavailable": f"{MAX_FAILURES_IN_A_ROW} calls in a row failed after all their attempts",
}


REFUSED_FIX = "leave the parameter out (text.*.remote.omit), or add what it wants (text.*.remote.extra_body)"
# Why the answers of a first batch cannot be used, and the way out.
ANSWERS = {
    "thinking": ("they hold thoughts instead of a summary", "switch thinking off by text.*.remote.extra_body, "
                 "e.g. {reasoning_effort: low}, or raise text.summarizer.max_new_tokens"),
    "wrong_length": ("vectors of another length:", "set text.embedder.dimension to that length"),
    "empty": ("they are empty", "try another model, or raise text.summarizer.max_new_tokens"),
    "echo": ("they repeat the question", "name a model that follows instructions"),
    "language": ("they are in another language than the notes", "name a model that knows the notes' language"),
    "script": ("they are in another script than the notes", "name a model that knows the notes' language"),
    "off_topic": ("they share no word with the notes", "name a model that follows instructions"),
    "no_words": ("they hold no words", "name a model that follows instructions"),
    "not_vectors": ("they hold no vectors", "check that base_url and model are an embedding endpoint's"),
}  # fmt: skip


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


class Ask(NamedTuple):
    """How to ask an endpoint for an item: where, the JSON to send, and how to read what comes back.

    `read(answer, item)` raises BadAnswerError. `optional` names parameters that a request can do without.
    """

    path: str
    body: Callable[[Any], dict[str, Any]]
    read: Callable[[dict[str, Any], Any], Answer]
    optional: tuple[str, ...] = ()


def call_all(items: Sequence[Any], ask: Ask, *, limits: Remote) -> list[Result]:
    """Ask for every item; one Result each, in order.

    A request is sent again after a time-out, a lost connection, a 429, a 5xx or an answer that is no JSON, at
    most `max_attempts` times in all, and once more without a parameter that the endpoint refuses by name; each
    call is cut off after `timeout_seconds`, whatever trickles in. Budgets are looked at before each call, so
    that at most `concurrency` answers come after one is spent. Where the endpoint stops the work (key, quota,
    unknown model, redirect, unavailable), or ten calls were refused alike before the first answer, the rest is
    pending, and so is all that is asked in the following minute.
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
    what, fix = _explained(code, limits)
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
        what, where=limits.base_url or "api.openai.com", fix=f"{fix}; what was answered is kept"
    )


def _explained(code: str, limits: Remote) -> tuple[str, str]:
    """What stopped the work, and the way out."""
    status, *names = code.split(":")
    if status.startswith("http_"):
        named = f" ({' '.join(names)})" if names else ""
        return f"the endpoint refuses every request with {status}{named}", REFUSED_FIX
    if status in ANSWERS:
        what, fix = ANSWERS[status]
        return f"the first answers cannot be used: {what}{' ' if names else ''}{':'.join(names)}", fix
    fix = f"check ${limits.api_key_env}, the base_url and the model"
    return STOPS.get(code, f"a remote call failed unexpectedly ({code})"), fix


def check(limits: Remote) -> None:
    """Raise ConfigError or ResourceError where this machine could not make a call."""
    if obstacle := _obstacle(limits):
        raise problem(obstacle, limits)


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
    """One call alone, then a first batch that is judged, then the rest."""
    n, places = len(items), asyncio.Semaphore(meter.concurrency)
    first = [] if meter.answers >= meter.first_batch else [1, meter.first_batch]
    results: list[Result] = []
    async with _client(meter.limits) as client:

        async def in_turn(item: Any) -> Result:
            async with places:
                return await _answer(item, ask, client, meter, n)

        for end in [*(end for end in first if end < n), n]:
            results += await asyncio.gather(*map(in_turn, items[len(results) : end]))
            if end == meter.first_batch:
                meter.judge(n_items=n)
    return results


async def _answer(item: Any, ask: Ask, client: AsyncOpenAI, meter: Meter, n_items: int) -> Result:
    calls = attempts = tokens = 0
    while True:
        if refusal := await meter.may_call():
            return Result(None, "pending", refusal, calls, tokens)
        calls, body = calls + 1, _body(item, ask, meter)
        outcome = await _outcome(item, ask, client, body, meter.limits)
        tokens += outcome.tokens
        if isinstance(outcome, Answer):
            meter.note_answer(outcome.tokens)
            return Result(outcome.value, "ok", "", calls, tokens)
        meter.tokens += outcome.tokens
        if outcome.parameter in body:
            meter.leave_out(outcome.parameter)
            continue
        attempts += 1
        if outcome.action != "retry" or attempts >= meter.limits.max_attempts:
            return Result(None, _given_up(outcome, meter, n_items), outcome.code, calls, tokens)
        await _wait(outcome, item, attempts, meter)


def _body(item: Any, ask: Ask, meter: Meter) -> dict[str, Any]:
    """The request for an item, with what the settings add and without what they or the endpoint refuse."""
    body = {**ask.body(item), **meter.limits.extra_body}
    for name in meter.limits.omit:
        body.pop(name, None)
    for name in meter.left_out:
        value, newer = body.pop(name, None), RENAMED.get(name)
        if newer and value is not None and newer not in meter.left_out:
            body[newer] = value
    return body


async def _outcome(
    item: Any, ask: Ask, client: AsyncOpenAI, body: dict[str, Any], limits: Remote
) -> Answer | Fault:
    try:
        async with asyncio.timeout(limits.timeout_seconds):
            return ask.read(await _post(client, ask.path, body), item)
    except Exception as problem:
        return fault_of(problem, optional=(*ask.optional, *RENAMED.values()))


def _given_up(fault: Fault, meter: Meter, n_items: int) -> Literal["failed", "pending"]:
    if fault.action == "stop":
        meter.stop(fault.code)
        return "pending"
    if fault.action == "fail":
        meter.note_refusal(fault.code, n_items=n_items)
    else:
        meter.note_failure()
    return "failed"


async def _post(client: AsyncOpenAI, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """Send one request; return its JSON. A redirect is not followed, since the note would go with it.

    The answer is read here, not by the client, so that its size is bounded. Raises BadAnswerError where it is
    too large or no JSON object.
    """
    options: Any = {"headers": {"X-Stainless-Raw-Response": "stream"}, "follow_redirects": False}
    response: Any = await client.post(path, cast_to=object, body=body, options=options)
    content = bytearray()
    try:
        async for part in response.iter_bytes():
            content += part
            if len(content) > MAX_ANSWER_BYTES:
                raise BadAnswerError("too_long")
    finally:
        await response.close()
    try:
        answer = json.loads(content)
    except ValueError:
        raise BadAnswerError("not_json", worth_retrying=True) from None
    if not isinstance(answer, dict):
        raise BadAnswerError("not_json", worth_retrying=True)
    return answer


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
    key, address = _key(limits) or "none", urlsplit(limits.base_url or "")
    return openai.AsyncOpenAI(
        api_key=key,
        base_url=urlunsplit(address._replace(query="")) or None,
        default_query=dict(parse_qsl(address.query)),  # Azure's api-version
        default_headers={"api-key": key} if (address.hostname or "").endswith(".azure.com") else None,
        max_retries=0,
        timeout=limits.timeout_seconds,
    )
