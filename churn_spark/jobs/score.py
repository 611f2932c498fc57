"""The scoring job: raw snapshot -> `churn_scores` and `churn_reasons` of one date."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from churn_spark.contract.published import scores_schema
from churn_spark.errors import ConfigError
from churn_spark.jobs.prepare import prepare_rows
from churn_spark.jobs.run import Run
from churn_spark.model.model import OF_TRAINING, ChurnModel
from churn_spark.spark import storage
from churn_spark.spark.manifests import damaged_partitions
from churn_spark.spark.notes.stage import Noted
from churn_spark.spark.notes.vectors import with_inputs
from churn_spark.spark.publishing import live_version, publish, recover, stage
from churn_spark.spark.scoring.live import live_customers
from churn_spark.spark.scoring.published import as_published, check_scores, reasons_table, with_previous
from churn_spark.spark.scoring.quotes import with_quotes
from churn_spark.spark.scoring.ranks import with_ranks, within_capacity
from churn_spark.spark.scoring.reuse import (
    RANKS,
    Carried,
    Previous,
    carried_forward,
    left_to_score,
    newest_of,
    read_before,
    with_input_hash,
)
from churn_spark.spark.scoring.scores import imported, with_scores, with_status
from churn_spark.spark.session import warm_workers
from churn_spark.spark.tables import SCORED_TABLES, stored
from churn_spark.spark.training.registry import check_fits, following, load_model, read_pointer

log = logging.getLogger(__name__)


def score(
    run: Run, *, score_date: dt.date, until: dt.date | None = None, model_name: str = "champion"
) -> None:
    """Raw table -> `churn_scores` of one date, or of every date up to `until`; each replaced as a unit.

    Over several dates `champion` is the champion of each date, and each sees the newest snapshots up to it.
    """
    config = run.config
    dates = _dates(score_date, until or score_date)
    names = dict.fromkeys(dates, model_name)
    if until is not None and model_name == "champion":
        names = {day: champion_on(read_pointer(config.models_path), day) for day in dates}
    models = {
        name: load_model(config.models_path, name)
        .at_base_rate(config.scoring.base_rate)
        .scoring_unseen(config.scoring.unseen)
        for name in dict.fromkeys(names.values())
    }
    newest = models[names[dates[-1]]]
    run.config = following(config, newest)
    for model in models.values():
        check_fits(run.config, model)
    run.record |= {"model_id": newest.model_id, "score_date": dates[-1].isoformat()}
    with run.locked():
        run.tables.check(run.spark)
        warm_workers(run.spark, imported)
        damaged = frozenset[str]()
        if not run.dry:
            recover(run.tables, run.spark)
            damaged = damaged_partitions(run.tables, run.spark, SCORED_TABLES)
        _check_limit(run, dates)
        _check_types(run, without=damaged)
        prepared = prepare_rows(run, purpose="score", as_of=dates[-1])
        if run.dry:
            return
        run.record["score_dates"] = []
        for day in dates:
            rows = _score_date(run, prepared.noted, models[names[day]], day, damaged=damaged)
            run.record["rows"]["scored"] += rows
            run.record["score_dates"].append(
                {"score_date": day.isoformat(), "model_id": models[names[day]].model_id, "rows": rows}
            )


def _check_limit(run: Run, dates: Sequence[dt.date]) -> None:
    """A trial on some of the customers must not take a published date's place. Raises ConfigError."""
    if run.limit is None or run.dry:
        return
    published = [
        d for d in dates if live_version(run.tables, run.spark, "churn_scores", f"score_date={d.isoformat()}")
    ]
    if published:
        raise ConfigError(
            f"--limit would put a part of the customers in the place of {published[0]}, which is published",
            where="--limit",
            fix="try it with another --score-date or --output",
        )


def _check_types(run: Run, *, without: frozenset[str]) -> None:
    """A column's type may not change between dates; said before the text is paid for. Raises ConfigError."""
    published = run.tables.read(run.spark, "churn_scores", without=without)
    if published is not None:
        run.tables.check_types(published, "churn_scores", scores_schema(run.config.contract))


def _dates(first: dt.date, last: dt.date) -> list[dt.date]:
    if last < first:
        raise ConfigError("--until lies before --score-date", fix="give the earlier date as --score-date")
    return [first + dt.timedelta(days=n) for n in range((last - first).days + 1)]


def champion_on(pointer: Mapping[str, Any], day: dt.date) -> str:
    """The model that was champion when a day (UTC) ended; before the first one, the first."""
    history = pointer.get("history", [])
    past = [h for h in history if dt.datetime.fromisoformat(h["since"]).astimezone(dt.UTC).date() <= day]
    return str((past or history[:1] or [{"model_id": "champion"}])[-1]["model_id"])


def _score_date(run: Run, noted: Noted, model: ChurnModel, day: dt.date, *, damaged: frozenset[str]) -> int:
    config = run.config
    earlier = read_before(
        run.tables, run.spark, day, with_reasons=config.scoring.reasons > 0, without=damaged
    )
    with run.step("score") as step:
        live = live_customers(
            noted.df, config.contract, day,
            horizon=config.split.horizon_days, include_left=config.scoring.include_left,
            left_on=config.label.date,
        )  # fmt: skip
        scored = _scored(
            run, noted._replace(df=live.df), model, day, earlier=earlier, customers=live.customers
        )
        step |= {"rows": live.customers, **({"already_left": live.left} if live.left else {})}
    if live.left:
        log.info("step=score %d customers have left by their label and are not scored; "
                 "scoring.include_left=true scores them too", live.left)  # fmt: skip
    with run.step("publish") as step:
        rows = _publish(run, scored, model, day, earlier=earlier, customers=live.customers)
        step |= {"date": day.isoformat(), "table": run.tables.location("churn_scores")}
    return rows


class Scored(NamedTuple):
    """Every live customer's score and its status; which were made anew, and which carried forward.

    Where all are, from a date that had no others, `unchanged` says so, and `df` has that date's ranks.
    """

    df: DataFrame
    made: DataFrame | None
    carried: Carried | None = None
    unchanged: bool = False


def _scored(
    run: Run, live: Noted, model: ChurnModel, day: dt.date, *, earlier: Previous | None, customers: int
) -> Scored:
    """Score the live customers whose score is not carried forward; materialised."""
    settings, contract = run.config.scoring, run.config.contract
    key, folder = contract.id.name, storage.join(run.work, day.isoformat())
    hashed = with_input_hash(live.df, model, settings)
    previous = newest_of(earlier, with_reasons=settings.reasons > 0) if settings.reuse else None
    carried = carried_forward(hashed, previous, key=key, folder=storage.join(folder, "carried"))
    if carried is None:
        made = _made(run, live._replace(df=hashed), model, folder)
        return Scored(with_status(made, contract), made)
    if carried.customers == customers and carried.is_all:
        same = carried.scores.withColumn("previous_probability", F.col("churn_probability"))
        return Scored(with_status(same, contract), None, carried, unchanged=True)
    kept = carried.scores.drop(*RANKS)
    if carried.customers == customers:
        return Scored(with_status(kept, contract), None, carried)
    fresh = left_to_score(hashed, kept, key=key, folder=storage.join(folder, "fresh"))
    made = _made(run, live._replace(df=fresh), model, folder)
    return Scored(with_status(made.drop("_reasons").unionByName(kept), contract), made, carried)


def _made(run: Run, live: Noted, model: ChurnModel, folder: str) -> DataFrame:
    """Scores made anew; materialised."""
    settings = run.config.scoring
    fresh = with_inputs(live.df, live.vectors, model.spec.texts)
    scored = with_scores(fresh, model, top=settings.reasons, templates=settings.templates)
    quoted = with_quotes(
        stored(scored, storage.join(folder, "scored")), fresh, model,
        settings=settings, cache=run.cache, folder=storage.join(folder, "quoted"),
    )  # fmt: skip
    return quoted.withColumn("score_reused", F.lit(False))


def _publish(
    run: Run, scored: Scored, model: ChurnModel, day: dt.date, *, earlier: Previous | None, customers: int
) -> int:
    """Rank the scored rows and replace the date in `churn_scores` and `churn_reasons`; returns how many rows."""
    config, tables, key = run.config, run.tables, run.config.contract.id.name
    folder, partition = storage.join(run.work, day.isoformat()), f"score_date={day.isoformat()}"
    ranked = scored.df
    if not scored.unchanged:
        ranked = with_ranks(ranked, key=key, folder=storage.join(folder, "ranks"))
    chosen = within_capacity(
        ranked, key=key, capacity=config.decision.capacity, folder=storage.join(folder, "chosen")
    )
    basis = str(model.manifest["label_basis"])
    lineage = {
        **{name: model.manifest.get(name) for name in OF_TRAINING}, "model_id": model.model_id, "run_id": run.run_id,
        "scored_at": run.started_at,
    }  # fmt: skip
    final = with_previous(chosen, earlier and earlier.scores, key=key).withColumns(
        {name: F.lit(value) for name, value in lineage.items()}
    )
    reasons = reasons_table(
        scored.made, scored.carried and scored.carried.reasons, config.contract, spark=run.spark,
        label_basis=basis, run_id=run.run_id, customers=customers,
    )  # fmt: skip
    scores = as_published(final, config.contract, customers=customers)
    staged = stage(tables, {"churn_reasons": reasons, "churn_scores": scores}, partition=partition)
    rows = check_scores(
        staged["churn_scores"], earlier and earlier.of_newest().scores, customers=customers,
        max_mean_shift=config.scoring.max_mean_shift,
    )  # fmt: skip
    publish(tables, run.spark, SCORED_TABLES, partition=partition)
    tables.define_latest(run.spark, "churn_scores", partition="score_date")
    return rows
