"""Of an e-mail the writer's own words count."""

from __future__ import annotations

import pytest

from churn_spark.notes.letters import own_words
from churn_spark.notes.summarizers import summarize
from churn_spark.settings.notes import Summarizer

MATTER = "My line has been dead since Monday. Please cancel my contract."
LETTERS = {
    "greeting": f"Dear Sir or Madam,\n\n{MATTER}",
    "German greeting and closing": f"Sehr geehrte Damen und Herren,\n{MATTER}\n\nMit freundlichen Grüßen\nErika M.",
    "signature": f"{MATTER}\n\nKind regards,\nJane Doe\nHead of Sales\nTel. [PHONE]",
    "dashes": f"{MATTER}\n--\nJane",
    "phone": f"{MATTER}\n\nSent from my iPhone",
    "headers": f"From: Jane\nTo: support\nSubject:\n\n{MATTER}",
    "quoted lines": f"{MATTER}\n> we value you\n> our prices are best",
    "reply": f"{MATTER}\n\nOn Mon, 3 Mar 2025, support wrote:\nWe value you.\nOur prices are best.",
    "original message": f"{MATTER}\n\n-----Original Message-----\nFrom: support\nOur prices are best.",
    "disclaimer": f"{MATTER}\n\nThis e-mail is confidential and intended solely for the addressee.",
}  # fmt: skip


@pytest.mark.parametrize("name", LETTERS)
def test_own_words_are_left(name: str) -> None:
    assert own_words(LETTERS[name]) == MATTER


@pytest.mark.parametrize(
    "text",
    ["", "Thanks", "> only quoted", "Dear diary, this is one line", f"Hello\nworld {MATTER}\nand more"],
)
def test_other_texts_stay(text: str) -> None:
    assert own_words(text).split()[-1:] == text.split()[-1:]


def test_a_thanks_in_the_middle_ends_no_letter() -> None:
    text = f"Thanks\n{MATTER} This is a line that is much too long for any signature of any letter."
    assert own_words(text) == text


def test_a_summary_of_a_letter_holds_the_request() -> None:
    letter = (
        "Dear team,\n\nI have been a customer for five years. The price was raised twice. I called three times "
        "about the price. Nobody called back about the price. Please cancel my contract at the end of the month.\n\n"
        "Kind regards,\nJane"
    )
    [summary] = summarize([letter], Summarizer(max_sentences=2))
    assert "Please cancel my contract at the end of the month." in summary.text
    assert "regards" not in summary.text
