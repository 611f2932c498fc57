"""The job that every other begins with: raw table -> valid, typed rows with their text columns."""

from __future__ import annotations

import datetime as dt
import logging
from dataclasses import asdict, dataclass

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from churn_spark.contract import published as schemas
from churn_spark.contract.columns import Contract
from churn_spark.jobs.history import made_panel, with_history
from churn_spark.jobs.run import Run
from churn_spark.notes import precision
from churn_spark.notes.embedders import ImpreciseError
from churn_spark.spark import storage
from churn_spark.spark.input.files import reading
from churn_spark.spark.input.rules import Purpose
from churn_spark.spark.input.sources import read_raw
from churn_spark.spark.input.validation import Counts, check_gates, split_valid
from churn_spark.spark.notes.counts import TextCounts
from churn_spark.spark.notes.pricing import price_texts
from churn_spark.spark.notes.stage import with_texts
from churn_spark.spark.tables import with_comments

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prepared:
    """Valid, typed rows with their text columns, materialised; and what was counted on the way."""

    df: DataFrame
    rows: Counts
    text: TextCounts


def prepare(run: Run) -> None:
    """Validate the raw table and fill the text cache; publishes only the rejected rows."""
    prepare_rows(run, purpose="score")


def prepare_rows(run: Run, *, purpose: Purpose, as_of: dt.date | None = None) -> Prepared:
    """Raw table -> prepared rows; rejected rows go to `churn_rejects` before any gate can end the run.

    Without snapshots, dates and events are looked at as of the day `as_of`.
    """
    config, contract = run.config, run.config.contract
    cache = run.cache
    for killed in run.clear_up():
        storage.remove(cache.staging(killed))
    with reading():
        location = made_panel(run, labelled=purpose == "train") if config.snapshots else config.raw
        with run.step("validate") as facts:
            raw = read_raw(
                run.spark,
                location,
                contract=contract,
                settings=config.input,
                need_label=purpose == "train",
                max_row_chars=config.validation.max_row_chars,
            )
            for warning in raw.warnings:
                log.warning("step=validate %s", warning)
            checked = split_valid(
                raw.df,
                contract,
                settings=config.validation,
                purpose=purpose,
                folder=storage.join(run.work, "validated"),
            )
            counts = checked.counts
            run.record["rows"] |= {
                "in": counts.rows_in, "valid": counts.valid, "rejected": counts.rejected,
                "duplicates": counts.duplicates,
            }  # fmt: skip
            run.record["rules"] = {**counts.by_rule, **counts.by_warning}
            facts |= {"rows": counts.rows_in, "valid": counts.valid, "rejected": counts.rejected,
                      "duplicates": counts.duplicates}  # fmt: skip
            if counts.rejected and not run.dry:
                facts["table"] = _publish_rejects(run, checked.rejected)
        check_gates(counts, settings=config.validation, purpose=purpose)
        valid = _limited(checked.valid, contract, run.limit)
        texts = [c.name for c in contract.texts]
        if run.dry:
            with run.step("price") as facts:
                facts |= price_texts(valid, texts, text=precision.decided(config.text), cache=cache)
            return Prepared(valid, counts, TextCounts())
        valid = with_history(run, valid, as_of=as_of)
        with run.step("text") as facts:
            text_counts = TextCounts()
            try:
                df = _with_texts(run, valid, text_counts)
            finally:
                run.record["text"] = asdict(text_counts)
            facts |= {"notes": text_counts.notes, "distinct": text_counts.distinct,
                      "computed": text_counts.computed, "embedded": text_counts.embeddings_computed,
                      "table": cache.folder}  # fmt: skip
    return Prepared(df, counts, text_counts)


def _with_texts(run: Run, valid: DataFrame, counts: TextCounts) -> DataFrame:
    """Add what became of the notes; where `auto` chose int8 and a probe of the notes speaks against it, in float32.

    The run's settings say from here on what was chosen.
    """
    wish, texts = run.config.text, [c.name for c in run.config.contract.texts]
    run.config = run.config.model_copy(update={"text": precision.decided(wish)})
    try:
        return with_texts(valid, texts, text=run.config.text, cache=run.cache, work=run.work, counts=counts)
    except ImpreciseError as problem:
        run.config = run.config.model_copy(update={"text": precision.exact(wish)})
        if run.config.text == wish:
            raise
        log.warning("step=text %s: float32 is used", problem.what)
    return with_texts(valid, texts, text=run.config.text, cache=run.cache, work=run.work, counts=counts)


def _limited(df: DataFrame, contract: Contract, limit: int | None) -> DataFrame:
    if limit is None:
        return df
    customers = df.select(contract.id.name).distinct().orderBy(F.xxhash64(contract.id.name)).limit(limit)
    return df.join(customers, contract.id.name, "left_semi")


def _publish_rejects(run: Run, rejected: DataFrame) -> str:
    first = F.element_at("_errors", 1)
    lineage = rejected.withColumns(
        {
            "rule": first["name"],
            "detail": first["message"],
            "job": F.lit(run.job),
            "run_id": F.lit(run.run_id),
        }
    )
    told = with_comments(lineage, schemas.rejects_schema(run.config.contract))
    return run.tables.append(told, "churn_rejects", partition=f"run_date={run.started_at:%Y-%m-%d}")
