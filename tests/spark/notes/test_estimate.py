import logging

import pytest

from churn_spark.settings.layers import load_config
from churn_spark.spark.notes import pricing
from churn_spark.spark.notes.counts import Progress
from churn_spark.spark.notes.estimate import LOAD_SECONDS, estimated_seconds


def text(*settings: str):
    return load_config(settings=list(settings)).text


@pytest.mark.parametrize(
    ("kind", "settings", "seconds"),
    [
        ("embedding", ["text.embedder.precision=int8"], LOAD_SECONDS + 10),
        ("embedding", ["text.embedder.precision=float32"], LOAD_SECONDS + 20),
        ("embedding", ["text.embedder={name: openai, model: m, batch_size: 10}"], 1.0),
        ("summary", ["text.summarizer={name: openai, model: m}", "text.summarizer.remote.requests_per_minute=60"], 100),
        ("summary", [], None),
        ("note", [], None),
    ],
)  # fmt: skip
def test_estimated_seconds(kind, settings, seconds) -> None:
    assert estimated_seconds(kind, text(*settings), texts=100, tokens=320_000, slots=2) == seconds


@pytest.mark.parametrize(
    ("texts", "settings", "told"),
    [
        (100, ["text.embedder.precision=int8"], {"about_seconds": LOAD_SECONDS + 10}),
        (100, ["text.summarizer={name: openai, model: m}", "text.summarizer.remote.requests_per_minute=60",
               "text.embedder.precision=int8"], {"about_seconds": 100 + LOAD_SECONDS + 10}),
        (0, [], {}),
    ],
)  # fmt: skip
def test_a_dry_run_says_how_long_it_would_take(texts, settings, told) -> None:
    assert pricing._seconds(texts, 320_000, text(*settings), 2) == told


@pytest.mark.parametrize(("about", "told"), [(24.6, "chunks=1 about_seconds=25"), (None, "chunks=1")])
def test_a_step_says_how_long_it_takes_before_it_begins(about, told, caplog) -> None:
    caplog.set_level(logging.INFO)
    Progress("embedding", "ticket_notes", 3565, 1, about=about)
    assert caplog.messages == [f"step=text kind=embedding column=ticket_notes starts, texts=3565 {told}"]
