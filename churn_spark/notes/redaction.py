"""Personal data in notes -> typed placeholders, and the plain forms of a text.

Every pattern is anchored to exact lengths or bounded repeats, so that time grows linearly with the text. What
a pattern alone cannot tell is decided by check digits (Luhn, mod 97) or by the words just before a number, in a
chat also those of the turn before. Names of people and postal addresses are not redacted.
"""

from __future__ import annotations

import html
import ipaddress
import re
from collections import Counter
from collections.abc import Callable
from functools import partial

from churn_spark.contract.values import EMPTY_NOTES

VERSION = "4"  # part of cache identities: change it with any rule below
CLEANING = "2"  # the same for what `normalize` does
KINDS = ("URL", "EMAIL", "IBAN", "CARD", "SSN", "IP", "PHONE")

Match = re.Match[str]


def normalize(text: str, *, max_chars: int) -> tuple[str, bool]:
    r"""Return the text with control characters and lone surrogates as spaces and line ends as \n, stripped.

    HTML's entities and line breaks (&amp;, &nbsp;, <br>) become what they stand for.

    A text longer than `max_chars` is cut there, or at the white space before it, so that no address or number
    is cut in two; the second value says whether it was. All else stays as written.
    """
    plain = _unescaped(text.replace("\r\n", "\n").replace("\r", "\n"))
    text = _UNPRINTABLE.sub(" ", plain).strip()
    if len(text) <= max_chars:
        return text, False
    return _PARTIAL_WORD.sub("", text[: max_chars + 1])[:max_chars].rstrip(), True


def redact(text: str) -> tuple[str, dict[str, int]]:
    """Replace personal data by placeholders such as [EMAIL]; return the text and the counts per kind.

    The kinds are KINDS. Repeated until nothing is left to replace, since a
    placeholder can lay bare what stood beside it; redacting a redacted text therefore changes nothing.
    """
    counts: Counter[str] = Counter()
    before = ""
    while text != before:
        before = text
        for kind, sign, pattern, holds in _RULES:
            if sign.search(text):
                text = pattern.sub(partial(_placeholder, kind=kind, holds=holds, counts=counts), text)
    return text, dict(counts)


def fold(text: str) -> str:
    """Return one spelling for all the texts that an uncased BERT tokenizer reads as the same tokens.

    Lower-cases character by character (a tokenizer knows no final sigma) and folds the white space it splits
    at. No NFKC, no casefold: full-width letters, ligatures and sharp s have tokens of their own. A special
    token in the text is read case-sensitively, so it stays.
    """
    parts = _SPECIAL_TOKEN.split(text)
    parts[::2] = ["".join(map(str.lower, part)) for part in parts[::2]]
    return _SPACE.sub(" ", "".join(parts)).strip(" ")


def is_blank(text: str) -> bool:
    """Say whether a note holds nothing to read."""
    return text.strip().lower() in EMPTY_NOTES


def _unescaped(text: str) -> str:
    if "&" in text:
        text = _ENTITY.sub(lambda entity: html.unescape(entity[0]), _AMPERSAND.sub("&", text))
    return _BREAK.sub("\n", text) if "<" in text else text


_AMPERSAND = re.compile(r"&(?:(?:amp|AMP|#0{0,5}38|#[xX]0{0,5}26);)+")
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z]{2,8}\d{0,2});")
_BREAK = re.compile(r"<(?:br[ ]?/?|/p|/div)>", re.IGNORECASE)
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_PARTIAL_WORD = re.compile(r"(?<=\s)\S{1,80}\Z")
_SPECIAL_TOKEN = re.compile(r"(\[(?:PAD|UNK|CLS|SEP|MASK)\])")
_SPACE = re.compile(r"[ \t\n\r\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+")


# -- rules ----------------------------------------------------------------------------------------------

_SEP = "[ \u00a0.\u2010-\u2013-]"  # between groups of digits: space, no-break space, dot, hyphens
_SEPS = "[ \u00a0.\u2010-\u2013/()-]{0,3}"  # the same within a phone number, where (0) may stand too

_URL_TAIL = r"""[^\s<>"'\u3000-\u303f\uff00-\uffef]+(?<![.,;:!?)\]}])"""  # up to closing punctuation
_TLD = (
    "app|at|au|be|biz|br|ca|ch|cn|co|com|de|dev|edu|es|eu|fr|gl|gov|in|info|io|it|jp|ly|me|net|nl|org|pl|ru"
    "|se|uk|us"
)
_URL = rf"\b[a-z][a-z0-9+.-]{{1,15}}:[ ]?//{_URL_TAIL}"
_BARE_URL = rf"(?<![\w@.-])(?:www\.|(?:[a-z0-9-]{{1,63}}\.){{1,4}}(?:{_TLD})[/?]){_URL_TAIL}"
_HOST = r"(?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,24}"
_EMAIL = rf"""(?:\w[\w.%+'&-]{{0,63}}+|"[^"\n@]{{1,40}}")(?:@|＠){_HOST}"""
# As people write it to be clever, or as it is spoken: name (at) host [dot] tld, name @ host.tld.
_AT = r"[ \t]?(?:[(\[{<][ \t]?(?:at|ät|arroba|@|arobase|a)[ \t]?[)\]}>]|@)[ \t]?"
_DOTS = "dot|punkt|punto|point"
_DOT = rf"(?:\.|[ \t]?[(\[{{<][ \t]?(?:{_DOTS}|\.)[ \t]?[)\]}}>][ \t]?|[ \t](?:{_DOTS})[ \t])"
_SPACED_EMAIL = (
    rf"(?<![\w@])(?=[\d.]{{0,30}}[^\W\d])\w[\w.%+'&-]{{0,63}}+{_AT}"
    rf"(?:[\w-]{{1,63}}{_DOT}){{1,4}}[^\W\d_]{{2,12}}(?!\w)"
)
_SPOKEN_EMAIL = (
    r"(?<![\w@])\w[\w.%+'&-]{0,63}+"
    rf"(?:[ \t](?:{_DOTS}|underscore|unterstrich|dash|minus|guion)[ \t]\w{{1,30}}){{0,3}}"
    r"[ \t](?:at|arroba|arobase|ät|chez)[ \t]"
    rf"(?:[\w-]{{1,63}}{_DOT}){{1,4}}(?:{_TLD})(?!\w)"
)

# ISO 13616 gives each country's length; with it, the words that follow are not swallowed.
_IBAN_LENGTHS = """
    AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DK18 DO28 EE20 EG29
    ES24 FI18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20
    LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MR27 MT31 MU30 NL18 NO15 PK24 PL28 PS29 PT25
    QA29 RO24 RS22 SA24 SC31 SD18 SE24 SI19 SK24 SM27 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20
"""


def _iban_of(country: str, length: int) -> str:
    return rf"{country}[ ]?\d\d(?:[ \u00a0\u2009\n._/\u2010-\u2013-]{{0,2}}[A-Z0-9]){{{length - 4}}}"


_IBANS = "|".join(_iban_of(entry[:2], int(entry[2:])) for entry in _IBAN_LENGTHS.split())
_IBAN = rf"(?<!\w)(?=[A-Z]{{2}}[ ]?\d\d)(?:{_IBANS})(?!\w)"

_CARD = rf"""(?<!\d)(?<!\d\.)(?:
    (?:2[2-7]|35|[456]\d)\d\d ({_SEP}?) \d{{4}} \1 \d{{4}} \1 \d{{4}} (?:\1\d{{1,3}})??
    | 3[47]\d\d ({_SEP}?) \d{{6}} \2 \d{{5}}
    | 3[068]\d\d ({_SEP}?) \d{{6}} \3 \d{{4}}
    | 4\d{{12}}
    )(?!\d)"""

# Any grouping of 13 to 19 digits, decided by the issuer's prefix, the length and the groups.
_LOOSE_CARD = (
    r"(?<!\d)(?<!\d[.,])(?:2[2-7]|3\d|[456]\d)(?:[ \u00a0\n._/*|,\u2010-\u2013-]{0,3}\d){11,17}(?!\d)"
)
_CARD_GROUPS = re.compile(
    r"[\d]{4}(?:\D{1,3}\d{4}){2,3}(?:\D{1,3}\d{1,4})?|\d{13,19}|3\d{3}\D{1,3}\d{6}\D{1,3}\d{4,5}"
)

_SSN = rf"(?<![\d-])(?!000|666|9)\d{{3}}({_SEP})(?!00)\d\d\1(?!0000)\d{{4}}(?![\d-])"
_BARE_SSN = r"(?<!\w)(?!000|666|9)\d{3}(?!00)\d\d(?!0000)\d{4}(?!\w)"

_OCTET = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_LINE = r"[ ]?[-./\u2010-\u2013_][ ]?"
_SPACED_SSN = rf"(?<![\d-])(?!000|666|9)\d{{3}}{_LINE}(?!00)\d\d{_LINE}(?!0000)\d{{4}}(?![\d-])"

_IPV4 = rf"(?<![\w.])(?:{_OCTET}\.){{3}}{_OCTET}(?!\w|\.\d)"
_IPV6 = r"(?<![\w:.])(?=[0-9a-f]{0,4}:[0-9a-f]{0,4}:)[0-9a-f:]{3,39}+(?!\w)"

_DATE = r"\d\d?/(?:19|20)\d\d(?!\d)|\d\d?[-./ ]\d\d?[-./ ](?:19|20)\d\d(?!\d)|(?:19|20)\d\d[-./](?:19|20)?\d\d(?!\d)"
_DECIMAL = r"\d+\.\d+(?![.\d])"
_IBAN_HEAD = r"[A-Z]{2}\d\d[ ]\d{4}[ ]"
_NO_NUMBER_BEFORE = (  # nor the start of an IBAN
    rf"(?<![\w+$€£#])(?<!\d[.:-])(?<!{_IBAN_HEAD})(?<!{_IBAN_HEAD}\d{{4}}[ ])"
)
_NUMBER_START = rf"{_NO_NUMBER_BEFORE}(?!{_DATE}|{_DECIMAL})"
_NUMBER_END = r"(?!\w|[.:-]\d|/\d\b|[ \u00a0]?(?:[$€£%]|(?:usd|eur|gbp|inr)\b))"
_PHONE = rf"""{_NUMBER_START}(?:
    (?:\+[ ]?|00) 1 {_SEPS} \d{{3}} {_SEPS} \d{{3}} {_SEPS} \d{{4}}              # North America
    | \+[ ]? [2-9] (?:{_SEPS}\d){{8,13}} | 00[2-9] (?:{_SEPS}\d){{9,13}}         # international
    | (?:1{_SEP}?)? (?:\([2-9]\d\d\){_SEP}? | [2-9]\d\d(?:{_SEP}|/)) \d{{3}} {_SEP}? \d{{4}}
    | \(0[1-9]\d{{0,3}}\) (?:{_SEPS}\d){{5,9}} | 0[1-9] (?:{_SEPS}\d){{7,10}}      # trunk prefix 0
    | \(\d{{2,5}}\) {_SEP}? \d{{3,5}} {_SEP}? \d{{3,4}}                          # area in brackets
    | [6-9]\d{{4}} {_SEP} \d{{5}}                                                # India
    | 1[3-9]\d {_SEP} \d{{4}} {_SEP} \d{{4}}                                     # China
    | 1[38]00 {_SEP} \d{{3}} {_SEP} \d{{3}}                                      # Australia, service numbers
    ){_NUMBER_END}"""
_ANNOUNCED_PHONE = (
    rf"{_NO_NUMBER_BEFORE}(?!{_DATE}|(?!\d{{3}}\.\d{{4}}\b){_DECIMAL})\(?\d(?:{_SEPS}\d){{6,12}}{_NUMBER_END}"
)


def _last_words(words: str, filler: str) -> re.Pattern[str]:
    """Match one of the words at the end of a text, with nothing but filler after it."""
    return re.compile(rf"(?<![\w[])(?:{'|'.join(words.split())})\b(?:{filler})*$", re.IGNORECASE)


_PHONES = r"""phones? telephone tel telefon\w* t[eé]l t[eé]l[eé]phon\w* tel[eé]fono\w* tlf tfno mobiles? mob cell
    cellphone landline fax handy\w* hotline whatsapp sms call called calling callback text texted ring rang dial
    dialled dialed reach reached contact contacted rufnummer r[uü]ckruf mobilnummer anrufe?n? angerufen ruf rufen ruft
    appele[rz]? rappele[rz]? appel joindre portable ll[aá]m\w* celular m[oó]vil chiam\w* richiam\w* cellulare
    lig\w{1,3} telefone telem[oó]vel bel bellen terugbellen mobiel zadzwo\w* kom[oó]rk\w* ring\w* тел телефон\w*
    звони\w* позвони\w* номер\w* 电话 電話 手机 手機 致电 拨打 هاتف\w* اتصل\w* फ़ोन"""
# Announced by such words a number is a phone whatever its shape; after the others it is none.
_PHONE_WORDS = _last_words(
    _PHONES,
    r"[\W\d_]|\b(?:numbers?|no|nr|num|is|was|are|at|on|to|me|us|him|her|them|my|our|his|their|the|new|back"
    r"|under|or|and|line|please|via|home|work|office|daytime|mobile|cell|phone|bitte|unter|mich|uns|ist|die|der"
    r"|meine?|sie|para|ou|el|la|al|mi|es|por|favor|le|au|moi|mon|sur|est|il|mio"
    r"|num[eé]ro|n[uú]mero|nummer|é|è|op|het|na|pod)\b",
)
_OTHER_NUMBERS = r"""orders? invoices? tickets? cases? ref reference tracking serial accounts? acct sku model parts?
    items? claim policy contract imei meter confirmation booking po rma batch product isbn ean upc vin iccid sim
    customer client member user transaction txn payment receipt barcode id bestellung auftrag rechnung vertrag
    (?!r[uü]ck|ruf|telefon|handy|mobil|fax|durchwahl)\w{3,14}(?:nummer|nr)
    pedido contrato factura commande contrat facture dossier ordine contratto fattura"""
_OTHER_NUMBER_WORDS = _last_words(
    _OTHER_NUMBERS,
    r"[ :#=,(-]|\d|\b(?:number|no|nr|num)\b\.?|\b(?:ids?|code|is|was|are|and|or)\b",
)
_CARD_WORDS = _last_words(
    r"cards? visa master\s?card amex american\s+express maestro diners jcb cc kreditkarten?\w* carte tarjeta carta"
    " cart[aã]o karta kartennummer",
    r"\W|\b(?:number|no|nr|num|is|was|bancaire|de|cr[eé]dito|credito|my|the|ist)\b",
)
_EMAIL_WORDS = _last_words(
    r"e-?mails? mails? address adresse correo courriel write reach contact",
    r"\W|\b(?:is|me|us|to|at|address|id|it|ist|es|my|the|das|electr[oó]nico|please|under|an|a)\b",
)
_SSN_WORDS = _last_words(r"ssn ss soc(?:ial)?(?:\s+sec(?:urity)?)?", r"\W|\b(?:number|no|nr|num|is|my|the)\b")
_VERSION_WORDS = _last_words(
    "version ver v firmware fw build release update patch driver software app section clause chapter", r"\W"
)


def _follows(match: Match, words: re.Pattern[str]) -> bool:
    return bool(words.search(match.string, max(0, match.start() - 40), match.start()))


# In a chat the number follows in the next turn: "your number?", then "Customer: it's 555 0199".
_ASKED = re.compile(
    rf"(?<![\w[])(?:(?P<other>(?:{'|'.join(_OTHER_NUMBERS.split())})(?:\W{{1,3}}(?:number|no|nr|num|id|code))?)"
    rf"|{'|'.join(_PHONES.split())}|numbers?|digits|num[eé]ro|n[uú]mero|nummer|номер)\b",
    re.IGNORECASE,
)
_ANSWERING = re.compile(
    rf"""\s*(?:[\[(]?\d\d?:\d\d(?::\d\d)?[ ]?(?:[ap]\.?m\.?)?[\])]?)?[ \t,-]*
    (?:[^\W\d_][\w .'()#-]{{0,30}}[:>-])?
    (?!.*\b(?:{"|".join(_OTHER_NUMBERS.split())}|pa(?:y|id)|charged?|owed?|used|balance|bill(?:ed)?|points?)\b)
    [^\d\n]{{0,50}}\Z""",
    re.IGNORECASE | re.VERBOSE,
)
ASKED_WITHIN = 200  # characters


def _is_answer(match: Match) -> bool:
    """Whether the turn before asked for a phone number, and this one begins by giving it."""
    before, line, here = match.string[max(0, match.start() - ASKED_WITHIN) : match.start()].rpartition("\n")
    if not line or not _ANSWERING.match(here):
        return False
    asked = [found["other"] for found in _ASKED.finditer(before.rstrip().rpartition("\n")[2])]
    return bool(asked) and asked[-1] is None


def _is_ipv4(match: Match) -> bool:
    return not _follows(match, _VERSION_WORDS)


def _is_ipv6(match: Match) -> bool:
    try:
        ipaddress.IPv6Address(match[0])
    except ValueError:
        return False
    return any(map(str.isdigit, match[0]))


def _is_card(match: Match) -> bool:
    """Luhn, ISO/IEC 7812-1."""
    digits = [int(c) for c in match[0] if c.isdigit()][::-1]
    doubled = (d * 2 - 9 * (d > 4) for d in digits[1::2])
    return (sum(digits[::2]) + sum(doubled)) % 10 == 0


def _is_loose_card(match: Match) -> bool:
    digits = [c for c in match[0] if c.isdigit()]
    lengths = {"4": (13, 16, 19), "3": (14, 15, 16)}.get(digits[0], (16, 19))
    is_grouped = bool(_CARD_GROUPS.fullmatch(match[0])) or _follows(match, _CARD_WORDS)
    return len(digits) in lengths and is_grouped and _is_card(match)


def _is_email(match: Match) -> bool:
    """Spoken like this it is an address where one was announced, or where its name is no plain word."""
    name = match[0].split()[0]
    return not name.isalpha() or _follows(match, _EMAIL_WORDS)


def _is_iban(match: Match) -> bool:
    """ISO 7064 mod 97-10."""
    iban = "".join(filter(str.isalnum, match[0]))
    return iban.isascii() and int("".join(str(int(c, 36)) for c in iban[4:] + iban[:4])) % 97 == 1


def _is_phone(match: Match) -> bool:
    too_short = match[0].isdigit() and len(match[0]) < 10
    return match[0][0] == "+" or not (too_short or _follows(match, _OTHER_NUMBER_WORDS))


def _always(match: Match) -> bool:
    return True


def _placeholder(match: Match, kind: str, holds: Callable[[Match], bool], counts: Counter[str]) -> str:
    if not holds(match):
        return match[0]
    counts[kind] += 1
    return f"[{kind}]"


# Kind, a sign that is cheap to look for and that every match bears, the pattern, what else must hold.
_SEVEN_DIGITS = r"\d(?:[\W_]{0,3}\d){6}"
_RULES = tuple(
    (kind, re.compile(sign), re.compile(pattern, re.IGNORECASE | re.VERBOSE), holds)
    for kind, sign, pattern, holds in (
        ("URL", ":[ ]?//", _URL, _always),
        ("URL", r"\.\w+[./?]", _BARE_URL, _always),
        ("EMAIL", "[@＠]", _EMAIL, _always),
        ("EMAIL", r"(?i)@|[(\[{<]\s?(?:at|ät|arroba|arobase|a)\s?[)\]}>]", _SPACED_EMAIL, _always),
        ("EMAIL", r"(?i)\s(?:at|ät|arroba|arobase|chez)\s", _SPOKEN_EMAIL, _is_email),
        ("IBAN", r"[A-Za-z][ ]?\d\d", _IBAN, _is_iban),
        ("CARD", _SEVEN_DIGITS, _CARD, _is_card),
        ("CARD", _SEVEN_DIGITS, _LOOSE_CARD, _is_loose_card),
        ("SSN", _SEVEN_DIGITS, _SSN, _always),
        ("SSN", _SEVEN_DIGITS, _SPACED_SSN, partial(_follows, words=_SSN_WORDS)),
        ("SSN", _SEVEN_DIGITS, _BARE_SSN, partial(_follows, words=_SSN_WORDS)),
        ("IP", r"\d\.\d+\.\d", _IPV4, _is_ipv4),
        ("IP", ":[0-9A-Fa-f]*:", _IPV6, _is_ipv6),
        ("PHONE", _SEVEN_DIGITS, _PHONE, _is_phone),
        ("PHONE", _SEVEN_DIGITS, _ANNOUNCED_PHONE, partial(_follows, words=_PHONE_WORDS)),
        ("PHONE", _SEVEN_DIGITS, _ANNOUNCED_PHONE, _is_answer),
    )
)
