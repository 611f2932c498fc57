"""How much of the notes an embedding model can read: unknown tokens and single letters say nothing to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from churn_spark.notes import weights
from churn_spark.notes.plausibility import language, script
from churn_spark.settings.notes import NoteSettings

if TYPE_CHECKING:
    from tokenizers import Tokenizer

READABLE = 0.25  # more unreadable tokens than this: the notes are not in the model's languages
FEW_TOKENS = 100  # of which no share is told
MANY_CHARS = 2_000  # of a note that are looked at


class Coverage(NamedTuple):
    """Tokens of the notes of one language or script, and how many of them the model cannot read."""

    tokens: int
    unreadable: int

    @property
    def share(self) -> float:
        return self.unreadable / self.tokens if self.tokens else 0.0


def coverage(texts: Sequence[str], tokenizer: Tokenizer) -> dict[str, Coverage]:
    """Count tokens and unreadable ones by language (`en`, `de`, ...) or, where that is not told, by script.

    Unreadable is the unknown token and a piece of one letter where the word has more: what a vocabulary without a
    language makes of it. Texts of neither a known language nor a script count as `other`.
    """
    tokens, unreadable = Counter[str](), Counter[str]()
    encodings = tokenizer.encode_batch([text[:MANY_CHARS] for text in texts], add_special_tokens=False)
    for text, encoding in zip(texts, encodings, strict=True):
        name = _tongue(text)
        tokens[name] += len(encoding.tokens)
        unreadable[name] += _unreadable(encoding.tokens)
    return {name: Coverage(n, unreadable[name]) for name, n in sorted(tokens.items())}


def tokenizer_of(settings: NoteSettings) -> Tokenizer | None:
    """The tokenizer of a BERT model that embeds the notes; None for embedders whose tokens cannot be counted here."""
    if settings.embedder.name not in ("sentence-transformers", "static"):
        return None
    folder = weights.model_folder(settings.embedder.model)
    return weights.load_tokenizer(folder) if weights.is_plain_bert(folder) else None


def added(one: Mapping[str, Coverage], other: Mapping[str, Coverage]) -> dict[str, Coverage]:
    """The counts of two samples together."""
    none = Coverage(0, 0)
    return {
        name: Coverage(*map(sum, zip(one.get(name, none), other.get(name, none), strict=True)))
        for name in sorted({*one, *other})
    }


def unread(counts: Mapping[str, Coverage]) -> str:
    """The warning for notes that the model cannot read, with the way out; empty where it reads them."""
    poor = [
        f"{name} {c.share:.0%}" for name, c in counts.items() if c.tokens >= FEW_TOKENS and c.share > READABLE
    ]
    if not poor:
        return ""
    return (
        f"the embedding model cannot read much of these notes (unknown tokens or single letters: {', '.join(poor)}); "
        "set text.embedder.name to multilingual (pip install 'churn-spark[multilingual]')"
    )


def _tongue(text: str) -> str:
    name = script(text)
    return (language(text, least=4) or name or "other") if name in ("", "LATIN") else name


def _unreadable(tokens: Sequence[str]) -> int:
    """Unknown tokens, and single letters beside another piece or sign of the same word."""
    letters = [_is_letter(token) for token in tokens]
    followed = [token.startswith("##") for token in [*tokens[1:], ""]][: len(tokens)]
    broken = (
        is_letter and (token.startswith("##") or goes_on or ord(token[-1]) > 0x2E7F)
        for token, is_letter, goes_on in zip(tokens, letters, followed, strict=True)
    )
    return sum(broken) + sum(token == "[UNK]" for token in tokens)


def _is_letter(token: str) -> bool:
    letter = token.removeprefix("##")
    return len(letter) == 1 and letter.isalpha()
