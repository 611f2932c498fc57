"""One customer in words, from the published tables."""

from __future__ import annotations

from pyspark.sql import functions as F

from churn_spark.errors import InputError
from churn_spark.settings.sections import Config
from churn_spark.spark.session import get_session
from churn_spark.spark.tables import Tables


def explain(config: Config, customer: str) -> list[str]:
    """One customer's newest score, summary and every reason, in words. Raises InputError for an unknown one."""
    spark = get_session(config.spark.app_name, conf=config.spark.conf)
    tables = Tables.of(config)
    scores, reasons = tables.read(spark, "churn_scores"), tables.read(spark, "churn_reasons")
    mine = (
        None
        if scores is None
        else scores.where(F.col("customer_id") == customer).orderBy(F.desc("score_date")).first()
    )
    if mine is None:
        raise InputError(
            "this customer has no score",
            where=tables.location("churn_scores"),
            fix="check the id and --output",
        )
    lines = [
        f"{mine.score_date}  probability {mine.churn_probability:.3f}  {mine.risk_band}  rank {mine.risk_rank}  "
        f"expected value {mine.expected_value:.2f}  {mine.score_status}",
        f"note ({mine.text_status}): {mine.ticket_summary or '-'}",
    ]
    if reasons is not None:
        told = reasons.where((F.col("customer_id") == customer) & (F.col("score_date") == mine.score_date))
        lines += [f"{r.effect:+7.3f}  {r.text}" for r in told.orderBy("rank").collect()]
    return lines
