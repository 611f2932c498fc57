"""Chats: who says what, and what the customer wants."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

Role = Literal["customer", "agent", ""]

CUSTOMERS = """customer client user caller guest visitor member subscriber buyer consumer shopper kunde kundin anrufer
    cliente usuario usuaria utilisateur klant клиент 客户 顾客 用户 お客様 العميل""".split()  # noqa: SIM905
AGENTS = """agent representative rep support advisor adviser operator assistant bot chatbot csr staff system service
    associate mitarbeiter mitarbeiterin berater beraterin agente asesor asesora conseiller conseillère operador operadora
    medewerker оператор агент 客服 坐席 担当者 الموظف""".split()  # noqa: SIM905

_TIME = r"[\[(]?\d{1,2}:\d\d(?::\d\d)?[ ]?(?:[ap]\.?m\.?)?[\])]?[ \t,–-]*"
_ROLE = "|".join([*CUSTOMERS, *AGENTS])
_ROLE_LABEL = (
    rf"(?:{_ROLE})(?:[ ]?(?:\([^)\n]{{1,20}}\)|service|care|support|agent|rep|\d{{1,3}}|[A-Z][a-z]+))?"
)
_NAME_LABEL = r"[^\W\d_][\w.'’-]{0,20}(?:[ ][^\W\d_][\w.'’-]{0,20}){0,2}"
# At the start of a line any name, within a line only a role: "Agent: hello. Customer: my router ...".
_LABEL = re.compile(
    rf"(?im)^[ \t]*(?:{_TIME})?(?P<name>(?:{_ROLE_LABEL})|(?:{_NAME_LABEL}(?:[ ]\([^)\n]{{1,20}}\))?))[ \t]*(?:{_TIME})?[:：>][ \t]*(?=\S)"
    rf"|(?:(?<=[.!?。！？])[ \t]*|(?<=\s))(?P<role>{_ROLE_LABEL})[ \t]?[:：][ \t]*(?=\S)"
)
_DATED = re.compile(rf"[ \t]*{_TIME}", re.IGNORECASE)
_COLON = re.compile(r"[:：>]")
_SERVES = re.compile(
    r"how (?:can|may) i (?:help|assist)|thank you for (?:calling|contacting|reaching)|(?:help|assist) you (?:with|today)"
    r"|this is \w+ from|wie kann ich (?:ihnen )?helfen|en qué puedo ayudar|comment puis-je vous aider|чем могу помочь|有什么可以帮",
    re.IGNORECASE,
)


class Turn(NamedTuple):
    """What one speaker says at a time; `speaker` as written, empty outside a chat."""

    speaker: str
    role: Role
    text: str


def split_turns(text: str) -> list[Turn]:
    """The turns of a chat, in order; of any other text one turn without a speaker.

    A chat has two turns of a customer's or an agent's, or of names that return or stand beside a time.
    """
    labels = list(_LABEL.finditer(text)) if _COLON.search(text) else []
    names = [(label["name"] or label["role"]).strip() for label in labels]
    roles = [_role(name) for name in names]
    dated = [bool(_DATED.match(label[0])) for label in labels]
    known = [bool(role) or names.count(name) > 1 or is_dated
             for name, role, is_dated in zip(names, roles, dated, strict=True)]  # fmt: skip
    labels = [label for label, is_known in zip(labels, known, strict=True) if is_known]
    speakers = [name for name, is_known in zip(names, known, strict=True) if is_known]
    if len(labels) < 2 or not (any(map(_role, speakers)) or len(set(speakers)) > 1):
        return [Turn("", "", text)]
    ends = [label.start() for label in labels[1:]] + [len(text)]
    spoken = [text[label.end() : end].strip() for label, end in zip(labels, ends, strict=True)]
    role_of = _roles(speakers, spoken)
    head = [Turn("", "", text[: labels[0].start()].strip())] if text[: labels[0].start()].strip() else []
    return head + [Turn(s, role_of[s], said) for s, said in zip(speakers, spoken, strict=True) if said]


def _role(name: str) -> Role:
    first, *others = re.split(r"[\s()]+", name.lower())
    inside = others[:1] if "(" in name else []
    return next(
        ("customer" if w in CUSTOMERS else "agent" for w in (first, *inside) if w in CUSTOMERS + AGENTS), ""
    )


def _roles(speakers: list[str], spoken: list[str]) -> dict[str, Role]:
    """Who is who: by the label; of two bare names the one that offers help is the agent."""
    roles: dict[str, Role] = {speaker: _role(speaker) for speaker in speakers}
    for speaker, said in zip(speakers, spoken, strict=True):
        if not roles[speaker] and _SERVES.search(said):
            roles[speaker] = "agent"
    if "agent" in roles.values() and "customer" not in roles.values():
        roles = {speaker: role or "customer" for speaker, role in roles.items()}
    return roles


# -- what a sentence is worth ---------------------------------------------------------------------------

_COURTESY = re.compile(
    r"""\A\W*(?:(?:hi|hello|hey|good\ (?:morning|afternoon|evening|day)|dear|thanks?|thank\ you|thx|ty|cheers|you(?:'|’)?re\ welcome
      |welcome|bye|goodbye|good\ bye|have\ a|take\ care|no\ problem|my\ pleasure|sure|ok(?:ay)?|great|perfect|alright|yes|no|yeah|yep
      |regards|sorry\ (?:to\ hear|for\ the|about)|i(?:'|’)?m\ sorry\ (?:to\ hear|for\ the|about)|i\ apologi[sz]e|how\ are\ you
      |(?:one|just\ a|a)\ (?:moment|minute|second)|please\ (?:wait|hold)|let\ me\ (?:check|see|look|take)|is\ there\ anything\ else
      |anything\ else|i\ (?:will|can)\ (?:be\ happy|gladly)|i(?:'|’)?(?:d|ll)\ be\ happy|happy\ to\ help|glad\ to|how\ (?:can|may)\ i
      |my\ name\ is|this\ is\ \w+\ (?:from|speaking)|i\ (?:fully\ |completely\ )?understand|i\ hope\ (?:this|you|that)
      |hallo|guten\ (?:tag|morgen|abend)|danke|vielen\ dank|gerne?|bitte\ (?:schön|sehr|warten)|tschüss|schönen\ tag|wie\ kann\ ich
      |hola|buen[oa]s|gracias|muchas\ gracias|de\ nada|adiós|hasta\ luego|bonjour|merci|au\ revoir|de\ rien|ciao|grazie|olá|obrigad[oa]
      |(?:das\ |es\ )?tut\ mir\ (?:sehr\ )?leid|lo\ siento|je\ suis\ désolé|(?:非常|很)?抱歉|对不起|不好意思|请稍等|好的|没问题
      |здравствуйте|добрый\ день|спасибо|до\ свидания|您好|你好|谢谢|感谢|再见|不客气|こんにちは|ありがとう|مرحبا|شكرا)(?:(?!\w)|(?<=[\u3040-\u9fff])))""",
    re.IGNORECASE | re.VERBOSE,
)
SHORTEST_QUESTION = 20  # characters
SHORT = 60  # characters up to which a sentence that begins like a courtesy is nothing else
_REQUEST = re.compile(
    r"""\b(?:i\ (?:want|need|would\ like|wish|demand|request|expect|am\ (?:calling|writing|contacting|looking|trying)|was\ (?:charged|billed)
        |can(?:'|’)?t|cannot|have\ (?:a|an|not|been))|i(?:'|’)d\ like|i(?:'|’)?m\ (?:calling|writing|trying|looking|having)|we\ (?:want|need|would\ like)
      |(?:i|we)(?:'|’)?d\ (?:like|rather|prefer|expect)|(?:i|we)\ (?:won(?:'|’)?t|will\ not)\ (?:renew|pay|stay)
      |(?:let|put|set|move|switch|take|give|get|return|keep|swap|waive|halve|credit|freeze|remove|unlock|bring|send
        |change|restore|block|reverse|stop|add|activate|deactivate|delete|reset|update|correct|transfer|cover|offer|tell)
        \ (?:me|us|it|that|them|my|our|the|this)\b|kindly|would\ it\ be\ possible|is\ there\ (?:any|a)\ way
      |is\ (?:that|this|it)\ (?:a\ mistake|right|possible|correct|normal)|(?:has|have|needs?)\ to\ be|give\ notice
      |(?:can|could|would|will)\ you|please\ (?:cancel|refund|send|fix|change|stop|remove|help|call|credit|close|tell|explain|confirm|replace)
      |cancel\w*|refund\w*|reimburse\w*|replace\w*|compensat\w*|terminate|switch(?:ing)?|leav(?:e|ing)|how\ (?:do|can)\ i|why|when\ will
      |möchte\w*|will|brauche\w*|bitte|kündig\w*|erstatt\w*|stornier\w*|verlange|quiero|quisiera|necesito|solicito|cancelar|reembols\w*|devolu\w*
      |je\ veux|voudrais|souhaite|résili\w*|annul\w*|rembours\w*|voglio|vorrei|rimbors\w*|disdett\w*|quero|gostaria|preciso
      |хочу|нужно|прошу|отмен\w*|верн\w*|расторг\w*)\b|想|要求|需要|请|請|取消|退款|退货|退貨|解約|返金|أريد|إلغاء|استرداد""",
    re.IGNORECASE | re.VERBOSE,
)


def is_courtesy(sentence: str, role: Role = "") -> bool:
    """Whether a sentence only greets, thanks, waits or closes; an agent's offers of help are no request."""
    opening = _COURTESY.match(sentence)
    return bool(opening) and len(sentence) <= SHORT and (role == "agent" or not _REQUEST.search(sentence))


def is_request(sentence: str) -> bool:
    """Whether a sentence says what its speaker wants, in words of some ten languages, or asks for it."""
    asks = sentence.endswith(("?", "？", "؟")) and len(sentence) >= SHORTEST_QUESTION
    return (asks or bool(_REQUEST.search(sentence))) and not is_courtesy(sentence)
