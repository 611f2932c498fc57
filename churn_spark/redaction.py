"""Personal data in notes -> typed placeholders, and the plain forms of a text.

Every pattern is anchored to exact lengths or bounded repeats, so that time grows linearly with the text. What
a pattern alone cannot tell is decided by check digits (Luhn, mod 97) or by the words just before a number.
"""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from churn_spark.columns import EMPTY_NOTES

VERSION = "1"  # part of cache identities: change it with any rule below

Match = re.Match[str]


def normalize(text: str, *, max_chars: int) -> tuple[str, bool]:
    r"""Return the text with control characters and lone surrogates as spaces and line ends as \n, stripped.

    A text longer than `max_chars` is cut there, or at the white space before it, so that no address or number
    is cut in two; the second value says whether it was. All else stays as written.
    """
    text = _UNPRINTABLE.sub(" ", text.replace("\r\n", "\n").replace("\r", "\n")).strip()
    if len(text) <= max_chars:
        return text, False
    return _PARTIAL_WORD.sub("", text[: max_chars + 1])[:max_chars].rstrip(), True


def redact(text: str) -> tuple[str, dict[str, int]]:
    """Replace personal data by placeholders such as [EMAIL]; return the text and the counts per kind.

    Kinds: URL, EMAIL, IBAN, CARD, SSN, IP, PHONE. Repeated until nothing is left to replace, since a
    placeholder can lay bare what stood beside it; redacting a redacted text therefore changes nothing.
    """
    counts: Counter[str] = Counter()
    before = ""
    while text != before:
        before = text
        for rule in _RULES:
            if rule.hint in text:
                text = rule.pattern.sub(lambda m, rule=rule: _placeholder(m, rule, counts), text)  # type: ignore[misc]
    return text, dict(counts)


def fold(text: str) -> str:
    """Return one spelling for all the texts that an uncased BERT tokenizer reads as the same tokens.

    Lower-cases character by character (a tokenizer knows no final sigma) and folds the white space it splits
    at. No NFKC, no casefold: full-width letters, ligatures and sharp s have tokens of their own. A special
    token in the text is read case-sensitively, so it stays.
    """
    parts = _SPECIAL_TOKEN.split(text)
    parts[::2] = ["".join(map(str.lower, part)) for part in parts[::2]]
    return _SPACE.sub(" ", "".join(parts)).strip(" ")


def is_blank(text: str) -> bool:
    """Say whether a note holds nothing to read."""
    return text.strip().lower() in EMPTY_NOTES


_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_PARTIAL_WORD = re.compile(r"(?<=\s)\S{1,80}\Z")
_SPECIAL_TOKEN = re.compile(r"(\[(?:PAD|UNK|CLS|SEP|MASK)\])")
_SPACE = re.compile(r"[ \t\n\r\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+")


# -- rules ----------------------------------------------------------------------------------------------


class _Rule(NamedTuple):
    kind: str
    pattern: re.Pattern[str]
    holds: Callable[[Match], bool] = lambda match: True
    hint: str = ""  # the pattern needs this text: a cheap test first


def _placeholder(match: Match, rule: _Rule, counts: Counter[str]) -> str:
    if not rule.holds(match):
        return match[0]
    counts[rule.kind] += 1
    return f"[{rule.kind}]"


def _compile(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern.replace("SEP", _SEPARATOR), re.IGNORECASE | re.VERBOSE)


_SEPARATOR = r"[\ \u00a0.\u2010-\u2013-]"  # space, no-break space, dot, hyphens

_URL = _compile(
    r"""
    (?: \b[a-z][a-z0-9+.-]{1,15}:// | \bwww\. | (?<![\w@.-]) (?:[a-z0-9-]{1,63}\.){1,4}+ (?<=[a-z0-9-]\.)[a-z]{2,10}/ )
    [^\s<>"'\u3000-\u303f\uff00-\uffef]*  (?<![.,;:!?)\]}])
    """
)
