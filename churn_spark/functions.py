"""Pandas UDFs for anyone's DataFrame: summarize notes, embed them, and score customers with a trained model.

    from churn_spark.functions import churn_probability, summarize

    summary, probability = summarize(), churn_probability("out/models")
    df.select("*", summary("note").alias("summary"), probability(F.struct("*")).alias("churn_probability"))

`register` gives them names for SQL. Each equals what the jobs compute, bit for bit, since it is the same code; but
nothing is remembered between two queries, as the jobs' text cache does. An error never quotes a row's values.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from pyspark.sql import SparkSession

from churn_spark.contract.rules import check_record
from churn_spark.errors import InputError
from churn_spark.model.model import ChurnModel
from churn_spark.notes import precision
from churn_spark.notes import prepare as notes
from churn_spark.settings.notes import NoteSettings
from churn_spark.spark.notes.worker import iterator_udf, safely
from churn_spark.spark.training.registry import load_model


def summarize(settings: NoteSettings | None = None) -> Any:
    """Return a pandas UDF from a raw note (string) to its summary (string).

    The note is cleaned first: control characters go, personal data becomes placeholders such as [EMAIL]. A note
    that says nothing, or could not be summarized, gives null. `settings` are those of a text column, such as
    `load_config().text.of("ticket_notes")`; by default the extractive summarizer, which needs no model (LexRank,
    Erkan & Radev 2004). A remote summarizer keeps to its limits in each partition, so give it few of them.
    """
    settings = settings or NoteSettings()

    def churn_summarize(batches: Iterator[pd.Series]) -> Iterator[pd.Series]:
        for batch in batches:
            yield pd.Series(safely(_summaries, batch, settings), dtype=object)

    return iterator_udf(churn_summarize, "string")


def embed(settings: NoteSettings | None = None) -> Any:
    """Return a pandas UDF from a raw note (string) to its vector (array<float>, of unit length by default).

    As the jobs do it: what is embedded is the note's summary, or the cleaned note with `source: note` in the
    settings. A note that says nothing gives null. Each distinct text of an Arrow batch is embedded once. Executors
    load the model at first use. Precision `auto` is decided here, as in training.
    """
    settings = precision.suited(settings or NoteSettings())

    def churn_embed(batches: Iterator[pd.Series]) -> Iterator[pd.Series]:
        for batch in batches:
            _, vectors = safely(notes.prepare, batch.tolist(), settings)
            yield pd.Series([None if np.isnan(v[0]) else v for v in vectors], dtype=object)

    return iterator_udf(churn_embed, "array<float>")


def churn_probability(package: str | ChurnModel) -> Any:
    """Return a pandas UDF from a struct of a customer's raw columns to the calibrated probability (double).

    `package` is a model package's folder, a folder of packages (then the champion), or a loaded model; it is loaded
    here and sent to the executors. The struct holds the columns that the model was trained with, by the names of
    the table contract or of the raw table, in any case and order; further columns are ignored. A value that breaks
    a rule counts as missing. Raises InputError where there is no model, or one that reads history, which one row does
    not have, and, when run, where a column is absent.
    """
    model = package if isinstance(package, ChurnModel) else load_model(package, "champion")
    if model.contract.history:
        raise InputError(
            "the model reads what happened before, which a struct of one row does not hold",
            where="churn_probability",
            fix="score with `churn-spark score`, or ChurnModel.predict with history=, tickets= and events=",
        )

    def churn_probability(batches: Iterator[pd.DataFrame]) -> Iterator[pd.Series]:
        for batch in batches:
            yield pd.Series(safely(_probabilities, model, batch))

    return iterator_udf(churn_probability, "double")


def register(
    spark: SparkSession, package: str | ChurnModel | None = None, *, settings: NoteSettings | None = None
) -> None:
    """Let SQL call `churn_summarize(note)`, `churn_embed(note)` and, with a package, `churn_probability(struct(*))`.

    Without `settings` notes are read as the package's first text column is.
    """
    model = load_model(package, "champion") if isinstance(package, str) else package
    if settings is None and model is not None and model.contract.texts:
        settings = model.text.of(model.contract.texts[0].name)
    spark.udf.register("churn_summarize", summarize(settings))
    spark.udf.register("churn_embed", embed(settings))
    if model is not None:
        spark.udf.register("churn_probability", churn_probability(model))


def _summaries(batch: pd.Series, settings: NoteSettings) -> list[str | None]:
    return [result.summary for result in notes.summarized(batch.tolist(), settings)[1]]


def _probabilities(model: ChurnModel, batch: pd.DataFrame) -> Any:
    columns = [c for c in model.contract.used if c.role not in ("label", "snapshot")]
    rows = _by_contract_name(model, batch)
    records = [dict(zip(rows.columns, row, strict=True)) for row in rows.itertuples(index=False, name=None)]
    values = [check_record(record, columns)[0] for record in records]
    frame = {c.name: [row[c.name] for row in values] for c in columns}
    frame[model.contract.id.name] = [key or "" for key in frame[model.contract.id.name]]  # not needed here
    vectors = {t.name: notes.prepare(frame[t.name], model.text.of(t.name))[1] for t in model.spec.texts}
    return model.score(frame, vectors, summaries={}, top=0).table["churn_probability"]


def _by_contract_name(model: ChurnModel, batch: pd.DataFrame) -> pd.DataFrame:
    """The rows' columns under the contract's names, whatever their case. Raises InputError where one is absent."""
    read = {*model.spec.sources, *(model.contract.unit if model.unseen else ())}
    needed = [c for c in model.contract.used if c.name in read]
    given = {str(name).lower(): name for name in batch.columns}
    names = {c.name: given.get(c.name.lower(), given.get(c.raw_name.lower())) for c in needed}
    absent = sorted(name for name, column in names.items() if column is None)
    if absent:
        raise InputError(
            f"the struct lacks columns that the model reads: {', '.join(absent)}",
            where="churn_probability",
            fix="name them as in the table that the model was trained on, or use struct(*)",
        )
    return batch[list(names.values())].set_axis(list(names), axis=1)
