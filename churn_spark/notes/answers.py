"""Whether what a model answered is a summary of the note it was given.

Thoughts and frames ("Here is a summary:", fences) are cut; what then is doubtful has failed, with a word for why.
"""

from __future__ import annotations

import json
import re
import unicodedata

from churn_spark.notes.plausibility import implausibility
from churn_spark.notes.prompts import framed, instruction
from churn_spark.notes.redaction import is_blank, redact
from churn_spark.notes.summary import Summary, bounded
from churn_spark.settings.notes import Summarizer

NO_TEXT = ("Cc", "Cn", "Co", "Cs")  # control, unassigned, private use, surrogate
TOO_LONG = 4  # times max_chars: not a long summary, but something else
LONGER_THAN_THE_NOTE = 2  # times the note, where that is more than a short sentence
SHORT_SENTENCE = 200


def checked(answer: str, text: str, settings: Summarizer, *, was_cut: bool) -> Summary:
    """A model's answer as a summary, redacted and bounded, or `failed` with what is wrong with it."""
    spoken = unframed(without_thoughts(answer))
    if problem := _problem(spoken, text, settings):
        thought = problem == "empty" and not is_blank(answer)
        return Summary("", "failed", "thinking" if thought else problem)
    return bounded(redact(spoken)[0], "truncated" if was_cut else "ok", settings)


# -- thoughts -------------------------------------------------------------------------------------------

_THOUGHT = r"think(?:ing)?|thoughts?|reason(?:ing)?|reflection|scratchpad|analysis"
_OPEN = (
    rf"<\s*(?:{_THOUGHT})\s*>|\[(?:THINK|REASONING)\]|◁think▷|<\|START_THINKING\|>"
    r"|<\|channel\|>analysis<\|message\|>"
)
_CLOSE = (
    rf"<\s*/\s*(?:{_THOUGHT})\s*>|\[/(?:THINK|REASONING)\]|◁/think▷|<\|END_THINKING\|>"
    r"|<\|(?:end|return)\|>(?:<\|start\|>assistant)?(?:<\|channel\|>final<\|message\|>)?"
)
_FIRST_THOUGHTS = re.compile(rf"\A.*(?:{_CLOSE})(?=.*\S)", re.IGNORECASE | re.DOTALL)
_OPEN_THOUGHTS = re.compile(rf"(?:{_OPEN}).*|\A.*(?:{_CLOSE})\s*\Z", re.IGNORECASE | re.DOTALL)
_FINAL_MARK = re.compile(r"<\|channel\|>final<\|message\|>|<\|(?:end|return|im_end|eot_id)\|>\s*\Z")


def without_thoughts(answer: str) -> str:
    """What a model says after its last thought; nothing where it never came to an end.

    Reasoning models open their thoughts with a tag, or without one where the prompt already holds it.
    """
    spoken = _FINAL_MARK.sub("", _FIRST_THOUGHTS.sub("", _FINAL_MARK.sub("", answer.strip())))
    return _OPEN_THOUGHTS.sub("", spoken).strip()


_ALOUD = re.compile(
    r"\A(?:okay|ok|alright|hmm+|well|so|now|first)?[,.!]?\s*(?:so|first|now)?,?\s*"
    r"(?:(?:let me|let's|i need to|we need to|i should|i have to|i'll|i will|we must|my task|i'm asked|we are asked)\b"
    r"|the (?:user|prompt|task|instruction)s?\b).{0,200}?"
    r"\b(?:summar|note\b|instruct|sentences|user|task)",
    re.IGNORECASE | re.DOTALL,
)


# -- frames ---------------------------------------------------------------------------------------------

_NAMES = (
    r"summar(?:y|ies|ised|ized)|zusammenfassung|zusammengefasst|resumen|résumé|riassunto|resumo|samenvatting"
    r"|streszczenie|özet|резюме|краткое содержание|ملخص|摘要|总结|總結|要約|요약"
)
_FRAMES = tuple(
    re.compile(pattern, re.IGNORECASE | re.DOTALL)
    for pattern in (
        r"\A```[\w-]*\s*\n?(.*?)\s*```.*\Z",
        r"\A[^\n]{0,120}[:：]\s*```[\w-]*\s*\n(.*?)\s*```.*\Z",
        rf"\A[^\n:：{{]{{0,100}}\b(?:{_NAMES})[^\n:：]{{0,60}}[:：][*_]*\s*(.*)\Z",
        rf"\A[#*_\s]+(?:[^\n:：]{{0,40}}\b)?(?:{_NAMES})[*_\s:：]*\n(.*)\Z",
        r"\A(?:摘要|总结|總結|要約|요약)\s*[:：]\s*(.*)\Z",
        r"\A(?:sure|certainly|of course|absolutely|gern(?:e)?|natürlich|claro|por supuesto|bien sûr)[!,.:]\s*\n(.*)\Z",
        r"""\A(?:["“”«„']\s*)([^"“”«»„]*)(?:\s*["“”»'])\Z""",
        r"\A\*\*([^*]*)\*\*\Z",
        r"\A<summary>\s*(.*?)\s*</summary>.*\Z",
        r"\A(.*\S)\s*\n+\s*[(\[*_-]*(?:let me know|please let me know|i hope (?:this|that)|feel free|would you like"
        r"|if you (?:need|would like|want)|word count|falls sie|lassen sie|si necesita|n'hésitez)[^\n]*\Z",
    )
)


def unframed(answer: str) -> str:
    """The summary without what a model says around it: a heading, a fence, quotes, JSON, an offer of more help."""
    answer, before = _unwrapped(answer.strip()), ""
    while answer != before:
        before = answer
        for frame in _FRAMES:
            answer = frame.sub(r"\1", answer).strip()
        answer = _unwrapped(answer)
    return answer


def _unwrapped(answer: str) -> str:
    """The one text in a JSON object, or the answer as it is."""
    if not answer.startswith("{"):
        return answer
    try:
        values = json.loads(answer)
    except ValueError:
        return answer
    texts = [value for value in values.values() if isinstance(value, str)]
    return str(values.get("summary") or (texts[0] if len(texts) == 1 else answer)).strip()


# -- what is wrong --------------------------------------------------------------------------------------

_HTML = re.compile(r"<\s*/?(?:!doctype|html|head|body|script|style|iframe|div|p|a|br|img)\b", re.IGNORECASE)
_REFUSAL = re.compile(
    r"""\A(?:(?:i(?:'|’)?\s?a?m\s+(?:really\s+|very\s+|so\s+)?(?:sorry|afraid|unable|not\s+able)|sorry|i\s+apologi[sz]e
        |unfortunately)\b.{0,40}?\b(?:but\b|i\b|can(?:'|’|no)t|unable|as\s+an\s+ai).{0,80}?
        |i\s+(?:can(?:'|’)?(?:no)?t|cannot|won(?:'|’)t|am\s+unable\s+to|am\s+not\s+able\s+to|must\s+decline).{0,30}?
        |as\s+an?\s+(?:ai|language\s+model|assistant).{0,80}?)
        \b(?:assist|help\s+(?:with|you)|summar|provide|comply|fulfil|process|answer|respond|request|language\s+model|ai\b)
      |\A(?:es\s+tut\s+mir\s+leid|tut\s+mir\s+leid|lo\s+siento|je\s+suis\s+désolé|désolé|mi\s+dispiace|sinto\s+muito
        |desculpe|(?:很|非常)?抱歉|对不起|對不起|申し訳|죄송|извините|к\s+сожалению|عذر).{0,60}?
        (?:kann|nicht|no\s+puedo|ne\s+peux|non\s+posso|não\s+posso|无法|無法|不能|できません|없|не\s+могу|لا)""",
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)


def _problem(answer: str, text: str, settings: Summarizer) -> str:
    if is_blank(answer):
        return "empty"
    if _repeats(answer, text, settings):
        return "echo"
    longest = max(SHORT_SENTENCE, LONGER_THAN_THE_NOTE * len(text))
    if len(answer) > min(TOO_LONG * settings.max_chars, longest):
        return "too_long"
    if any(c == "\ufffd" or unicodedata.category(c) in NO_TEXT for c in answer if c not in "\n\t\r"):
        return "charset"
    if _HTML.search(answer):
        return "html"
    if _ALOUD.search(answer):
        return "thinking"
    return "refusal" if _REFUSAL.search(answer) else implausibility(answer, text)


def _repeats(answer: str, text: str, settings: Summarizer) -> bool:
    """Whether a part of the question stands in the answer, in whatever capitals and white space."""
    said = _plain(answer)
    asked = [framed(text).split("\n", 1)[0], *re.split(r"[.:]\s", instruction(settings))]
    return any(len(part) >= 15 and _plain(part) in said for part in asked)


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())
