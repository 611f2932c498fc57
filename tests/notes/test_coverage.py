"""What an English model makes of other languages is counted, and the way out is named."""

from __future__ import annotations

import pytest
from languages import notes_in
from tokenizers import Tokenizer

from churn_spark.notes.coverage import FEW_TOKENS, Coverage, added, coverage, tokenizer_of, unread
from churn_spark.notes.weights import PACKAGED, load_tokenizer, model_folder
from churn_spark.settings.notes import Text

ENGLISH = (
    "The internet has been slow since March and nobody from support called me back about the bill. " * 10
)
ARABIC = "الخدمة سيئة جدا ولم يتصل بي أحد منذ شهر مارس وأريد إلغاء العقد واسترداد المبلغ. " * 10


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return load_tokenizer(model_folder(PACKAGED))


def test_coverage_is_told_by_language(tokenizer: Tokenizer) -> None:
    counts = coverage([ENGLISH, ARABIC, "", *notes_in("zh", 50)[0]], tokenizer)
    assert list(counts) == ["ARABIC", "EAST_ASIAN", "en", "other"]
    assert counts["en"].share < 0.02
    assert counts["ARABIC"].share > 0.7
    assert counts["EAST_ASIAN"].share > 0.7


def test_a_latin_language_is_read_in_pieces_but_not_letter_by_letter(tokenizer: Tokenizer) -> None:
    german = coverage(notes_in("de", 50)[0], tokenizer)
    assert all(c.share < 0.25 for c in german.values())


def test_unread_names_the_share_and_the_way_out() -> None:
    warning = unread({"EAST_ASIAN": Coverage(1_000, 900), "en": Coverage(1_000, 3)})
    assert "EAST_ASIAN 90%" in warning
    assert "en " not in warning.split(";")[0].split("letters:")[1]
    assert "multilingual" in warning


@pytest.mark.parametrize(
    "counts", [{}, {"en": Coverage(1_000, 200)}, {"ARABIC": Coverage(FEW_TOKENS - 1, 90)}]
)
def test_unread_is_silent_where_notes_are_read_or_few(counts: dict[str, Coverage]) -> None:
    assert unread(counts) == ""


def test_samples_are_added_by_language() -> None:
    both = added({"en": Coverage(10, 1)}, {"de": Coverage(5, 2), "en": Coverage(20, 3)})
    assert both == {"de": Coverage(5, 2), "en": Coverage(30, 4)}


@pytest.mark.parametrize(("name", "counted"), [("static", True), ("multilingual", False), ("openai", False)])
def test_tokens_are_counted_where_the_models_tokenizer_is_here(name: str, counted: bool) -> None:
    settings = Text.model_validate({"embedder": {"name": name}}).of("note")
    assert (tokenizer_of(settings) is not None) is counted
