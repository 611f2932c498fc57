"""The scoring job: raw snapshot -> `churn_scores` and `churn_reasons` of one date."""

from __future__ import annotations

import datetime as dt

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from churn_spark import storage
from churn_spark.columns import Contract
from churn_spark.errors import GateError
from churn_spark.job_prepare import prepare_rows
from churn_spark.packages import check_fits, load_model
from churn_spark.run import Run
from churn_spark.scoring import (
    as_published,
    reasons_table,
    with_previous,
    with_ranks,
    with_scores,
    with_status,
    within_capacity,
)


def score(run: Run, *, score_date: dt.date, model_name: str = "champion") -> None:
    """Raw snapshot -> `churn_scores` of one date, replaced as a unit."""
    config = run.config
    model = load_model(run, model_name)
    check_fits(config, model)
    run.record |= {"model_id": model.model_id, "score_date": score_date.isoformat()}
    with run.locked():
        prepared = prepare_rows(run, label="ignored")
        if run.dry:
            return
        key = config.contract.id.name
        with run.step("score") as facts:
            live = _live(prepared.df, config.contract)
            scored = with_status(
                with_scores(live, model, top=config.scoring.reasons, templates=config.scoring.templates),
                config.contract,
            )
            path = storage.join(run.work, "scored")
            scored.write.mode("overwrite").parquet(path)
            scored = run.spark.read.parquet(path)
            facts |= {"rows": _verify(scored, key)}
        with run.step("publish") as facts:
            history = run.tables.read(run.spark, "churn_scores")
            ranked = within_capacity(with_ranks(scored, key=key), key=key, capacity=config.decision.capacity)
            dated = with_previous(ranked, history, key=key, before=F.lit(score_date))
            final = dated.withColumns(
                {
                    "score_reused": F.lit(False),
                    "label_basis": F.lit(model.manifest["label_basis"]),
                    "model_id": F.lit(model.model_id),
                    "run_id": F.lit(run.run_id),
                    "scored_at": F.lit(run.started_at),
                }
            )
            rows = run.record["rows"]["scored"] = int(scored.count())
            day = f"score_date={score_date.isoformat()}"
            if config.scoring.reasons:
                reasons = reasons_table(scored, config.contract, run_id=run.run_id)
                run.tables.replace(reasons, "churn_reasons", partition=day)
            published = as_published(final, config.contract, rows=rows)
            facts["table"] = run.tables.replace(published, "churn_scores", partition=day)
            run.tables.define_latest(run.spark, "churn_scores", partition="score_date")


def _live(df: DataFrame, contract: Contract) -> DataFrame:
    """One row per customer: of several snapshots, the newest."""
    if contract.snapshot is None:
        return df
    newest = df.groupBy(contract.id.name).agg(F.max(contract.snapshot.name).alias(contract.snapshot.name))
    return df.join(newest, [contract.id.name, contract.snapshot.name], "left_semi")


def _verify(scored: DataFrame, key: str) -> int:
    """Before anything is published: one row per customer, a probability wherever the status is ok."""
    bad = (F.col("score_status") == "ok") & F.col("churn_probability").isNull()
    found = scored.agg(F.count("*"), F.count_distinct(key), F.count(F.when(bad, 1))).first()
    rows, customers, missing = found or (0, 0, 0)
    if rows != customers or missing:
        raise GateError(
            f"{rows} scored rows for {customers} customers, {missing} without a probability: not published",
            fix="see error.txt; this should not happen, please report it",
        )
    return int(rows)
