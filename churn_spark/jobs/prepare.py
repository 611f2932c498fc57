"""The job that every other begins with: raw table -> valid, typed rows with their text columns."""

from __future__ import annotations

import datetime as dt
import logging
from dataclasses import asdict, dataclass

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from churn_spark.contract import published as schemas
from churn_spark.contract.columns import Contract, summary_column
from churn_spark.contract.history import APART
from churn_spark.errors import ImpreciseError
from churn_spark.jobs.history import labelled, made_panel, read_tables, unlabelled, with_history
from churn_spark.jobs.run import Run
from churn_spark.notes import coverage, precision
from churn_spark.settings.sections import Input
from churn_spark.spark import storage
from churn_spark.spark.input.files import reading
from churn_spark.spark.input.rules import Purpose
from churn_spark.spark.input.sources import read_raw
from churn_spark.spark.input.validation import Counts, Validated, check_gates, split_valid
from churn_spark.spark.notes.counts import TextCounts
from churn_spark.spark.notes.pricing import price_texts
from churn_spark.spark.notes.stage import Noted, with_texts
from churn_spark.spark.tables import with_comments

log = logging.getLogger(__name__)

COVERAGE_TEXTS = 500


@dataclass(frozen=True)
class Prepared:
    """Valid, typed rows with their text columns, materialised; and what was counted on the way."""

    noted: Noted
    rows: Counts
    text: TextCounts


def prepare(run: Run) -> None:
    """Validate the raw table and fill the text cache; publishes only the rejected rows."""
    prepare_rows(run, purpose="score")


def prepare_rows(run: Run, *, purpose: Purpose, as_of: dt.date | None = None) -> Prepared:
    """Raw table -> prepared rows; rejected rows go to `churn_rejects` before any gate can end the run.

    Without snapshots, dates and events are looked at as of the day `as_of`.
    """
    for killed in run.clear_up():
        storage.remove(run.cache.staging(killed))
    with reading():
        tables, location = read_tables(run), run.config.raw
        if run.config.snapshots:
            location = made_panel(run, tables, labelled=purpose == "train")
        checked = _validated(run, location, purpose)
        valid = _limited(checked.valid, run.config.contract, run.limit)
        valid = with_history(run, valid, tables, as_of=as_of)
        if run.dry:
            _price(run, valid)
            return Prepared(Noted(valid, {}), checked.counts, TextCounts())
        noted, texts = _texts(run, valid)
        if purpose == "train":
            measure_coverage(run, noted.df, texts)
        return Prepared(noted, checked.counts, texts)


def _validated(run: Run, location: str, purpose: Purpose) -> Validated:
    """Read and check the raw table; the record says what became of its rows. Raises InputError by its gates."""
    config, contract = run.config, run.config.contract
    declared = contract.without_label if config.label.date else contract
    written = config.input if location == config.raw else Input()  # a panel that was made is written by us
    with run.step("validate") as step:
        raw = read_raw(
            run.spark, location, contract=declared, settings=written, need_label=purpose == "train",
            max_row_chars=config.validation.max_row_chars,
        )  # fmt: skip
        for warning in raw.warnings:
            log.warning("step=validate %s", warning)
        checked = split_valid(
            raw.df, declared, settings=config.validation, purpose=purpose,
            folder=storage.join(run.work, "validated"),
        )  # fmt: skip
        counts = checked.counts
        rows = {name: getattr(counts, name) for name in ("valid", "rejected", "duplicates")}
        run.record["rows"] |= {"in": counts.rows_in, **rows}
        run.record["rules"] = {**counts.by_rule, **counts.by_warning}
        if counts.alike:
            run.record["rows"]["ids_alike"] = counts.alike
            listed = ", ".join(f"{kind} {number}" for kind, number in counts.alike.items())
            log.warning("step=validate ids that differ from another one only by what nobody sees: %s", listed)
        step |= {"rows": counts.rows_in, **rows}
        if counts.rejected and not run.dry:
            step["table"] = _publish_rejects(run, checked.rejected)
    if config.label.date:
        checked = labelled(run, checked) if purpose == "train" else unlabelled(run, checked)
    check_gates(checked, contract, settings=config.validation, purpose=purpose)
    return checked


def _price(run: Run, valid: DataFrame) -> None:
    contract = run.config.contract
    texts = [c.name for c in contract.texts]
    with run.step("price") as step:
        step |= price_texts(
            valid,
            texts,
            text=precision.decided(run.config.text),
            cache=run.cache,
            several=contract.history.notes,
        )


def _texts(run: Run, valid: DataFrame) -> tuple[Noted, TextCounts]:
    """Prepared rows, and what was counted; the run's record keeps the counts of a stage that fails, too."""
    counts = TextCounts()
    with run.step("text") as step:
        try:
            noted = _with_texts(run, valid, counts)
        finally:
            run.record["text"] = asdict(counts)
        step |= {"notes": counts.notes, "distinct": counts.distinct, "computed": counts.computed,
                 "embedded": counts.embeddings_computed, "table": run.cache.folder}  # fmt: skip
    return noted, counts


def _with_texts(run: Run, valid: DataFrame, counts: TextCounts) -> Noted:
    """Add what became of the notes; where `auto` chose int8 and a probe of the notes speaks against it, in float32.

    The run's settings say from here on what was chosen.
    """
    wish, contract = run.config.text, run.config.contract
    texts = [c.name for c in contract.texts]

    def read() -> Noted:
        return with_texts(
            valid, texts, text=run.config.text, cache=run.cache, work=run.work, counts=counts,
            several=contract.history.notes,
        )  # fmt: skip

    run.config = run.config.model_copy(update={"text": precision.decided(wish)})
    try:
        return read()
    except ImpreciseError as problem:
        run.config = run.config.model_copy(update={"text": precision.exact(wish)})
        if run.config.text == wish:
            raise
        log.warning("step=text %s: float32 is used", problem.what)
    return read()


def measure_coverage(run: Run, df: DataFrame, counts: TextCounts) -> None:
    """Count what the embedding model can read of a sample of the notes' summaries, by hash; a warning where little."""
    for column in (c.name for c in run.config.contract.texts):
        tokenizer = coverage.tokenizer_of(run.config.text.of(column))
        if tokenizer is None:
            continue
        each = F.explode(F.split(summary_column(column), APART))
        texts = df.select(each.alias("text")).distinct()
        sample = [
            row.text for row in texts.orderBy(F.xxhash64("text"), "text").limit(COVERAGE_TEXTS).collect()
        ]
        counts.coverage = coverage.added(counts.coverage, coverage.coverage(sample, tokenizer))
    run.record["text"]["coverage"] = {name: found._asdict() for name, found in counts.coverage.items()}
    if not counts.coverage:
        return
    warning = coverage.unread(counts.coverage)
    shares = ", ".join(f"{name} {found.share:.0%}" for name, found in counts.coverage.items())
    log.log(
        logging.WARNING if warning else logging.INFO,
        "step=text %s",
        warning or f"unreadable tokens: {shares}",
    )


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
    contract = run.config.contract.without_label if run.config.label.date else run.config.contract
    told = with_comments(lineage, schemas.rejects_schema(contract))
    return run.tables.append(told, "churn_rejects", partition=f"run_date={run.started_at:%Y-%m-%d}")
