"""Whether a text can be a summary of another one: by script, language and shared words."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

MIN_LETTERS = 10  # of which a script is told
DOMINANT = 0.6
LEAD = 1.5  # times the function words of the next language
LEAST_SHARED = 0.1  # of the words that carry the matter
LONG_NOTE = 200

_WORD = re.compile(r"[^\W\d_]+")
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]{2}")

# The commonest words of a language that carry no matter.
FUNCTION_WORDS = {
    "en": "the and is was are to of for with that they not have has been be in on it his her their were will from by",
    "de": "der die das und ist nicht ich ein eine mit für auf hat den dem zu sich wurde werden war von er sie es im",
    "fr": "le les des est une pas je pour avec dans sur il elle et du au être a été ne ce qui par son leur",
    "es": "el los las una por con para está no se lo su y del al ha es fue porque más muy pero mi quiere",
    "it": "il che non per una sono con è gli della di ha del si nel dei le era stato più ma vuole lo",
    "pt": "o os não uma para com está do da em um ao foi é mais se dos das sua seu ele ela mas quer",
    "nl": "de het een van niet ik met voor is en op te dat zijn heeft werd wordt naar aan hij zij maar",
}
_LANGUAGES: dict[str, frozenset[str]] = {
    name: frozenset(words.split()) for name, words in FUNCTION_WORDS.items()
}

# Stems of what any summary of any note may say.
_GENERIC = frozenset(
    """cust clie want wish ask aske requ said says stat repo cont call comp unha upse frus diss sati happ angr
    annoy anno disa conc issu prob serv supp team feel expr ment desc seek need like thre canc leav summ note
    kund möch unzu zufr prob fühl wüns sich mich dien clie quie pide serv prob enfa insa veut dema cont prob
    they them thei that this with have been from will were what when also very more than into afte befo abou
    which whic because beca over again agai still stil does about being bein""".split()  # noqa: SIM905
)


def implausibility(answer: str, text: str) -> str:
    """Why an answer cannot be a summary of this text, in a word; empty where it can."""
    if not any(len(word) > 1 or _UNSPACED.search(word * 2) for word in _WORD.findall(answer)):
        return "no_words"
    scripts = script(answer), script(text)
    if all(scripts) and scripts[0] != scripts[1]:
        return "script"
    languages = language(answer, least=3), language(text, least=4)
    if all(languages) and languages[0] != languages[1]:
        return "language"
    return "" if _shares_matter(answer, text) else "off_topic"


def script(text: str) -> str:
    """The script of most letters (LATIN, CYRILLIC, EAST_ASIAN, ...); empty where there are few or several."""
    scripts = Counter(_script_of(char) for char in text[:2_000] if char.isalpha())
    name, n = max(scripts.items(), key=lambda item: item[1], default=("", 0))
    total = sum(scripts.values())
    return name if total >= MIN_LETTERS and n >= DOMINANT * total else ""


def _script_of(char: str) -> str:
    name = unicodedata.name(char, "").partition(" ")[0]
    return "EAST_ASIAN" if name in ("CJK", "HIRAGANA", "KATAKANA", "HANGUL") else name


def language(text: str, *, least: int) -> str:
    """The language whose function words are clearly commonest, `least` of them at least; else empty."""
    words = Counter(word.lower() for word in _WORD.findall(text[:4_000]))
    counts = {name: sum(words[word] for word in common) for name, common in _LANGUAGES.items()}
    first, second = sorted(counts, key=lambda name: -counts[name])[:2]
    return first if counts[first] >= max(least, LEAD * counts[second]) else ""


def _shares_matter(answer: str, text: str) -> bool:
    """Whether enough of what an answer is about stands in the text, by stems of four letters or pairs of signs."""
    note = text.casefold()
    words = {word[:4] for word in _WORD.findall(answer.casefold()) if len(word) >= 4}
    stems = {stem for stem in words - _GENERIC if not _UNSPACED.search(stem)}
    stems |= set(_UNSPACED.findall(answer))
    shared = sum(stem in note for stem in stems)
    if len(stems) >= 5:
        return shared >= LEAST_SHARED * len(stems)
    return shared > 0 or len(stems) < 3 or len(text) < LONG_NOTE
