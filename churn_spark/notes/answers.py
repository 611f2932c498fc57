"""Whether what a model answered is a summary of the note it was given."""

from __future__ import annotations

import re
import unicodedata

from churn_spark.notes.prompts import framed, instruction
from churn_spark.notes.redaction import is_blank, redact
from churn_spark.notes.summary import Summary, bounded
from churn_spark.settings.sections import Summarizer

_HTML = re.compile(r"<\s*/?(?:!doctype|html|head|body|script|style|iframe|div|p|a|br|img)\b", re.IGNORECASE)
NO_TEXT = ("Cc", "Cn", "Co", "Cs")  # control, unassigned, private use, surrogate
TOO_LONG = 4  # times max_chars: not a long summary, but something else


def checked(answer: str, text: str, settings: Summarizer, *, was_cut: bool) -> Summary:
    """A model's answer as a summary, redacted and bounded, or `failed` with what is wrong with it."""
    answer = answer.strip()
    if problem := _problem(answer, text, settings):
        return Summary("", "failed", problem)
    return bounded(redact(answer)[0], "truncated" if was_cut else "ok", settings)


def _problem(answer: str, text: str, settings: Summarizer) -> str:
    if is_blank(answer):
        return "empty"
    if len(answer) > TOO_LONG * settings.max_chars:
        return "too_long"
    if any(c == "\ufffd" or unicodedata.category(c) in NO_TEXT for c in answer if c not in "\n\t\r"):
        return "charset"
    if _HTML.search(answer):
        return "html"
    if framed(text).split("\n", 1)[0] in answer or instruction(settings)[:40] in answer:
        return "echo"
    return ""
