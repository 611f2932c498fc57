"""Summaries by an endpoint that speaks OpenAI's chat completions, or nearly so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from churn_spark.notes import remote
from churn_spark.notes.answers import checked
from churn_spark.notes.faults import BadAnswerError
from churn_spark.notes.prompts import framed, instruction, model_name
from churn_spark.notes.summary import Summary
from churn_spark.settings.sections import Summarizer


def openai(texts: Sequence[str], settings: Summarizer) -> list[Summary]:
    """Summarise at any OpenAI-compatible endpoint (OpenAI, Azure, Databricks, vLLM, Ollama).

    The note travels as data, between marks, and what comes back is checked as data: not empty, not too long,
    no control characters, no HTML, no echo of the prompt. Retries, pacing and budgets: `remote.call_all`.
    """
    model = model_name(settings)

    async def ask(client: Any, text: str) -> remote.Answer:
        body = await remote.read_json(
            client.chat.completions.with_streaming_response.create(
                model=model,
                messages=[
                    {"role": "system", "content": instruction(settings)},
                    {"role": "user", "content": framed(text)},
                ],
                temperature=0,
                seed=0,
                max_tokens=settings.max_new_tokens,
            )
        )
        return _answer_of(body, text, settings)

    results = remote.call_all(texts, ask, limits=settings.remote)
    return [_summary_of(result) for result in results]


def _answer_of(body: dict[str, Any], text: str, settings: Summarizer) -> remote.Answer:
    try:
        choice = body["choices"][0]
        answer = choice["message"]["content"] or ""
        tokens = int((body.get("usage") or {}).get("total_tokens") or 0)
        was_cut = choice.get("finish_reason") == "length"
        summary = checked(str(answer), text, settings, was_cut=was_cut)
    except (LookupError, TypeError, ValueError, AttributeError):
        raise BadAnswerError("not_a_completion", worth_retrying=True) from None
    if summary.status == "failed":
        raise BadAnswerError(summary.error, tokens=tokens)
    return remote.Answer(summary, tokens)


def _summary_of(result: remote.Result) -> Summary:
    if result.status != "ok":
        return Summary("", result.status, result.error, result.calls, result.tokens)
    made: Summary = result.value
    return made._replace(calls=result.calls, tokens=result.tokens)
