"""Where sentences end, in any script."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from churn_spark.notes.sentences import split_sentences


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("the service is good. autopay works!", ["the service is good.", "autopay works!"]),
        ("I spoke to Dr. Smith, e.g. twice. He left.", ["I spoke to Dr. Smith, e.g. twice.", "He left."]),
        ("they said no. i asked again", ["they said no.", "i asked again"]),
        ("see no. 5 on page 2.5 of v1.2.3. done", ["see no. 5 on page 2.5 of v1.2.3.", "done"]),
        ('he said "no." then left...  ok?! yes', ['he said "no."', "then left...", "ok?!", "yes"]),
        ("line\nwraps\n\nnext\n- one\n2) two\nThen", ["line\nwraps", "next", "- one", "2) two", "Then"]),
        ("服务很差。我要取消！真的？", ["服务很差。", "我要取消！", "真的？"]),
        ("الخدمة سيئة. هل تسمعني؟ نعم", ["الخدمة سيئة.", "هل تسمعني؟", "نعم"]),
        ("Übel war es\nÄrger mit der Rechnung\nÉcran cassé", ["Übel war es", "Ärger mit der Rechnung", "Écran cassé"]),
        ("не работает.\nВерните деньги! когда?", ["не работает.", "Верните деньги!", "когда?"]),
        ("الخدمة سيئة؟ نعم\nأريد الإلغاء", ["الخدمة سيئة؟", "نعم", "أريد الإلغاء"]),
        ("网络很慢\n我要退款", ["网络很慢", "我要退款"]),
        ("the line\nÄndert nothing\nwraps on", ["the line", "Ändert nothing\nwraps on"]),
        ("1. Router is broken. 2. The bill is wrong. 3. Nobody calls",
         ["1. Router is broken.", "2. The bill is wrong.", "3. Nobody calls"]),
        ("it cost 30. then 5. more", ["it cost 30.", "then 5.", "more"]),
        ("Seit dem 12. Oktober ist es still. Nichts", ["Seit dem 12. Oktober ist es still.", "Nichts"]),
        ("no end", ["no end"]),
        ("", []),
    ],
)  # fmt: skip
def test_split_sentences_finds_the_ends(text: str, sentences: list[str]) -> None:
    assert split_sentences(text) == sentences


@settings(max_examples=50, deadline=None)
@given(st.text(alphabet='ab. !?\n-。1"', max_size=80))
def test_split_sentences_loses_nothing_but_white_space(text: str) -> None:
    assert re.sub(r"\s", "", "".join(split_sentences(text))) == re.sub(r"\s", "", text)
