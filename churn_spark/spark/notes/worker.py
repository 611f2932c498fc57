"""What Python workers do for the text stage: clean notes, summarize and embed texts, compare two embedders.

Summaries and vectors are made by Iterator pandas UDFs, of which `churn_spark.functions` are the public ones; a
vector travels as bytes. An error says what kind it is, never what text it met.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql.pandas.functions import pandas_udf

from churn_spark.arrays import vector_array
from churn_spark.contract.published import NOTES, ddl
from churn_spark.errors import ChurnError, ResourceError
from churn_spark.notes import embedders, remote
from churn_spark.notes import prepare as notes
from churn_spark.settings.notes import NoteSettings, Remote
from churn_spark.spark.notes.cache import COLUMNS, Kind

CLEANED = "note_hash string, lacks_note boolean, text_id string, folded_id string, was_cut boolean, " \
    "redacted map<string,int>, text string"  # fmt: skip
REDACTED = pa.map_(pa.string(), pa.int32())


def answer_type(kind: Kind) -> str:
    """The type of what is computed for one map of the cache, besides the key."""
    return ddl(f for f in NOTES if f.name in COLUMNS[kind] and f.name != "key")


def computed(texts: DataFrame, kind: Kind, settings: NoteSettings, budget: remote.Budget | None) -> DataFrame:
    """The entries of one kind of map for texts (key, text); the keys stay in Java."""
    answer = answers(kind, settings, budget)("text").alias("answer")
    return texts.select("key", answer).select("key", "answer.*")


def answers(kind: Kind, settings: NoteSettings, budget: remote.Budget | None = None) -> Any:
    """The Iterator pandas UDF for one kind of map: a text in, a struct of `answer_type` out.

    Of a remote endpoint's budget a task gets its share of what is left when it starts.
    """
    compute = {"summary": summaries, "embedding": vectors}[kind]

    def answer(batches: Iterator[pd.Series]) -> Iterator[pd.DataFrame]:
        remote.begin_task()
        mine = _within(settings, budget.limits, budget.left()) if budget else settings
        for texts in batches:
            yield safely(compute, texts.tolist(), mine)

    return iterator_udf(answer, answer_type(kind)).asNondeterministic()  # i.e. never called twice for a row


def iterator_udf(function: Callable[[Iterator[Any]], Iterator[Any]], kind: str) -> Any:
    """The Iterator pandas UDF of a function whose signature says so; `kind` is the type of its answers."""
    return pandas_udf(function, kind)  # type: ignore[call-overload]


def safely(compute: Callable[..., Any], *args: Any) -> Any:
    """Call `compute`; raise whatever it raises as an error without a value of the data in it."""
    try:
        return compute(*args)
    except ChurnError:
        raise
    except Exception as problem:
        kind = type(problem).__name__
        raise ResourceError(f"the text stage failed in a worker ({kind})", fix="see error.txt") from None


def summaries(texts: list[str], settings: NoteSettings) -> pd.DataFrame:
    """Summarize cleaned texts."""
    made = notes.summarize(texts, settings)
    given = [None if s.status in ("failed", "pending") else s for s in made]
    return pd.DataFrame(
        {
            "folded_id": [g and notes.folded_hash(g.text, settings) for g in given],
            "summary": [g and g.text for g in given],
            "status": [s.status for s in made],
            "error": [None if g else s.error for g, s in zip(given, made, strict=True)],
            "calls": [s.calls for s in made],
            "tokens": [s.tokens for s in made],
        }
    )


def vectors(texts: list[str], settings: NoteSettings) -> pd.DataFrame:
    """Embed cleaned texts."""
    embedded = notes.embed(texts, settings)
    results = embedded.results or [remote.Result(None, "ok")] * len(texts)
    return pd.DataFrame(
        {
            "embedding": vector_array(embedded.vectors).to_pandas(),
            "status": [r.status for r in results],
            "error": [r.error or None for r in results],
            "calls": [r.calls for r in results],
            "tokens": embedded.tokens,
            "padded_tokens": embedded.padded_tokens,
            "chunks": embedded.n_chunks,
        }
    )


def clean(settings: NoteSettings) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """Clean notes: (note_hash, lacks_note, note) in, CLEANED out."""

    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield safely(_cleaned, batch, settings)

    return run


def _cleaned(batch: pa.RecordBatch, settings: NoteSettings) -> pa.RecordBatch:
    cleaned = [notes.clean(note, settings) for note in batch.column("note").to_pylist()]
    texts = [c.text for c in cleaned]
    columns = {
        "text_id": pa.array([None if t is None else notes.text_hash(t) for t in texts], pa.string()),
        "folded_id": pa.array(
            [None if t is None else notes.folded_hash(t, settings) for t in texts], pa.string()
        ),
        "was_cut": pa.array([c.was_cut for c in cleaned]),
        "redacted": pa.array([list(c.redacted.items()) for c in cleaned], REDACTED),
        "text": pa.array(texts, pa.string()),
    }
    same = {name: batch.column(name) for name in ("note_hash", "lacks_note")}
    return pa.RecordBatch.from_pydict(same | columns)


def cosines(settings: NoteSettings) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """Compare the vectors of texts in int8 with those in float32: (text) in, (cosine double) out."""
    exact = settings.model_copy(
        update={"embedder": settings.embedder.model_copy(update={"precision": "float32"})}
    )

    def compare(texts: list[str]) -> pa.RecordBatch:
        folded = [notes.fold(t, settings) for t in texts]
        near, far = notes.load_embedder(settings), notes.load_embedder(exact)
        measured = embedders.cosines(folded, near, reference=far).astype(float)
        return pa.RecordBatch.from_pydict({"cosine": measured})

    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield safely(compare, batch.column("text").to_pylist())

    return run


def _within(settings: NoteSettings, limits: Remote, left: Remote) -> NoteSettings:
    """The settings with what is left of these limits in their place."""
    changes: dict[str, Any] = {}
    if settings.summarizer.remote == limits:
        changes["summarizer"] = settings.summarizer.model_copy(update={"remote": left})
    if settings.embedder.remote == limits:
        changes["embedder"] = settings.embedder.model_copy(update={"remote": left})
    return settings.model_copy(update=changes)
