"""Summaries by an endpoint that speaks OpenAI's chat completions, or nearly so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from churn_spark.notes import remote
from churn_spark.notes.answers import checked
from churn_spark.notes.faults import CONTENT_FILTER, BadAnswerError
from churn_spark.notes.meter import billed
from churn_spark.notes.prompts import framed, instruction, model_name
from churn_spark.notes.summary import Summary
from churn_spark.settings.notes import Summarizer

OPTIONAL = ("temperature", "seed", "max_tokens")


def openai(texts: Sequence[str], settings: Summarizer) -> list[Summary]:
    """Summarise at any OpenAI-compatible endpoint (OpenAI, Azure, Databricks, vLLM, Ollama).

    The note travels as data, between marks, and what comes back is checked as data: see `answers`. Retries,
    pacing and budgets: `remote.call_all`.
    """
    ask = remote.Ask(
        "/chat/completions",
        body=partial(_question, settings=settings),
        read=partial(_answer, settings=settings),
        optional=OPTIONAL,
    )
    return [_summary_of(result) for result in remote.call_all(texts, ask, limits=settings.remote)]


def _question(text: str, *, settings: Summarizer) -> dict[str, Any]:
    messages = [
        {"role": "system", "content": instruction(settings)},
        {"role": "user", "content": framed(text)},
    ]
    sampling = {"temperature": 0, "seed": 0, "max_tokens": settings.max_new_tokens}
    return {"model": model_name(settings), "messages": messages, **sampling}


def _answer(body: Mapping[str, Any], text: str, *, settings: Summarizer) -> remote.Answer:
    try:
        choice = body["choices"][0]
        message, reason = choice["message"], choice.get("finish_reason")
        answer = _content(message["content"])
        refusal, thoughts = (
            message.get("refusal"),
            message.get("reasoning_content") or message.get("reasoning"),
        )
    except (LookupError, TypeError, AttributeError):
        raise BadAnswerError("not_a_completion", worth_retrying=True) from None
    tokens = billed(body, chars=len(text) + len(instruction(settings)) + len(answer))
    if refusal or reason == CONTENT_FILTER:
        raise BadAnswerError("refusal" if refusal else CONTENT_FILTER, tokens=tokens)
    summary = checked(answer, text, settings, was_cut=reason == "length")
    if summary.status == "failed":
        only_thought = summary.error == "empty" and (thoughts or reason == "length")
        raise BadAnswerError("thinking" if only_thought else summary.error, tokens=tokens)
    return remote.Answer(summary, tokens)


def _content(content: Any) -> str:
    """The text of an answer: a string, nothing, or blocks, of which those of text count."""
    if content is None or isinstance(content, str):
        return content or ""
    return "".join(_block(block) for block in content)


def _block(block: Any) -> str:
    if isinstance(block, str):
        return block
    text = block.get("text") if block.get("type", "text") in ("text", "output_text") else ""
    return text if isinstance(text, str) else ""


def _summary_of(result: remote.Result) -> Summary:
    if result.status != "ok":
        return Summary("", result.status, result.error, result.calls, result.tokens)
    summary: Summary = result.value
    return summary._replace(calls=result.calls, tokens=result.tokens)
