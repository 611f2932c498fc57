"""Endpoints that are nearly OpenAI's: what is sent, what is stored, how many calls it takes.

`PYTHONPATH=.:tests python tests/notes/test_endpoints.py` writes the table in docs/reference/endpoints.md from the cases below.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import fake_dialects as say
import fake_openai as fake
import numpy as np
import pytest

from churn_spark.notes import remote
from churn_spark.notes.embedders import load_embedder
from churn_spark.notes.summarizers import summarize
from churn_spark.settings.notes import Remote, Summarizer

DOCS = Path(__file__).parents[2] / "docs" / "reference" / "endpoints.md"
NOTE = (
    "My internet has been slow since March. I called support three times and nobody came. The technician promised "
    "a new router, but it never arrived. I want a refund of 30 euros, or I will cancel my contract."
)
GERMAN = (
    "Mein Internet ist seit März langsam. Ich habe dreimal angerufen und niemand kam. Der Techniker hat einen neuen "
    "Router versprochen, aber er ist nicht angekommen. Ich will das Geld zurück, oder ich kündige den Vertrag."
)
GOOD = "The internet has been slow since March and nobody came. The customer wants a refund or will cancel."
THOUGHTS = "Okay, the user wants me to summarize the note. The internet is slow, so I should say that first."
TURNED = "Der Kunde ist mit dem langsamen Internet nicht zufrieden und will den Vertrag kündigen."
SORRY = "I'm sorry, but I can't assist with that request."


class Case(NamedTuple):
    """An endpoint's behavior, what is stored of `n` notes or texts, and the calls it takes."""

    endpoint: str
    behavior: str
    reply: fake.Reply
    stored: str
    calls: int = 1
    n: int = 1
    note: str = NOTE
    settings: dict[str, Any] = {}  # noqa: RUF012  # never changed


GOOD_REPLY = say.says(GOOD)
NEWER = say.refuses("max_tokens", say.openai_refuses("max_tokens"),
        say.refuses("temperature", say.openai_refuses("temperature", code="unsupported_value"), GOOD_REPLY))  # fmt: skip
MANY = 20


def without(parameter: str, refusal: fake.Reply) -> fake.Reply:
    return say.refuses(parameter, refusal, GOOD_REPLY)


def thought(opening: str, closing: str) -> fake.Reply:
    return say.says(f"{opening}{THOUGHTS}{closing}\n\n{GOOD}")


COMPLETIONS = (
    Case("OpenAI", "answers", GOOD_REPLY, "the summary"),
    Case("OpenAI, newer models", "refuses `max_tokens` and `temperature`", NEWER, "the summary", 3),
    Case("OpenAI, newer models", "the same, 20 notes", NEWER, "20 summaries", 22, MANY),
    Case("OpenAI, newer models", "the same, `omit: [temperature, max_tokens]`", NEWER, "the summary", 1,
         settings={"omit": ["temperature", "max_tokens"]}),
    Case("OpenAI", "`finish_reason: content_filter`", say.says(GOOD[:40], finish_reason="content_filter"),
         "failed: content_filter"),
    Case("OpenAI", "`refusal` beside an empty content", say.says(None, refusal=SORRY), "failed: refusal"),
    Case("OpenAI", "429 `insufficient_quota`, 20 notes", say.OPENAI_QUOTA, "20 pending: quota", 1, MANY),
    Case("OpenAI", "401, 20 notes", fake.status(401), "20 pending: authentication", 1, MANY),
    Case("OpenAI", "`finish_reason: length`", say.says(GOOD[:55], finish_reason="length"), "truncated"),
    Case("Azure", "400 `content_filter`", say.AZURE_FILTER, "failed: content_filter"),
    Case("Azure", "400 `content_filter` for each of 20 notes", say.AZURE_FILTER, "20 failed: content_filter", 20, MANY),
    Case("Azure", "refuses `max_tokens`", without("max_tokens", say.openai_refuses("max_tokens")), "the summary", 2),
    Case("Databricks", "content as blocks: reasoning and text",
         say.says([{"type": "reasoning", "summary": [{"type": "summary_text", "text": THOUGHTS}]},
                   {"type": "text", "text": GOOD}]), "the summary"),
    Case("Databricks", "content as two blocks of text",
         say.says([{"type": "text", "text": GOOD[:56]}, {"type": "text", "text": GOOD[56:]}]), "the summary"),
    Case("Databricks", "content as blocks, none of text", say.says([{"type": "reasoning", "summary": []}],
         finish_reason="length"), "failed: thinking"),
    Case("Databricks", "`unknown field \"seed\"`", without("seed", say.databricks_refuses("seed")), "the summary", 2),
    Case("vLLM", "thoughts in `<think>` tags", thought("<think>\n", "\n</think>"), "the summary"),
    Case("vLLM", "thoughts without an opening tag", thought("", "\n</think>"), "the summary"),
    Case("vLLM", "thoughts cut off", say.says(f"<think>\n{THOUGHTS}", finish_reason="length"), "failed: thinking"),
    Case("vLLM", "thoughts cut off, without any tag", say.says(THOUGHTS, finish_reason="length"), "failed: thinking"),
    Case("vLLM", "thoughts, then nothing", say.says(f"<think>{THOUGHTS}</think>"), "failed: thinking"),
    Case("vLLM", "thoughts cut off, 20 notes", say.says(f"<think>\n{THOUGHTS}", finish_reason="length"),
         "10 failed, 10 pending: thinking", 10, MANY),
    Case("vLLM", "a reasoning parser", say.says(GOOD, reasoning_content=THOUGHTS), "the summary"),
    Case("vLLM", "a reasoning parser, all tokens spent on thoughts",
         say.says(None, reasoning_content=THOUGHTS, finish_reason="length"), "failed: thinking"),
    Case("vLLM", "400, the context is too short", say.VLLM_TOO_LONG, "failed: input_too_long"),
    Case("vLLM", "refuses an extra field (FastAPI)", without("seed", say.fastapi_refuses("seed")), "the summary", 2),
    Case("vLLM", "`extra_body: {chat_template_kwargs: ...}` switches thinking off",
         lambda h, b: (GOOD_REPLY if b.get("chat_template_kwargs") else say.says(THOUGHTS))(h, b), "the summary",
         settings={"extra_body": {"chat_template_kwargs": {"enable_thinking": False}}}),
    Case("Ollama", "thoughts in `<thinking>` tags", thought("<thinking>", "</thinking>"), "the summary"),
    Case("Ollama", "a reasoning field beside the content", say.says(GOOD, reasoning=THOUGHTS), "the summary"),
    Case("Ollama", "404, model not pulled, 20 notes", say.OLLAMA_MODEL, "20 pending: not_found", 1, MANY),
    Case("gpt-oss, raw", "channels", thought("<|channel|>analysis<|message|>",
         "<|end|><|start|>assistant<|channel|>final<|message|>"), "the summary"),
    Case("Magistral, raw", "`[THINK]`", thought("[THINK]", "[/THINK]"), "the summary"),
    Case("Kimi, raw", "`◁think▷`", thought("◁think▷", "◁/think▷"), "the summary"),
    Case("Mistral", "422, `seed` is not permitted", without("seed", say.mistral_refuses("seed")), "the summary", 2),
    Case("Mistral", "content as blocks: thinking and text",
         say.says([{"type": "thinking", "thinking": [{"type": "text", "text": THOUGHTS}]},
                   {"type": "text", "text": GOOD}]), "the summary"),
    Case("Gemini", "`Unknown name \"seed\"`, errors in a list", without("seed", say.gemini_refuses("seed")), "the summary", 2),
    Case("Gemini", "400, the key is not valid, 20 notes", say.GEMINI_KEY, "20 pending: authentication", 1, MANY),
    Case("DeepSeek", "402, out of credit, 20 notes", say.DEEPSEEK_CREDIT, "20 pending: quota", 1, MANY),
    Case("any", "\"Here is a summary of the note:\"", say.says(f"Here is a summary of the note:\n\n{GOOD}"), "the summary"),
    Case("any", "\"Sure! Here's the summary:\"", say.says(f"Sure! Here's the summary:\n{GOOD}"), "the summary"),
    Case("any", "a heading in bold", say.says(f"**Summary:** {GOOD}"), "the summary"),
    Case("any", "a heading of Markdown", say.says(f"## Summary\n{GOOD}"), "the summary"),
    Case("any", "a fence", say.says(f"```text\n{GOOD}\n```"), "the summary"),
    Case("any", "JSON in a fence", say.says(f"```json\n{json.dumps({'summary': GOOD})}\n```"), "the summary"),
    Case("any", "in quotation marks", say.says(f"“{GOOD}”"), "the summary"),
    Case("any", "an offer of more help below", say.says(f"{GOOD}\n\nLet me know if you need more."), "the summary"),
    Case("any", "a refusal in words", say.says(SORRY), "failed: refusal"),
    Case("any", "a refusal in German", say.says("Es tut mir leid, dabei kann ich nicht helfen."), "failed: refusal"),
    Case("any", "a bare number", say.says("4"), "failed: no_words"),
    Case("any", "another language", say.says(TURNED), "failed: language"),
    Case("any", "English for a German note", say.says(GOOD), "failed: language", note=GERMAN),
    Case("any", "German for a German note", say.says(TURNED), "the summary", note=GERMAN),
    Case("any", "another script", say.says("自三月以来，客户的互联网一直很慢，没有人来。"), "failed: script"),
    Case("any", "about something else", say.says("Paris hosts many museums, galleries, gardens, bridges and theaters."),
         "failed: off_topic"),
    Case("any", "the question in capitals", lambda h, b: say.says(b["messages"][0]["content"].upper()[:300])(h, b),
         "failed: echo"),
    Case("any", "nothing", say.says(" "), "failed: empty"),
    Case("any", "something longer than the note", say.says(GOOD * 6), "failed: too_long"),
    Case("any", "control characters", say.says(GOOD + "\x07"), "failed: charset"),
    Case("any", "negative usage", say.says(GOOD, usage={"total_tokens": -5}), "the summary"),
    Case("any", "no usage", say.says(GOOD, usage="none"), "the summary"),
    Case("any", "a usage of 10^30", say.says(GOOD, usage={"total_tokens": 10**30}), "the summary"),
    Case("any", "422 that names nothing, 20 notes", say.NAMES_NONE,
         "10 failed, 10 pending: http_422:validation_error", 10, MANY),
    Case("any", "400 that quotes the request, 20 notes", say.quotes_all, "10 failed, 10 pending: http_400", 10, MANY),
    Case("any", "refuses `temperature` whatever it is, 1 note",
         say.openai_refuses("temperature"), "failed: http_400:unsupported_parameter:temperature", 2),
    Case("any", "307 to another host, 20 notes", say.redirect(307, "http://127.0.0.1:9/v1"), "20 pending: redirect", 1, MANY),
    Case("any", "308 to another host", say.redirect(308, "http://127.0.0.1:9/v1"), "pending: redirect"),
)  # fmt: skip

LONG = 4_000
EMBEDDINGS = (
    Case("OpenAI", "rows in another order, with `index`", say.vectors(), "3 vectors", 1, 3),
    Case("Gemini", "rows without `index`", say.vectors(index=False), "3 vectors", 1, 3),
    Case("any", "no usage", say.vectors(usage=None), "3 vectors", 1, 3),
    Case("any", "base64 whatever was asked", say.vectors(vector=say.base64_vector(0.5, 1.5)), "3 vectors", 1, 3),
    Case("any", "refuses `encoding_format`",
         say.refuses("encoding_format", say.openai_refuses("encoding_format"), say.vectors()), "3 vectors", 2, 3),
    Case("TEI", "422, takes 32 texts at most; 100 texts", say.limited(lambda texts: len(texts) <= 32, say.TEI_BATCH),
         "100 vectors", 5, 100),
    Case("TEI", "413, a text is too long", say.limited(lambda texts: max(map(len, texts)) <= 2_000, say.TEI_LENGTH),
         "the vector", 2, note="word " * (LONG // 5)),
    Case("llama.cpp", "500, a text is too long", say.limited(lambda texts: max(map(len, texts)) <= 1_000, say.LLAMA_LENGTH),
         "the vector", 3, note="word " * (LONG // 5)),
    Case("llama.cpp", "400, the context is too short",
         say.limited(lambda texts: max(map(len, texts)) <= 2_000, say.LLAMA_CONTEXT), "the vector", 2,
         note="word " * (LONG // 5)),
    Case("llama.cpp", "vectors in vectors", say.vectors(vector=[[3.0, 4.0]]), "3 vectors", 1, 3),
    Case("any", "400 for one text of 8",
         say.limited(lambda texts: not any(t.endswith("x" * 7) for t in texts), fake.status(400)),
         "7 vectors, 1 failed: http_400", 7, 8),
    Case("any", "vectors of another length", say.vectors(vector=[1.0, 2.0, 3.0]), "3 failed: wrong_length:3", 1, 3),
    Case("any", "vectors of zeros", say.vectors(vector=[0.0, 0.0]), "3 failed: wrong_vectors", 1, 3),
    Case("any", "a number that is none", say.vectors(vector=[float("nan"), 1.0]), "3 failed: wrong_vectors", 1, 3),
    Case("any", "too few rows", fake.raw(b'{"data": [{"index": 0, "embedding": [1, 2]}]}'), "3 failed: wrong_vectors", 1, 3),
    Case("any", "a page of HTML, 2 attempts", fake.raw(b"<html>"), "3 failed: not_json", 2, 3),
)  # fmt: skip


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[fake.FakeOpenAI]:
    monkeypatch.setattr(remote, "FIRST_WAIT_SECONDS", 0.01)
    remote.begin_task()
    with fake.serving() as server:
        yield server


def limits(server: fake.FakeOpenAI, case: Case) -> Remote:
    return Remote(
        base_url=server.url, api_key_env="NONE", requests_per_minute=1e6, max_attempts=2, **case.settings
    )


def told(counts: dict[str, int], *, one: str, many: str) -> str:
    """Counts by what was stored, in a few words."""
    good, total = counts.pop("", 0), sum(counts.values())
    words = [f"{good} {many}" if good > 1 else one] if good else []
    words += [f"{n} {what}" if n + good > 1 or total > 1 else what for what, n in counts.items()]
    return ", ".join(words)


def counted(statuses: list[str], errors: list[str], **words: str) -> str:
    error = next(filter(None, errors), "")
    keys = ["" if s == "ok" else s for s in statuses]
    text = told({key: keys.count(key) for key in dict.fromkeys(keys)}, **words)
    return f"{text}: {error}" if error else text


@pytest.mark.parametrize("case", COMPLETIONS, ids=lambda case: f"{case.endpoint}: {case.behavior}")
def test_a_completion_is_a_summary_or_has_failed(server: fake.FakeOpenAI, case: Case) -> None:
    server.default = case.reply
    notes = [case.note + " " * i + "." * bool(i) for i in range(case.n)]
    settings = Summarizer(name="openai", model="m", remote=limits(server, case))
    summaries = summarize(notes, settings)
    assert counted([s.status for s in summaries], [s.error for s in summaries],
                   one="the summary", many="summaries") == case.stored  # fmt: skip
    assert {s.text for s in summaries if s.status == "ok"} <= {GOOD, TURNED}
    assert sum(s.calls for s in summaries) == len(server.requests) == case.calls
    assert all(0 < s.tokens < 1_000 for s in summaries if s.status == "ok")


@pytest.mark.parametrize("case", EMBEDDINGS, ids=lambda case: f"{case.endpoint}: {case.behavior}")
def test_a_vector_is_the_text_s_own_or_has_failed(server: fake.FakeOpenAI, case: Case) -> None:
    server.default = case.reply
    texts = [case.note if case.n == 1 else "x" * i for i in range(case.n)]
    embedder = load_embedder("openai", model="m", dimension=2, remote=limits(server, case))
    embedded = embedder.embed(texts)
    assert counted([r.status for r in embedded.results], [r.error for r in embedded.results],
                   one="the vector", many="vectors") == case.stored  # fmt: skip
    is_good = np.array([r.status == "ok" for r in embedded.results])
    assert np.isfinite(embedded.vectors[is_good]).all()
    assert np.isnan(embedded.vectors[~is_good]).all()
    if case.n > 1 and embedded.vectors[is_good][1:2].tolist() == [[1.0, 1.0]]:
        assert embedded.vectors[is_good, 0].tolist() == np.arange(case.n)[is_good].tolist()
    assert sum(r.calls for r in embedded.results) == len(server.requests) == case.calls


def test_a_request_of_azure_bears_its_version(server: fake.FakeOpenAI) -> None:
    server.default = GOOD_REPLY
    address = Remote(base_url=f"{server.url}?api-version=2024-10-21", api_key_env="NONE")
    summarize([NOTE], Summarizer(name="openai", model="m", remote=address))
    assert server.paths == ["/v1/chat/completions?api-version=2024-10-21"]


def test_a_refused_parameter_is_sent_by_its_newer_name(server: fake.FakeOpenAI) -> None:
    server.default = NEWER
    summarize(
        [NOTE], Summarizer(name="openai", model="m", remote=Remote(base_url=server.url, api_key_env="NONE"))
    )
    assert [set(body) - {"model", "messages"} for body in server.bodies] == [
        {"temperature", "seed", "max_tokens"},
        {"temperature", "seed", "max_completion_tokens"},
        {"seed", "max_completion_tokens"},
    ]


@pytest.mark.parametrize(
    "code", ["http_400:unsupported_parameter:top_k", "thinking", "wrong_length:768", "redirect"]
)
def test_a_stop_says_what_was_seen_and_the_way_out(code: str) -> None:
    problem = remote.problem(code, Remote(base_url="http://host/v1"))
    assert problem.exit_code == 23
    assert all(name in problem.what for name in code.split(":")[1:])
    assert "text." in problem.fix or "base_url" in problem.fix
    assert "unexpectedly" not in problem.what


# -- the table in the docs ------------------------------------------------------------------------------

HEAD = """# Endpoints that are nearly OpenAI's

What is done with each behavior of an endpoint, for summaries and for vectors. `failed` texts are asked for again
by the next run, `pending` ones were not asked for; neither enters the text cache. The table is held true by
`tests/notes/test_endpoints.py`, against a server on loopback.
"""


def table(title: str, cases: tuple[Case, ...]) -> str:
    rows = [f"| {i} | {c.endpoint} | {c.behavior} | {c.stored} | {c.calls} |" for i, c in enumerate(cases, 1)]
    head = ["| | Endpoint | What it sends | What is stored | Calls |", "|---|---|---|---|---|"]
    return "\n".join([f"## {title}", "", *head, *rows, ""])


def page() -> str:
    return "\n".join([HEAD, table("Summaries", COMPLETIONS), table("Vectors", EMBEDDINGS)])


def test_the_table_in_the_docs_holds_these_cases() -> None:
    assert len(COMPLETIONS) + len(EMBEDDINGS) >= 60
    assert DOCS.read_text(encoding="utf-8") == page()


if __name__ == "__main__":
    DOCS.parent.mkdir(parents=True, exist_ok=True)
    DOCS.write_text(page(), encoding="utf-8")
