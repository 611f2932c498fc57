"""Remote calls against a real server on loopback, with the faults that real ones have."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from types import SimpleNamespace
from typing import Any

import fake_openai as fake
import openai.resources.chat  # noqa: F401 - the client imports it with its first call, within that call's time-out
import pytest

from churn_spark.errors import ConfigError, ResourceError
from churn_spark.notes import faults, meter, remote
from churn_spark.settings.notes import Remote

KEY = "sk-secret-0123456789"
ITEMS = [f"private note number {i}" for i in range(8)]


@pytest.fixture
def server() -> Iterator[fake.FakeOpenAI]:
    with fake.serving() as server:
        yield server


@pytest.fixture(autouse=True)
def _fresh_and_quick(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("FAKE_KEY", KEY)
    monkeypatch.setattr(remote, "FIRST_WAIT_SECONDS", 0.01)
    monkeypatch.setattr(remote, "MAX_WAIT_SECONDS", 0.3)
    remote.begin_task()
    caplog.set_level(logging.DEBUG)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds of every wait that was asked for; they are waited for all the same."""
    asked: list[float] = []
    sleep = asyncio.sleep

    async def noted(seconds: float) -> None:
        asked.append(seconds)
        await sleep(seconds)

    monkeypatch.setattr(remote.asyncio, "sleep", noted)
    return asked


@pytest.fixture
def stopped_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """No time passes for the meter, so that its waits do not depend on how busy this machine is."""
    for module in (meter, remote):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: 100.0, time=time.time))


def limits(server: fake.FakeOpenAI, **changes: Any) -> Remote:
    settings = {
        "base_url": server.url,
        "api_key_env": "FAKE_KEY",
        "requests_per_minute": 1e6,
        "timeout_seconds": 0.5,
    }
    return Remote(**{**settings, "max_attempts": 3, **changes})


def question(item: str) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": item}]}


def answer(body: dict[str, Any], item: str) -> remote.Answer:
    return remote.Answer(body["choices"][0]["message"]["content"], body["usage"]["total_tokens"])


ask = remote.Ask("/chat/completions", question, answer)


def call(server: fake.FakeOpenAI, items: list[str] = ITEMS, **changes: Any) -> list[remote.Result]:
    return remote.call_all(items, ask, limits=limits(server, **changes))


def asked(server: fake.FakeOpenAI) -> list[str]:
    return [body["messages"][-1]["content"] for body in server.bodies]


def good_result(item: str, calls: int = 1) -> remote.Result:
    return remote.Result(f"Length {len(item)}.", "ok", "", calls, 10)


def test_call_all_answers_in_order_and_asks_once_each(server: fake.FakeOpenAI) -> None:
    items = ["x" * n for n in range(1, 30)]
    assert call(server, items, concurrency=5) == [good_result(item) for item in items]
    assert sorted(asked(server)) == sorted(items)
    assert {authorization for authorization, _ in server.requests} == {f"Bearer {KEY}"}


def test_call_all_of_nothing_calls_nobody(server: fake.FakeOpenAI) -> None:
    assert call(server, []) == []
    assert server.requests == []


def test_call_all_works_inside_a_running_loop(server: fake.FakeOpenAI) -> None:
    async def notebook() -> list[remote.Result]:
        return call(server, ITEMS[:1])

    assert asyncio.run(notebook()) == [good_result(ITEMS[0])]


@pytest.mark.parametrize("concurrency", [1, 3])
def test_call_all_keeps_to_its_concurrency(server: fake.FakeOpenAI, concurrency: int) -> None:
    server.default = fake.good(seconds=0.08)
    call(server, concurrency=concurrency)
    assert server.most_open == concurrency


# -- faults ---------------------------------------------------------------------------------------------

PASSING = {
    "429": fake.status(429, Retry_After="0"),
    "500": fake.status(500),
    "503": fake.status(503, Retry_After="0"),
    "hang": fake.hang,
    "drip": fake.drip,
    "drip_headers": fake.drip_headers,
    "reset": fake.reset,
    "cut_short": fake.cut_short,
    "html": fake.raw(b"<html>gateway</html>", kind="text/html"),
    "truncated_json": fake.raw(fake.completion("Fine.")[:-20]),
    "nothing": fake.raw(b""),
    "no_object": fake.raw(b"[1, 2]"),
}


@pytest.mark.parametrize("fault", PASSING)
def test_call_all_outlives_a_passing_fault(server: fake.FakeOpenAI, fault: str) -> None:
    server.script = [PASSING[fault]]
    assert call(server, ITEMS[:1]) == [good_result(ITEMS[0], calls=2)]
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (fake.status(500), "http_500"),
        (fake.status(429), "rate_limit"),
        (fake.hang, "timeout"),
        (fake.drip, "timeout"),
        (fake.reset, "connection"),
        (fake.raw(b"<html>"), "not_json"),
    ],
)
def test_call_all_gives_up_a_row_after_its_attempts(
    server: fake.FakeOpenAI, reply: fake.Reply, error: str
) -> None:
    server.default = reply
    results = call(server, ITEMS[:2], max_attempts=2)
    assert results == [remote.Result(None, "failed", error, 2, 0)] * 2
    assert len(server.requests) == 4


def test_call_all_loses_no_row_and_repeats_no_answered_text(server: fake.FakeOpenAI) -> None:
    server.script = [*PASSING.values(), fake.status(400)]
    items = [f"note {i} " + "x" * i for i in range(30)]
    results = call(server, items, max_attempts=len(PASSING) + 1)
    assert [r.value for r in results if r.status == "ok"] == [
        f"Length {len(item)}." for item, r in zip(items, results, strict=True) if r.status == "ok"
    ]
    assert sorted(r.error for r in results if r.status != "ok") == ["http_400"]
    assert sum(r.calls for r in results) == len(server.requests) == len(items) + len(PASSING)


def test_call_all_does_not_repeat_a_refused_request(server: fake.FakeOpenAI) -> None:
    server.script = [fake.status(400)]
    assert call(server, ITEMS[:1]) == [remote.Result(None, "failed", "http_400", 1, 0)]
    assert len(server.requests) == 1


def test_call_all_reads_only_so_much(server: fake.FakeOpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "MAX_ANSWER_BYTES", 100_000)
    server.script = [fake.good("x" * 1_000_000)]
    assert call(server, ITEMS[:1]) == [remote.Result(None, "failed", "too_long", 1, 0)]


def test_call_all_counts_the_tokens_of_a_bad_answer(server: fake.FakeOpenAI) -> None:
    def never_content(body: dict[str, Any], item: str) -> remote.Answer:
        raise faults.BadAnswerError("empty", tokens=answer(body, item).tokens)

    assert remote.call_all(ITEMS[:1], ask._replace(read=never_content), limits=limits(server)) == [
        remote.Result(None, "failed", "empty", 1, 10)
    ]


def test_call_all_stops_at_a_mistake_in_ask_and_tells_its_kind(server: fake.FakeOpenAI) -> None:
    def wrong(body: dict[str, Any], item: str) -> remote.Answer:
        if item == ITEMS[1]:
            raise KeyError(item)
        return answer(body, item)

    results = remote.call_all(ITEMS, ask._replace(read=wrong), limits=limits(server, concurrency=1))
    assert results[:2] == [good_result(ITEMS[0]), remote.Result(None, "pending", "KeyError", 1)]
    assert results[2:] == [remote.Result(None, "pending", "KeyError")] * 6
    assert remote.problem("KeyError", limits(server)).what == "a remote call failed unexpectedly (KeyError)"


# -- waiting --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_call_all_honours_retry_after_up_to_its_cap(
    server: fake.FakeOpenAI, form: str, waits: list[float]
) -> None:
    later = (
        "3600" if form == "seconds" else format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    )
    server.script = [fake.status(429, Retry_After=later)]
    assert call(server, ITEMS[:1])[0].status == "ok"
    assert max(waits) == 0.3  # MAX_WAIT_SECONDS


def test_call_all_holds_everybody_after_a_429(
    server: fake.FakeOpenAI, waits: list[float], stopped_clock: None
) -> None:
    server.script = [fake.status(429, Retry_After="0.2")] * 2
    call(server, concurrency=2, max_attempts=5)
    assert (
        len([seconds for seconds in waits if seconds >= 0.2]) == 2 + 9
    )  # after each refusal, and before every call from then on


@pytest.mark.parametrize("value", ["", "soon", "-5", "nan", "inf", "Fri, 99 Nov"])
def test_retry_after_takes_any_value(value: str) -> None:
    assert faults._retry_after({"retry-after": value}) >= 0


@pytest.mark.parametrize(("partitions", "seconds"), [(1, 0.05), (2, 0.1)])
def test_call_all_paces_its_calls_at_its_share(
    server: fake.FakeOpenAI, partitions: int, seconds: float, waits: list[float], stopped_clock: None
) -> None:
    """Eight calls that are due at once start one interval after the other."""
    call(server, requests_per_minute=1200, partitions=partitions, concurrency=8 * partitions)
    assert sorted(waits)[-8:] == pytest.approx([seconds * i for i in range(8)])


# -- budgets and breaker --------------------------------------------------------------------------------


def test_call_all_stops_at_max_calls_and_a_later_run_goes_on(server: fake.FakeOpenAI) -> None:
    results = call(server, max_calls=5, concurrency=2)
    assert [r.status for r in results] == ["ok"] * 5 + ["pending"] * 3
    assert {r.error for r in results[5:]} == {"max_calls"}
    assert (
        call(server, ITEMS[5:], max_calls=5, concurrency=2)
        == [remote.Result(None, "pending", "max_calls")] * 3
    )
    assert len(server.requests) == 5
    remote.begin_task()  # another run
    assert call(server, ITEMS[5:], max_calls=5) == [good_result(item) for item in ITEMS[5:]]
    assert sorted(asked(server)) == sorted(ITEMS)


def test_call_all_counts_attempts_as_calls(server: fake.FakeOpenAI) -> None:
    server.default = fake.status(500)
    results = call(server, max_calls=4, concurrency=1)
    assert [(r.status, r.calls) for r in results[:3]] == [("failed", 3), ("pending", 1), ("pending", 0)]
    assert len(server.requests) == 4


def test_call_all_stops_at_max_tokens(server: fake.FakeOpenAI) -> None:
    results = call(server, max_tokens=30, concurrency=1)
    assert [r.status for r in results] == ["ok"] * 3 + ["pending"] * 5
    assert results[-1].error == "max_tokens"


def test_call_all_stops_at_max_seconds(server: fake.FakeOpenAI) -> None:
    server.default = fake.good(seconds=0.1)
    results = call(server, max_seconds=0.25, concurrency=1)
    assert results[0].status == "ok"
    assert results[-1] == remote.Result(None, "pending", "max_seconds")


STOPPING = {
    "authentication": fake.status(401),
    "quota": fake.status(429, error="insufficient_quota"),
    "not_found": fake.status(404),
}


@pytest.mark.parametrize("code", STOPPING)
def test_call_all_stops_for_good_reasons(server: fake.FakeOpenAI, code: str) -> None:
    server.default = STOPPING[code]
    stopped = remote.Result(None, "pending", code)
    assert call(server, concurrency=1) == [stopped._replace(calls=1), *[stopped] * 7]
    assert call(server, concurrency=1) == [stopped] * 8
    assert len(server.requests) == 1
    problem = remote.problem(code, limits(server), done="0 of 8 were answered")
    assert (problem.exit_code, problem.what) == (23, f"{remote.STOPS[code]}; 0 of 8 were answered")


def test_call_all_keeps_what_was_answered_before_the_stop(server: fake.FakeOpenAI) -> None:
    server.script = [fake.good("Fine."), fake.good("Fine.")]
    server.default = fake.status(403)
    results = call(server, concurrency=1)
    assert [r.status for r in results] == ["ok"] * 2 + ["pending"] * 6
    assert {r.error for r in results[2:]} == {"authentication"}
    assert {r.calls for r in call(server, ITEMS[2:], concurrency=1)} == {0}
    assert len(server.requests) == 3


def test_call_all_stops_when_nothing_gets_through(
    server: fake.FakeOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meter, "MAX_FAILURES_IN_A_ROW", 3)
    server.default = fake.status(500)
    results = call(server, max_attempts=2, concurrency=1)
    assert [r.status for r in results] == ["failed"] * 3 + ["pending"] * 5
    assert results[-1].error == "unavailable"
    assert len(server.requests) == 6


def test_call_all_tries_again_once_the_breaker_has_cooled(
    server: fake.FakeOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meter, "BREAK_SECONDS", 0.1)
    server.script = [fake.status(401)]
    assert call(server, ITEMS[:1])[0].status == "pending"
    time.sleep(0.15)
    assert call(server, ITEMS[:1]) == [good_result(ITEMS[0])]


# -- a run's budget -------------------------------------------------------------------------------------


def test_budget_hands_out_what_is_left(server: fake.FakeOpenAI) -> None:
    budget = remote.Budget(limits(server, max_calls=5, max_tokens=100, partitions=3))
    assert budget.left() == budget.limits
    budget.pay(calls=3, tokens=30)
    left = budget.left()
    assert (left.max_calls, left.max_tokens, left.max_seconds, left.partitions) == (2, 70, None, 2)
    budget.pay(calls=4, tokens=90)
    left = budget.left()
    assert (left.max_calls, left.max_tokens, left.partitions) == (0, 0, 1)
    assert call(server, max_calls=1)[1].error == "max_calls"
    assert remote.call_all(ITEMS, ask, limits=left) == [remote.Result(None, "pending", "max_calls")] * 8


def test_budget_of_time_runs_from_its_first_use(server: fake.FakeOpenAI) -> None:
    budget = remote.Budget(limits(server, max_seconds=0.2))
    assert remote.call_all(ITEMS[:1], ask, limits=budget.left()) == [good_result(ITEMS[0])]
    time.sleep(0.2)
    assert remote.call_all(ITEMS[:1], ask, limits=budget.left())[0].error == "max_seconds"


def test_begin_task_forgets_what_an_earlier_task_spent(server: fake.FakeOpenAI) -> None:
    assert [r.status for r in call(server, ITEMS[:2], max_calls=1)] == ["ok", "pending"]
    remote.begin_task()
    assert [r.status for r in call(server, ITEMS[:2], max_calls=1)] == ["ok", "pending"]


# -- secrets --------------------------------------------------------------------------------------------


def test_call_all_tells_neither_key_nor_note(
    server: fake.FakeOpenAI, caplog: pytest.LogCaptureFixture
) -> None:
    server.script = [*PASSING.values(), fake.status(400), fake.status(422)]
    results = call(server, max_attempts=4)
    server.default = fake.status(401)
    results += call(server)
    told = caplog.text + repr([r._replace(value=None) for r in results])
    assert "stopped=authentication" in told
    assert KEY not in told
    assert "private note" not in told


def test_check_wants_a_key_for_the_public_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FAKE_KEY")
    public = Remote(api_key_env="FAKE_KEY")
    with pytest.raises(ConfigError, match="FAKE_KEY"):
        remote.check(public)
    assert remote.call_all(ITEMS[:1], ask, limits=public) == [remote.Result(None, "pending", "no_key")]
    monkeypatch.setenv("FAKE_KEY", KEY)
    remote.check(public)


def test_call_all_needs_no_key_for_a_local_endpoint(
    server: fake.FakeOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FAKE_KEY")
    assert call(server, ITEMS[:1]) == [good_result(ITEMS[0])]


def test_check_names_the_extra_where_openai_is_missing(
    server: fake.FakeOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote.check(limits(server))
    monkeypatch.setitem(__import__("sys").modules, "openai", None)
    with pytest.raises(ResourceError) as caught:
        remote.check(limits(server))
    assert "churn-spark[openai]" in caught.value.fix
    assert {r.error for r in call(server)} == {"no_package"}
