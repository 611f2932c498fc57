"""Where the sentences of a note end, in any script."""

from __future__ import annotations

import re
from collections.abc import Iterator

_SENTENCE_END = re.compile(
    r"""(?: [.!?…؟۔।։][\"'”’»)\]]* (?=\s)
          | [。！？｡][\"”’」』]*
          | \n (?=[ \t]*\S|[ \t]*\n)
        ) \s*""",
    re.VERBOSE,
)
# A line that begins anew: after a blank line, a list item, a speaker.
_NEW_LINE = re.compile(r"\n[ \t]*(?:\n|[-*•–]\s|\d{1,2}[.)]\s|[^\W\d_][\w .'-]{0,30}:\s)")
_LAST_WORD = re.compile(r"[\w.]{1,12}\Z")
_GERMAN_MONTH = re.compile(r"(?:Jan|Feb|Mär|Apr|Mai|Jun|Jul|Aug|Sep|Okt|Nov|Dez)")  # am 12. Oktober
_ABBREVIATIONS = """
    mr mrs ms dr prof st jr sr vs etc approx appt dept acct amt inc ltd co corp e.g i.e eg ie cf al nr est tel
    ext fig vol a.m p.m u.s u.k jan feb mar apr jun jul aug sep sept oct nov dec mon tue tues wed thu thurs
    fri sat min max hr hrs z.b d.h bzw usw ca str sra srta ud uds pág núm mme mlle т.е т.д г ул
""".split()  # noqa: SIM905 - reads better so


def split_sentences(text: str) -> list[str]:
    """Split a text at the ends of sentences, at list items and at lines that begin anew.

    Lower-cased notes are split as well. A line goes on in the next one where that begins with a small letter.
    """
    return [s for s in _pieces(text) if s]


def _pieces(text: str) -> Iterator[str]:
    start = 0
    for end in _SENTENCE_END.finditer(text):
        if _is_end(text, end, start):
            yield text[start : end.end()].strip()
            start = end.end()
    yield text[start:].strip()


def _is_end(text: str, end: re.Match[str], start: int) -> bool:
    if end[0][0] == "\n":
        following = text[end.end() : end.end() + 1]
        begins = following.isalpha() and not following.islower()  # a capital, or a script without
        return begins or bool(_NEW_LINE.match(text, end.start()))
    return end[0][0] != "." or not _is_abbreviated(text, end, start)


def _is_abbreviated(text: str, end: re.Match[str], start: int) -> bool:
    """Say whether a full stop only shortens or numbers: `dr.`, `e.g.`, an initial, `no.` before a number, `2. `."""
    last = _LAST_WORD.search(text, max(0, end.start() - 12), end.start())
    word = last[0].lower() if last else ""
    if word == "no":
        return text[end.end() : end.end() + 1].isdigit()
    if word.isdigit():
        is_day = _GERMAN_MONTH.match(text, end.end()) is not None
        return len(word) <= 2 and (is_day or text[start : end.start()].strip() == word)  # or a list's numeral
    return word in _ABBREVIATIONS or (len(word) == 1 and word.isalpha() and word.isascii() and word != "i")
