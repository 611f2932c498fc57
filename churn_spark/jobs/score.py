"""The scoring job: raw snapshot -> `churn_scores` and `churn_reasons` of one date."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from churn_spark.contract.columns import Contract
from churn_spark.errors import ConfigError
from churn_spark.jobs.prepare import prepare_rows
from churn_spark.jobs.run import Run
from churn_spark.model.model import ChurnModel
from churn_spark.spark import storage
from churn_spark.spark.publishing import live_version, publish, recover, stage
from churn_spark.spark.scoring.quotes import with_quotes
from churn_spark.spark.scoring.reuse import carried_forward, left_to_score, with_input_hash
from churn_spark.spark.scoring.scores import (
    as_published,
    check_scores,
    reasons_table,
    with_previous,
    with_ranks,
    with_scores,
    with_status,
    within_capacity,
)
from churn_spark.spark.tables import SCORED_TABLES
from churn_spark.spark.training.registry import check_fits, load_model, read_pointer


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
        name: load_model(config.models_path, name).at_base_rate(config.scoring.base_rate)
        for name in dict.fromkeys(names.values())
    }
    for model in models.values():
        check_fits(config, model)
    run.record |= {"model_id": models[names[dates[-1]]].model_id, "score_date": dates[-1].isoformat()}
    with run.locked():
        run.tables.check(run.spark)
        _check_limit(run, dates)
        prepared = prepare_rows(run, label="ignored")
        if run.dry:
            return
        recover(run.tables, run.spark)
        run.record["score_dates"] = []
        for day in dates:
            rows = _score_date(run, prepared.df, models[names[day]], day)
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


def _dates(first: dt.date, last: dt.date) -> list[dt.date]:
    if last < first:
        raise ConfigError("--until lies before --score-date", fix="give the earlier date as --score-date")
    return [first + dt.timedelta(days=n) for n in range((last - first).days + 1)]


def champion_on(pointer: Mapping[str, Any], day: dt.date) -> str:
    """The model that was champion when a day (UTC) ended; before the first one, the first."""
    history = pointer.get("history", [])
    past = [h for h in history if dt.datetime.fromisoformat(h["since"]).astimezone(dt.UTC).date() <= day]
    return str((past or history[:1] or [{"model_id": "champion"}])[-1]["model_id"])


def _score_date(run: Run, prepared: DataFrame, model: ChurnModel, day: dt.date) -> int:
    live = _live(prepared, run.config.contract, day, horizon=run.config.split.horizon_days)
    with run.step("score") as facts:
        scored = _scored(run, live, model, day)
        facts |= {"rows": scored.count()}
    with run.step("publish") as facts:
        customers = live.select(run.config.contract.id.name).distinct().count()
        rows = _publish(run, scored, model, score_date=day, customers=customers)
        facts |= {"date": day.isoformat(), "table": run.tables.location("churn_scores")}
    return rows


def _scored(run: Run, live: DataFrame, model: ChurnModel, day: dt.date) -> DataFrame:
    """Every live customer's score, carried forward or made anew, and its status; materialised."""
    config, spark, settings = run.config, run.spark, run.config.scoring
    key, folder = config.contract.id.name, storage.join(run.work, day.isoformat())
    fresh, kept = with_input_hash(live, model, settings), None
    scores = run.tables.read(spark, "churn_scores") if settings.reuse else None
    last = (
        None
        if scores is None
        else scores.where(F.col("score_date") < F.lit(day)).agg(F.max("score_date")).first()
    )
    if scores is not None and last and last[0]:
        reasons = run.tables.read(spark, "churn_reasons") if settings.reasons else None
        of_last = F.col("score_date") == F.lit(last[0])
        if reasons is not None or not settings.reasons:
            kept = carried_forward(
                fresh, scores.where(of_last), None if reasons is None else reasons.where(of_last),
                key=key, folder=storage.join(folder, "kept"),
            )  # fmt: skip
    if kept is not None:
        fresh = left_to_score(fresh, kept, key=key, folder=storage.join(folder, "fresh"))
    made = with_scores(fresh, model, top=settings.reasons, templates=settings.templates)
    made.write.mode("overwrite").parquet(storage.join(folder, "scored"))
    made = spark.read.schema(made.schema).parquet(storage.join(folder, "scored"))
    made = with_quotes(
        made,
        fresh,
        model,
        settings=settings,
        cache=run.cache,
        folder=storage.join(folder, "quoted"),
    ).withColumn("score_reused", F.lit(False))
    if kept is not None:
        made = made.unionByName(kept.withColumn("score_reused", F.lit(True)))
    return with_status(made, config.contract)


def _publish(run: Run, scored: DataFrame, model: ChurnModel, *, score_date: dt.date, customers: int) -> int:
    """Rank the scored rows and replace the date in `churn_scores` and `churn_reasons`; returns how many rows."""
    config, tables, key = run.config, run.tables, run.config.contract.id.name
    day = f"score_date={score_date.isoformat()}"
    history = tables.read(run.spark, "churn_scores")
    earlier = None if history is None else history.where(F.col("score_date") < F.lit(score_date))
    ranked = with_ranks(scored, key=key, folder=storage.join(run.work, score_date.isoformat(), "ranks"))
    chosen = within_capacity(
        ranked,
        key=key,
        capacity=config.decision.capacity,
        folder=storage.join(run.work, score_date.isoformat(), "chosen"),
    )
    dated = with_previous(chosen, history, key=key, before=F.lit(score_date))
    final = dated.withColumns(
        {
            "label_basis": F.lit(model.manifest["label_basis"]),
            "model_id": F.lit(model.model_id),
            "run_id": F.lit(run.run_id),
            "scored_at": F.lit(run.started_at),
        }
    )
    staged = stage(
        tables,
        {
            "churn_reasons": reasons_table(
                scored,
                config.contract,
                label_basis=model.manifest["label_basis"],
                run_id=run.run_id,
                customers=customers,
            ),
            "churn_scores": as_published(final, config.contract, customers=customers),
        },
        partition=day,
    )
    rows = check_scores(
        staged["churn_scores"], earlier, customers=customers, max_mean_shift=config.scoring.max_mean_shift
    )
    publish(tables, run.spark, SCORED_TABLES, partition=day)
    tables.define_latest(run.spark, "churn_scores", partition="score_date")
    return rows


def _live(df: DataFrame, contract: Contract, day: dt.date, *, horizon: int) -> DataFrame:
    """One row per customer: of several snapshots, the newest up to the day.

    Who is known to have left since, by that row's label and the horizon it looks ahead, is not live any more.
    """
    if contract.snapshot is None:
        return df
    known = df.where(F.col(contract.snapshot.name) <= F.lit(day))
    newest = known.groupBy(contract.id.name).agg(F.max(contract.snapshot.name).alias(contract.snapshot.name))
    rows = known.join(newest, [contract.id.name, contract.snapshot.name], "left_semi")
    if contract.label is None:
        return rows
    seen = F.col(contract.snapshot.name) <= F.lit(day - dt.timedelta(horizon))
    return rows.where(~(seen & F.coalesce(contract.label.name, F.lit(False))))
