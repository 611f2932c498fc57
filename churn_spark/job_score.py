"""The scoring job: raw snapshot -> `churn_scores` and `churn_reasons` of one date."""

from __future__ import annotations

import datetime as dt

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from churn_spark import storage
from churn_spark.columns import Contract
from churn_spark.job_prepare import prepare_rows
from churn_spark.model import ChurnModel
from churn_spark.packages import check_fits, load_model
from churn_spark.publishing import publish, recover, stage
from churn_spark.run import Run
from churn_spark.scoring import (
    as_published,
    check_scores,
    reasons_table,
    with_previous,
    with_ranks,
    with_scores,
    with_status,
    within_capacity,
)
from churn_spark.tables import SCORED_TABLES


def score(run: Run, *, score_date: dt.date, model_name: str = "champion") -> None:
    """Raw snapshot -> `churn_scores` of one date, replaced as a unit."""
    config = run.config
    model = load_model(run, model_name).at_base_rate(config.scoring.base_rate)
    check_fits(config, model)
    run.record |= {"model_id": model.model_id, "score_date": score_date.isoformat()}
    with run.locked():
        run.tables.check(run.spark)
        prepared = prepare_rows(run, label="ignored")
        if run.dry:
            return
        recover(run.tables, run.spark)
        with run.step("score") as facts:
            live = _live(prepared.df, config.contract)
            scored = with_status(
                with_scores(live, model, top=config.scoring.reasons, templates=config.scoring.templates),
                config.contract,
            )
            path = storage.join(run.work, "scored")
            scored.write.mode("overwrite").parquet(path)
            scored = run.spark.read.parquet(path)
            facts |= {"rows": scored.count()}
        with run.step("publish") as facts:
            customers = live.select(config.contract.id.name).distinct().count()
            facts["table"] = _publish(run, scored, model, score_date=score_date, customers=customers)


def _publish(run: Run, scored: DataFrame, model: ChurnModel, *, score_date: dt.date, customers: int) -> str:
    """Rank the scored rows and replace the date in `churn_scores` and `churn_reasons`; returns the location."""
    config, tables, key = run.config, run.tables, run.config.contract.id.name
    day = f"score_date={score_date.isoformat()}"
    history = tables.read(run.spark, "churn_scores")
    earlier = None if history is None else history.where(F.col("score_date") < F.lit(score_date))
    ranked = with_ranks(scored, key=key, folder=storage.join(run.work, "ranks"))
    chosen = within_capacity(
        ranked, key=key, capacity=config.decision.capacity, folder=storage.join(run.work, "chosen")
    )
    dated = with_previous(chosen, history, key=key, before=F.lit(score_date))
    final = dated.withColumns(
        {
            "score_reused": F.lit(False),
            "label_basis": F.lit(model.manifest["label_basis"]),
            "model_id": F.lit(model.model_id),
            "run_id": F.lit(run.run_id),
            "scored_at": F.lit(run.started_at),
        }
    )
    staged = stage(
        tables,
        {
            "churn_reasons": reasons_table(scored, config.contract, run_id=run.run_id),
            "churn_scores": as_published(final, config.contract, rows=customers),
        },
        partition=day,
    )
    run.record["rows"]["scored"] = check_scores(
        staged["churn_scores"], earlier, customers=customers, max_mean_shift=config.scoring.max_mean_shift
    )
    publish(tables, run.spark, SCORED_TABLES, partition=day)
    tables.define_latest(run.spark, "churn_scores", partition="score_date")
    return tables.location("churn_scores")


def _live(df: DataFrame, contract: Contract) -> DataFrame:
    """One row per customer: of several snapshots, the newest."""
    if contract.snapshot is None:
        return df
    newest = df.groupBy(contract.id.name).agg(F.max(contract.snapshot.name).alias(contract.snapshot.name))
    return df.join(newest, [contract.id.name, contract.snapshot.name], "left_semi")
