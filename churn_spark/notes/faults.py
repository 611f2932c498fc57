"""What went wrong with a call, in a word, and what to do about it.

A code is made of what the endpoint says of itself (status, its own error code, the parameter it names), never of
its message, which may quote the note.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Collection, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Literal, NamedTuple

CONTENT_FILTER = "content_filter"
INPUT_TOO_LONG = "input_too_long"
ABOUT_THE_NOTE = (CONTENT_FILTER, INPUT_TOO_LONG, "refusal")  # says nothing about the other notes


class BadAnswerError(Exception):
    """An answer that cannot be used. Asking again costs again, so only garbled transport is worth it."""

    def __init__(self, code: str, *, tokens: int = 0, worth_retrying: bool = False) -> None:
        super().__init__(code)
        self.code, self.tokens, self.worth_retrying = code, tokens, worth_retrying


class Fault(NamedTuple):
    """A failed call. `parameter` is one that was sent and that the endpoint refuses by name."""

    code: str
    action: Literal["retry", "fail", "stop"] = "retry"
    retry_after: float = 0.0
    tokens: int = 0
    parameter: str = ""


def fault_of(problem: Exception, *, optional: Collection[str] = ()) -> Fault:
    """Say what went wrong; `optional` are the parameters that a request can do without."""
    import openai

    if isinstance(problem, BadAnswerError):
        return Fault(problem.code, "retry" if problem.worth_retrying else "fail", tokens=problem.tokens)
    if isinstance(problem, TimeoutError | openai.APITimeoutError):
        return Fault("timeout")
    if isinstance(problem, openai.APIStatusError):
        return _status_fault(problem.response, optional)
    # While a body is read, the client lets its HTTP library's errors through: httpx, or httpx2 of late.
    from_http = type(problem).__module__.startswith("httpx")
    if from_http or isinstance(problem, openai.APIConnectionError | OSError):
        return Fault("connection")
    return Fault(type(problem).__name__, "stop")


def _status_fault(response: Any, optional: Collection[str]) -> Fault:
    status = int(response.status_code)
    report = _report(response)
    for code, statuses, words in _STOPPING:
        if status in statuses and words.search(report.words):
            return Fault(code, "stop")
    if status == 429:
        return Fault("rate_limit", retry_after=_retry_after(response.headers))
    for code, words in _ABOUT_THE_TEXT:
        if words.search(report.words):
            return Fault(code, "fail")
    code = ":".join(filter(None, (f"http_{status}", report.code, report.parameter)))
    if status in (408, 409) or (status >= 500 and status != 501):
        return Fault(code, retry_after=_retry_after(response.headers))
    return Fault(code, "fail", parameter=_refused_parameter(report, optional))


_ANY = re.compile("")
_STOPPING = (
    ("redirect", range(300, 400), _ANY),
    ("authentication", (401, 403), _ANY),
    ("authentication", (400,), re.compile(r"api[ _-]?key.{0,40}(invalid|not valid|expired|missing)", re.I)),
    ("quota", (402,), _ANY),
    ("quota", (400, 429), re.compile(r"insufficient_quota|insufficient[ _](balance|funds|credit)|arrearage"
                                     r"|billing_(hard_)?limit|credit balance", re.I)),
    ("not_found", (404, 405, 410), _ANY),
    ("not_found", (400,), re.compile(r"model_not_found|(unknown|invalid) model\b|model_not_supported", re.I)),
)  # fmt: skip
_ABOUT_THE_TEXT = (
    (CONTENT_FILTER, re.compile(r"content[ _-]?(filter|management|policy)|prohibited_content", re.I)),
    (INPUT_TOO_LONG, re.compile(
        r"context[ _-]?(length|size|window)|too (long|large to process|many tokens)|must have less than \d+ tokens"
        r"|string_above_max_length|exceeds?.{0,60}(context|tokens|length)|maximum.{0,60}tokens", re.I)),
)  # fmt: skip


class _Report(NamedTuple):
    """What an endpoint tells of an error: its own code, the parameter it names, all its words."""

    code: str = ""
    parameter: str = ""
    words: str = ""


_NAME = re.compile(r"[A-Za-z][\w.-]{1,39}")


def _report(response: Any) -> _Report:
    """Read an error as OpenAI, Azure, FastAPI (vLLM, Mistral), Google, Databricks, TEI or Ollama word it."""
    try:
        body = response.json()
    except ValueError:
        return _Report(words=response.text[:2_000])
    words = json.dumps(body, ensure_ascii=False)[:20_000]
    if isinstance(body, list) and body:
        body = body[0]
    if not isinstance(body, Mapping):
        return _Report(words=words)
    error = body.get("error", body)
    error = error if isinstance(error, Mapping) else body
    detail = _detail(error) or _detail(error.get("message"))
    location = detail.get("loc")
    parameter = error.get("param") or (location[-1] if isinstance(location, list) and location else "")
    codes = (detail.get("type"), *map(error.get, ("code", "error_code", "status", "error_type", "type")))
    return _Report(next(filter(None, map(_name, codes)), ""), _name(parameter), words)


def _detail(error: Any) -> Mapping[str, Any]:
    details = error.get("detail") if isinstance(error, Mapping) else None
    first = details[0] if isinstance(details, list) and details else None
    return first if isinstance(first, Mapping) else {}


def _name(value: Any) -> str:
    return value if isinstance(value, str) and _NAME.fullmatch(value) else ""


_REFUSED = re.compile(
    r"unsupported|support|unknown|unrecogni[sz]ed|permitted|forbidden|extra|unexpected|allowed|invalid|cannot find",
    re.IGNORECASE,
)


def _refused_parameter(report: _Report, optional: Collection[str]) -> str:
    """The optional parameter that the error is about; none where it names several, as one that quotes all does."""
    if report.parameter in optional:
        return report.parameter
    named = [name for name in optional if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", report.words)]
    return named[0] if len(named) == 1 and _REFUSED.search(report.words) else ""


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
