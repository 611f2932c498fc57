"""What the text stage of a dry run would cost: texts that the cache lacks, and what remote endpoints would bill."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from churn_spark.notes.prompts import prompt
from churn_spark.settings.notes import NoteSettings, Remote, Text
from churn_spark.spark.notes.cache import Cache, Kind
from churn_spark.spark.notes.estimate import estimated_seconds
from churn_spark.spark.notes.resolver import CHARS_PER_TOKEN, Resolver
from churn_spark.spark.notes.stage import notes_of
from churn_spark.spark.session import slots

Price = dict[str, float]


def price_texts(
    df: DataFrame, columns: Sequence[str], *, text: Text, cache: Cache, several: Collection[str] = ()
) -> Price:
    """Distinct notes with something to compute, their characters and tokens; with remote providers also calls.

    calls, billed_tokens: what remote providers would be asked for and bill at most, if every call succeeds at
    once and every answer is as long as it may be; four characters count as a token. cost: the tokens' price,
    where `remote.price_per_million_tokens` is set. about_seconds: a guess, where anything is known of it.
    """
    total: Price = dict.fromkeys(("notes", "uncached", "characters", "estimated_tokens"), 0)
    for column in columns:
        resolver = Resolver(notes_of(df, column) if column in several else df, column, text, cache, "")
        resolved = resolver.resolved(resolver.distinct())
        lacking = F.col("lacks_note") | F.col("lacks_summary") | F.col("lacks_embedding")
        sums = resolved.agg(F.sum("rows"), F.count_if(lacking), F.sum(F.when(lacking, F.length("note"))))
        seen, uncached, chars = (int(value or 0) for value in sums.first() or (0, 0, 0))
        local = {
            "notes": seen,
            "uncached": uncached,
            "characters": chars,
            "estimated_tokens": chars // CHARS_PER_TOKEN,
        }
        settings = resolver.settings
        about = _seconds(uncached, chars // CHARS_PER_TOKEN, settings, slots(df.sparkSession))
        for part in (local, _summaries(resolved, settings), _vectors(resolved, settings), about):
            for name, value in part.items():
                total[name] = round(total.get(name, 0) + value, 2)
    return total


def _seconds(texts: int, tokens: int, settings: NoteSettings, at_once: int) -> Price:
    size = {"texts": texts, "tokens": tokens, "slots": at_once}
    kinds: tuple[Kind, ...] = ("summary", "embedding")
    known = [s for kind in kinds if (s := estimated_seconds(kind, settings, **size)) is not None]
    return {"about_seconds": round(sum(known))} if known and texts else {}


def _summaries(resolved: DataFrame, settings: NoteSettings) -> Price:
    summarizer = settings.summarizer
    if summarizer.name != "openai":
        return {}
    asked = resolved.where(F.col("lacks_summary") & (F.length("note") >= summarizer.min_chars))
    texts, chars = _distinct(asked, F.coalesce("text_hash", "note_hash"), F.length("note"))
    around = len(prompt("", summarizer)) // CHARS_PER_TOKEN + summarizer.max_new_tokens
    return _billed(texts, chars // CHARS_PER_TOKEN + texts * around, summarizer.remote)


def _vectors(resolved: DataFrame, settings: NoteSettings) -> Price:
    embedder = settings.embedder
    if embedder.name != "openai":
        return {}
    chars = F.length("note")
    if settings.source == "summary":
        chars = F.length(F.coalesce("summary", F.substring("note", 1, settings.summarizer.max_chars)))
    key = F.coalesce("fold_hash", "text_hash", "note_hash")
    texts, total = _distinct(resolved.where("lacks_embedding"), key, chars)
    return _billed(math.ceil(texts / embedder.batch_size), total // CHARS_PER_TOKEN, embedder.remote)


def _distinct(df: DataFrame, key: Column, chars: Column) -> tuple[int, int]:
    """How many different texts, and the sum of their lengths."""
    texts = df.groupBy(key.alias("key")).agg(F.max(chars).alias("chars"))
    count, total = texts.agg(F.count("*"), F.sum("chars")).first() or (0, 0)
    return int(count), int(total or 0)


def _billed(calls: int, tokens: int, remote: Remote) -> Price:
    billed: Price = {"calls": calls, "billed_tokens": tokens}
    if remote.price_per_million_tokens is not None:
        billed["cost"] = tokens * remote.price_per_million_tokens / 1e6
    return billed
