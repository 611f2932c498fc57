"""Where the sentences of a note end."""

from __future__ import annotations

import re
from collections.abc import Iterator

_SENTENCE_END = re.compile(
    r"""(?: [.!?…؟۔।]["'”’»)\]]* (?=\s)
          | [。！？]["”’」』]*
          | \n (?=[ \t]*(?:\n|[-*•–]\s|\d{1,2}[.)]\s|[A-Z]))  # blank line, list item, line with a capital
        ) \s*""",
    re.VERBOSE,
)
_LAST_WORD = re.compile(r"[\w.]{1,12}\Z")
_ABBREVIATIONS = """
    mr mrs ms dr prof st jr sr vs etc approx appt dept acct amt inc ltd co corp e.g i.e eg ie cf al nr est tel
    ext fig vol a.m p.m u.s u.k jan feb mar apr jun jul aug sep sept oct nov dec mon tue tues wed thu thurs
    fri sat min max hr hrs
""".split()  # noqa: SIM905 - reads better so


def split_sentences(text: str) -> list[str]:
    """Split a text at the ends of sentences and at list items; lower-cased notes are split as well."""
    return [s for s in _pieces(text) if s]


def _pieces(text: str) -> Iterator[str]:
    start = 0
    for end in _SENTENCE_END.finditer(text):
        if end[0][0] != "." or not _is_abbreviated(text, end):
            yield text[start : end.end()].strip()
            start = end.end()
    yield text[start:].strip()


def _is_abbreviated(text: str, end: re.Match[str]) -> bool:
    """Say whether a full stop only shortens a word: `dr.`, `e.g.`, an initial, `no.` before a number."""
    last = _LAST_WORD.search(text, max(0, end.start() - 12), end.start())
    word = last[0].lower() if last else ""
    if word == "no":
        return text[end.end() : end.end() + 1].isdigit()
    return word in _ABBREVIATIONS or (len(word) == 1 and word.isalpha() and word != "i")
