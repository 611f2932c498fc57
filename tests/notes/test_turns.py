"""Chats keep their speakers, and what the customer wants comes first."""

from __future__ import annotations

import pytest

from churn_spark.notes.summarizers import summarize
from churn_spark.notes.turns import is_courtesy, is_request, split_turns
from churn_spark.settings.notes import Summarizer

CHAT = """Agent: Thank you for contacting Acme support, how can I help you today?
Customer: Hi, I was charged twice for my March invoice and I want a refund of 45 dollars.
Agent: I'm sorry to hear that. Let me check your account for the March invoice.
Customer: Thanks.
Agent: I can see two charges for the March invoice. I have raised a request for the March invoice.
Customer: If this is not fixed today I will cancel my contract. Okay, thank you. Bye."""


@pytest.mark.parametrize(
    ("text", "turns"),
    [
        ("Agent: hello\nCustomer: it broke", [("Agent", "agent", "hello"), ("Customer", "customer", "it broke")]),
        ("客服：您好。\n客户：我要退款。", [("客服", "agent", "您好。"), ("客户", "customer", "我要退款。")]),
        ("Agent: hi. Customer: it died.", [("Agent", "agent", "hi."), ("Customer", "customer", "it died.")]),
        ("[10:02] Maria: How may I assist you?\n[10:03] Jo Smith: no line\n[10:04] Maria: ok",
         [("Maria", "agent", "How may I assist you?"), ("Jo Smith", "customer", "no line"), ("Maria", "agent", "ok")]),
        ("Two things: the bill and the line.", [("", "", "Two things: the bill and the line.")]),
        ("Order: 12\nAmount: 30", [("", "", "Order: 12\nAmount: 30")]),
        ("", [("", "", "")]),
    ],
)  # fmt: skip
def test_split_turns_knows_who_speaks(text: str, turns: list[tuple[str, str, str]]) -> None:
    assert [tuple(turn) for turn in split_turns(text)] == turns


@pytest.mark.parametrize(
    "text", ["Thanks.", "Hi there!", "Please hold a moment.", "Vielen Dank.", "谢谢，再见。", "Okay, bye"]
)
def test_a_courtesy_is_worth_nothing(text: str) -> None:
    assert is_courtesy(text)
    assert not is_request(text)


@pytest.mark.parametrize(
    "text", ["Hi, I want a refund.", "Thanks for nothing, cancel it.", "Quiero el reembolso.", "我要取消。"]
)
def test_a_request_is_none(text: str) -> None:
    assert is_request(text)
    assert not is_courtesy(text)


def test_a_summary_of_a_chat_holds_the_request_and_its_speaker() -> None:
    [summary] = summarize([CHAT], Summarizer(max_sentences=2))
    assert summary.text == (
        "Customer: Hi, I was charged twice for my March invoice and I want a refund of 45 dollars. "
        "If this is not fixed today I will cancel my contract."
    )


def test_an_agent_s_sentence_is_not_taken_for_the_customer_s() -> None:
    [summary] = summarize([CHAT], Summarizer(max_sentences=3))
    assert "Agent: I " in summary.text
    assert "hear that" not in summary.text


@pytest.mark.parametrize(
    "unit", ["Customer: a\n", "a: b\n", "10:30 ", "Agent ", "x> ", "thank you ", "i am "]
)
def test_split_turns_loses_no_word_of_long_texts(unit: str) -> None:
    text = unit * 3_000
    assert sum(turn.text.count("a") for turn in split_turns(text)) <= text.count("a")
