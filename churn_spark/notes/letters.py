"""What of an e-mail is the writer's own matter: without headers, greeting, signature, quoted replies, disclaimers."""

from __future__ import annotations

import re

_REPLY = re.compile(
    r"""^[ \t]*(?:
        -{2,}\s*(?:original\ message|forwarded\ message|ursprüngliche\ nachricht|mensaje\ original|message\ d'origine)
      | (?:on|am|el|le|il)\b[^\n]{5,120}(?:wrote|schrieb|escribió|a\ écrit|ha\ scritto)[^\n]{0,40}:
      | (?:from|von|de|da):[^\n]{1,100}\n[ \t]*(?:sent|date|to|gesendet|datum|an|enviado|envoyé|fecha|para|à):
      | _{10,}
    )""",
    re.IGNORECASE | re.MULTILINE | re.VERBOSE,
)
_QUOTED = re.compile(r"^[ \t]*>[^\n]*\n?", re.MULTILINE)
_HEADER = re.compile(
    r"^[ \t]*(?:from|to|cc|bcc|date|sent|reply-to|von|an|gesendet|datum|de|para|fecha|enviado|envoyé|à)[ \t]*:[^\n]*\n",
    re.IGNORECASE | re.MULTILINE,
)
_SUBJECT = re.compile(
    r"^[ \t]*(?:subject|betreff|asunto|objet|oggetto|re|aw|wg|fwd?)[ \t]*:[ \t]*(?:(?:re|fwd?|aw|wg)[ \t]*:[ \t]*)*",
    re.I | re.M,
)
_CLOSING = re.compile(
    r"""^[ \t]*(?:--[ \t]*$
      | (?:(?:best|kind|warm(?:est)?|many\ thanks\ and)\ (?:regards|wishes)|regards|sincerely|yours\ (?:truly|sincerely|faithfully)
        |respectfully|cheers|many\ thanks|thanks(?:\ (?:again|in\ advance|so\ much))?|thank\ you(?:\ (?:again|in\ advance))?
        |mit\ (?:freundlichen|besten)\ grüßen|(?:freundliche|viele|beste|liebe)\ grüße|(?:un\ )?(?:cordial\ )?saludos?(?:\ cordiales)?
        |atentamente|cordialement|bien\ à\ vous|salutations|cordiali\ saluti|с\ уважением|此致)[ \t]*[,.!]?[ \t]*$
      | sent\ from\ my\ |von\ meinem\ \w+\ gesendet|enviado\ desde\ mi|envoyé\ de\ mon|get\ outlook\ for
    )""",
    re.IGNORECASE | re.MULTILINE | re.VERBOSE,
)
_DISCLAIMER = re.compile(
    r"""^[^\n]*(?:confidential|intended\ (?:solely|only|recipient|for\ the)|legally\ privileged|consider\ the\ environment
      |vertrauliche?\ |confidencial|confidentiel|virus[- ]free|scanned\ (?:by|for))[^\n]*\n?""",
    re.IGNORECASE | re.MULTILINE | re.VERBOSE,
)
_GREETING = re.compile(
    r"""\A\s*(?:dear|hi|hello|hey|good\ (?:morning|afternoon|evening|day)|greetings|to\ whom\ it\ may\ concern
      |sehr\ geehrte\w*|liebe\w*|hallo|guten\ (?:tag|morgen)|estimad\w+|hola|buen\w+\ (?:d[ií]as|tardes)|bonjour
      |madame|monsieur|chère?|gentile|salve|olá|здравствуйте|您好|你好)\b[^\n.?!]{0,50}[,!:.，！：]?[ \t]*\n""",
    re.IGNORECASE | re.VERBOSE,
)


def own_words(text: str) -> str:
    """The text without what surrounds a letter; as it is where nothing would be left."""
    if "\n" not in text:
        return text
    reply = _REPLY.search(text)
    own = text[: reply.start()] if reply and text[: reply.start()].strip() else text
    own = _DISCLAIMER.sub("", _QUOTED.sub("", own))
    own = _SUBJECT.sub("", _HEADER.sub("", own)) if _SUBJECT.search(own) else own
    own = _GREETING.sub("", own)
    closing = next((end for end in _CLOSING.finditer(own) if _is_end(own, end)), None)
    own = own[: closing.start()] if closing and own[: closing.start()].strip() else own
    return own.strip() or text


SIGNATURE_LINES, SIGNATURE_CHARS = 8, 60


def _is_end(text: str, closing: re.Match[str]) -> bool:
    """Whether only short lines follow, as in a signature."""
    lines = text[closing.end() :].split("\n")[1:]
    filled = [line for line in lines if line.strip()]
    return len(filled) <= SIGNATURE_LINES and all(len(line) <= SIGNATURE_CHARS for line in filled)
