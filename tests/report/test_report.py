"""The report: one file that asks nobody for anything, escapes everything and leaves out the unknown."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from report_data import HOSTILE, everything, facts, measure, measured, simulate

from churn_spark.evaluation.findings import Finding
from churn_spark.notes.coverage import Coverage
from churn_spark.report.html import write_model_card, write_report

NO_CURVES = pd.DataFrame()
VOID = {"meta", "br", "link", "img", "input", "hr"}


class Page(HTMLParser):
    """What a browser would see: tags that balance, attributes, and text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    return measured()


@pytest.fixture(scope="module")
def full(tables: tuple[pd.DataFrame, pd.DataFrame], tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_report(tmp_path_factory.mktemp("report"), *tables, everything()).read_text()


def test_write_report_is_one_file_without_script_or_request(full: str) -> None:
    page = Page(full)
    assert not page.open
    assert "svg" in page.tags
    assert not page.tags & {"script", "link", "img", "iframe", "object", "embed", "form", "base"}
    assert not [a for a in page.attributes if a[0] == "src" or a[0].startswith("on")]
    links = [value for name, value in page.attributes if name.endswith("href")]
    assert links
    assert all(link.startswith("#") for link in links)
    assert "url(http" not in full
    assert "@import" not in full


def test_write_report_escapes_every_text_from_data(full: str) -> None:
    assert HOSTILE in Page(full).text
    assert "<script" not in full
    assert full.count("&lt;script&gt;") > 12


def test_write_report_keeps_attributes_closed(
    tables: tuple[pd.DataFrame, pd.DataFrame], tmp_path: Path
) -> None:
    imported = pd.DataFrame({"source": ['" onload="x'], "gain": [1.0], "contribution": [1.0]})
    metrics, curves = tables
    page = Page(write_report(tmp_path, metrics, curves.head(0), facts(importance=imported)).read_text())
    assert '" onload="x' in page.text
    assert "onload" not in {name for name, _ in page.attributes}


def test_write_report_starts_with_the_verdict(full: str) -> None:
    text = Page(full).text
    places = [text.index(part) for part in ("Use with care", "earned per 1,000", "Better than no model?",
                                            "What it is worth", "How it was made")]  # fmt: skip
    assert places == sorted(places)


def test_write_report_shows_every_section_once(full: str) -> None:
    assert full.count("<h2>") == 8
    for title in ("Words of those who leave", "What an agent sees", "Why rows were rejected", "Every metric"):
        assert full.count(title) == 1


def test_write_report_leaves_out_what_it_does_not_know(
    tables: tuple[pd.DataFrame, pd.DataFrame], tmp_path: Path
) -> None:
    metrics, curves = tables
    profit = curves[curves["curve"] == "profit"]
    text = Page(write_report(tmp_path, metrics, profit, facts()).read_text()).text
    assert "What contacting earns" in text
    for title in ("Do the notes help?", "Words of those", "What sets those", "Is anything giving", "Rows"):
        assert title not in text


@pytest.mark.parametrize(("quotes", "named"), [(True, ["rare", "shared"]), (False, ["shared"])])
def test_write_report_names_rare_words_only_where_notes_may_be_quoted(
    quotes: bool, named: list[str], tmp_path: Path
) -> None:
    phrases = pd.DataFrame(
        {"phrase": ["rare", "shared"], "effect": [1.0, 1.0], "n_churned": [15, 15], "n_stayed": [4, 5]}
    )
    known = facts(phrases=phrases, quotes=quotes)
    text = Page(write_report(tmp_path, measure(*simulate(300))[0], NO_CURVES, known).read_text()).text
    assert [word for word in ("rare", "shared") if word in text.split("In the notes")[1]] == named


@pytest.mark.parametrize("label", [[], [0, 0, 0, 0], [0, 1, 0, 1]])
def test_write_report_survives_tiny_test_sets(label: list[int], tmp_path: Path) -> None:
    table, lines = measure(label, [0.1, 0.9, 0.3, 0.3][: len(label)])
    page = Page(write_report(tmp_path, table, lines, facts()).read_text())
    assert not page.open
    assert "Not judged" in page.text
    assert "nan" not in page.text.lower()


def test_write_report_repeats_itself_to_the_byte(tmp_path: Path) -> None:
    metrics, known = measure(*simulate(300))[0], facts(findings=(), rows={"in": 3, "valid": 3})
    first, second = (write_report(tmp_path, metrics, NO_CURVES, known).read_bytes() for _ in range(2))
    assert first == second


def test_write_report_says_what_a_cross_section_means(full: str, tmp_path: Path) -> None:
    assert "not who will leave next month" in full
    panel = facts(label_basis="panel", split_mode="time")
    text = write_report(tmp_path, measure(*simulate(300))[0], NO_CURVES, panel).read_text()
    assert "not who will leave next month" not in text


def test_write_report_writes_lone_surrogates_as_something_readable(tmp_path: Path) -> None:
    metrics, _ = measure(*simulate(300))
    path = write_report(tmp_path, metrics, NO_CURVES, facts(input="a\ud800b\x00c"))
    assert "a b c" in path.read_text(encoding="utf-8")


def test_write_model_card_gives_metrics_with_intervals(
    tables: tuple[pd.DataFrame, pd.DataFrame], tmp_path: Path
) -> None:
    metrics = tables[0]
    card = write_model_card(tmp_path, metrics, facts()).read_text()
    row = metrics[
        (metrics["split"] == "test") & (metrics["slice"] == "all") & (metrics["metric"] == "roc_auc")
    ]
    value, low, high = row[["value", "ci_low", "ci_high"]].iloc[0]
    assert f"| ROC-AUC | {value:.3f} | {low:.3f} to {high:.3f} |" in card
    for heading in ("Intended use", "Not for", "Data", "Limits", "Leak audit"):
        assert f"## {heading}" in card


def test_write_model_card_says_what_could_not_be_measured(tmp_path: Path) -> None:
    card = write_model_card(tmp_path, measure([], [])[0], facts()).read_text()
    assert "could not be measured" in card
    assert "No leak audit was made" in card
    assert "nan" not in card


def test_write_model_card_repeats_findings_and_escapes_them(
    tables: tuple[pd.DataFrame, pd.DataFrame], tmp_path: Path
) -> None:
    finding = Finding("fail", "column_is_the_label", f"a|b {HOSTILE} [x](y)")
    card = write_model_card(tmp_path, tables[0], facts(findings=(finding,))).read_text()
    assert r"a\|b &lt;script&gt;alert(1)&lt;/script&gt; \[x\](y)" in card
    assert "<script" not in card


@pytest.mark.parametrize(("unreadable", "said"), [(900, True), (20, False)])
def test_report_and_card_say_where_the_embedding_model_cannot_read_the_notes(
    tables: tuple[pd.DataFrame, pd.DataFrame], tmp_path: Path, unreadable: int, said: bool
) -> None:
    text = {"notes": 50, "computed": 40, "coverage": {"ARABIC": Coverage(1_000, unreadable)}}
    page = Page(write_report(tmp_path, *tables, facts(text=text)).read_text()).text
    card = write_model_card(tmp_path, tables[0], facts(text=text)).read_text()
    assert "20% cost nothing" in page
    assert (f"ARABIC {unreadable / 1_000:.0%}" in page) is said
    assert ("churn-spark[multilingual]" in page) is said
    assert ("text.embedder.name to multilingual" in card.replace("\\", "")) is said
