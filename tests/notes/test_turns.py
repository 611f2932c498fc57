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


@pytest.mark.parametrize(
    ("text", "request_kept"),
    [
        ("Agent: Thanks for calling. This is Omar.\nCustomer: We moved last month and the new flat has no coverage.\n"
         "Customer: I called before and was told it would get better. It did not.\nCustomer: Just let me out of the "
         "contract without the fee.\nAgent: There is a form for moving house.", "let me out of the contract"),
        ("Anna: Hi\nMike (Support): Hi Anna! How's your day?\nAnna: meh. The price went up again.\n"
         "Mike (Support): Yes, by 3%.\nAnna: that's the third time in two years\nAnna: what's the cheapest thing you "
         "have?\nMike (Support): Basic for 9.99.\nAnna: put me on that", "put me on that"),
        ("Rep: Hello\nUser: the invoices go to my ex husband still\nRep: Oh.\nUser: I changed the address in May\n"
         "User: it's a privacy matter, I have a court order\nUser: change it now and confirm in writing",
         "change it now"),
        ("Dear support,\n\non 3 May you took 49.90 from my account, and on 4 May the same again. The bank confirms"
         " both. I have been a customer since 2016 and this never happened. Kindly return the second payment by Friday."
         "\n\nKind regards,\nMarta", "return the second payment"),
        ("FROM: j.roe\nTO: support\nRE: RE: ticket\n\nThe voucher you sent has expired. Would it be possible to get a "
         "new one? Also the portal shows my old address. I changed it in August.", "get a new one"),
        ("Hello Ms Green,\n\nI talked to my husband. We think that the bundle is too big for two old people. The phone "
         "line is enough. What would just the phone cost? My neighbour pays 12 elsewhere.", "just the phone cost"),
    ],
)  # fmt: skip
def test_a_summary_keeps_what_is_wanted_in_whatever_words(text: str, request_kept: str) -> None:
    summary = summarize([text], Summarizer(min_chars=20))[0].text
    assert request_kept in summary
    assert "FROM" not in summary
