"""The prepare job against a real server on loopback: faults, budgets, stops and secrets, seen from outside."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fake_openai as fake
import pandas as pd
import pytest

from churn_spark.cli import main

KEY = "sk-secret-0123456789"  # set in conftest
PRIVATE = (
    "jane.doe@example.com",
    "415-555-0132",
    "4111 1111 1111 1111",
    "DE89370400440532013000",
    "10.20.30.40",
)
FAULTS = {
    "429": fake.status(429, Retry_After="1"),
    "500": fake.status(500),
    "hang": fake.hang,
    "drip": fake.drip,
    "reset": fake.reset,
    "html": fake.raw(b"<html>gateway</html>", kind="text/html"),
    "truncated": fake.raw(fake.completion("Fine.")[:-20]),
    "nothing": fake.raw(b""),
}
REFUSED = {
    "too_long": fake.good("word " * 200_000),
    "echo": fake.echo,
    "html": fake.good("<html>x</html>"),
    "empty": fake.good(" "),
}


@pytest.fixture
def server() -> Iterator[fake.FakeOpenAI]:
    with fake.serving() as server:
        server.default = fake.both
        yield server


def note(i: int) -> str:
    return f"private story {i}: " + "x" * i + f" please write to {PRIVATE[i % 5]} soon"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """40 customers, 20 different notes."""
    path = tmp_path / "customers.csv"
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["customer_id", "age", "tenure", "spend_rate", "plan_type", "churn", "ticket_notes"])
        rows.writerows([f"C{i:03d}", 30, 5, 20.5, "basic", i % 2, note(i % 20)] for i in range(40))
    return path


def prepare(
    server: fake.FakeOpenAI, table: Path, *, chunk_tokens: int = 10_000, **remote: Any
) -> tuple[int, dict[str, Any]]:
    """Run the job on an endpoint for summaries and vectors; its exit code and record."""
    limits = {"base_url": server.url, "api_key_env": "FAKE_KEY", "requests_per_minute": 1e6,
              "timeout_seconds": 3.0, "max_attempts": len(FAULTS) + 1, "concurrency": 8,
              "price_per_million_tokens": 50_000}  # fmt: skip
    embedder = {"name": "openai", "model": "m", "dimension": 2, "remote": limits}
    summarizer = {"name": "openai", "model": "m", "min_chars": 20, "remote": limits | remote}
    text = {
        "summarizer": summarizer,
        "embedder": embedder,
        "max_error_share": 0.3,
        "chunk_tokens": chunk_tokens,
    }
    config = table.with_name("mine.yaml")
    config.write_text(json.dumps({"text": text}))
    output = table.with_name("out")
    arguments = ["--config", str(config), "--raw", str(table), "--output", str(output)]
    code = main(["prepare", *arguments])
    newest = max((output / "_runs").glob("*/run.json"), key=lambda p: p.stat().st_mtime)
    return code, json.loads(newest.read_text())


@contextmanager
def event_log(spark: Any, folder: Path) -> Iterator[None]:
    """Spark's own event log, of what happens inside."""
    folder.mkdir(parents=True)
    context, jvm = spark.sparkContext._jsc.sc(), spark._jvm
    conf = context.conf().clone().set("spark.eventLog.compress", "false")
    place = jvm.java.net.URI(folder.as_uri())
    listener = jvm.org.apache.spark.scheduler.EventLoggingListener(
        "events", jvm.scala.Option.empty(), place, conf
    )
    listener.start()
    context.addSparkListener(listener)
    yield
    context.listenerBus().waitUntilEmpty()
    context.removeSparkListener(listener)
    listener.stop()


def priced(table: Path, capfd: pytest.CaptureFixture[str]) -> list[float]:
    """What a dry run says of the run before: calls, billed tokens, cost."""
    capfd.readouterr()
    places = ["--raw", str(table), "--output", str(table.with_name("out"))]
    assert main(["prepare", "-q", "--config", str(table.with_name("mine.yaml")), *places, "--dry-run"]) == 0
    told = re.search(r"calls ([\d.,]+) · billed_tokens ([\d.,]+) · cost ([\d.,]+)", capfd.readouterr().out)
    assert told is not None
    return [float(number.replace(",", "")) for number in told.groups()]


def asked(server: fake.FakeOpenAI) -> list[str]:
    """The notes that summaries were asked for."""
    return [body["messages"][-1]["content"] for body in server.bodies if "messages" in body]


def records(table: Path) -> list[dict[str, Any]]:
    return [json.loads(p.read_text()) for p in sorted((table.with_name("out") / "_runs").glob("*/run.json"))]


def cached(table: Path, kind: str) -> pd.DataFrame:
    """What the cache holds of one kind: answers, and rows that tell of errors."""
    return pd.read_parquet(table.with_name("out") / "churn_notes" / f"kind={kind}")


def test_no_fault_loses_a_row_or_pays_for_a_text_twice(
    spark, server: fake.FakeOpenAI, table: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    server.script = [*FAULTS.values(), *REFUSED.values()]
    with event_log(spark, table.parent / "out" / "events"):
        code, record = prepare(server, table)
    assert "SparkListenerTaskEnd" in next((table.parent / "out" / "events").rglob("events*")).read_text()
    assert code == 0, record["reason"]
    text, first = record["text"], asked(server)
    assert text["errors"] == dict.fromkeys(REFUSED, 1)
    assert (text["notes"], text["distinct"], text["failed"], text["summarized"]) == (40, 20, 8, 32)
    assert len(set(first)) == 20
    assert len(first) == 20 + len(FAULTS)
    assert text["calls"] == len(server.requests)

    calls, tokens, cost = priced(table, capfd)
    assert calls == len(REFUSED) + 1  # and one for the vectors
    assert cost == pytest.approx(tokens / 20, abs=0.01)
    assert len(asked(server)) == len(first)

    code, record = prepare(server, table)  # only what was refused is asked for again
    assert (code, record["text"]["failed"], record["text"]["errors"]) == (0, 0, {})
    again = asked(server)[len(first) :]
    assert len(again) == len(set(again)) == len(REFUSED)
    assert record["text"]["calls"] == len(server.requests) - sum(
        r["text"]["calls"] for r in records(table)[:1]
    )

    summaries = cached(table, "summary")
    answered = summaries[summaries["error"].isna()]
    assert len(answered) == answered["key"].nunique() == 20
    assert summaries["calls"].sum() == len(asked(server))
    _assert_nothing_private(server, table, capfd.readouterr())


def _assert_nothing_private(server: fake.FakeOpenAI, table: Path, told: Any) -> None:
    """Neither key nor notes stand in what was logged, recorded or cached; what was asked for was redacted."""
    questions = json.dumps(server.bodies)
    assert "private story" in questions
    assert not [secret for secret in (KEY, *PRIVATE) if secret in questions]
    files = [p for p in table.with_name("out").rglob("*") if p.is_file()]
    assert any(p.name == "run.json" for p in files)
    written = [p.read_bytes().decode("latin-1") for p in files if p.suffix != ".parquet"]
    tables = [str(pd.read_parquet(p).to_dict("list")) for p in files if p.suffix == ".parquet"]
    for words in (told.out, told.err, *written, *tables):
        assert not [secret for secret in (KEY, *PRIVATE, "private story") if secret in words]


def test_a_budget_holds_for_the_run_and_the_next_run_goes_on(
    spark, server: fake.FakeOpenAI, table: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code, nights = 23, 0
    while code == 23:
        before, nights = len(asked(server)), nights + 1
        code, record = prepare(server, table, max_calls=12, partitions=2, chunk_tokens=100)
        calls, pending = len(asked(server)) - before, 20 - len(asked(server))
        assert 0 < calls <= 12
        assert record["text"]["pending"] == pending
        if code == 23:
            assert record["text"]["calls"] == calls
            told = f"the budget of calls is spent; {calls} of {calls + pending} summary texts of ticket_notes"
            assert told in capfd.readouterr().err
    assert (code, nights > 1, record["text"]["summarized"]) == (0, True, 40)
    assert len(asked(server)) == len(set(asked(server))) == 20


@pytest.mark.parametrize(
    ("reply", "calls", "message"),
    [
        (fake.status(401), 2, "the endpoint refuses the API key; 0 of 20 summary texts"),
        (fake.status(400), 10, "the endpoint refuses every request with http_400; 0 of 20 summary texts"),
    ],
)
def test_an_endpoint_that_answers_nothing_ends_the_run(
    spark, server: fake.FakeOpenAI, table: Path, capfd: pytest.CaptureFixture[str],
    reply: fake.Reply, calls: int, message: str,
) -> None:  # fmt: skip
    server.default = reply
    code, record = prepare(server, table, partitions=2, concurrency=2)
    assert code == record["exit_code"] == 23
    told = capfd.readouterr()
    assert message in told.err
    assert len(server.requests) == record["text"]["calls"] == calls
    _assert_nothing_private(server, table, told)
