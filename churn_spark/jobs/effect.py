"""The effect of a campaign, from the scores of a past date and what became of the customers since."""

from __future__ import annotations

import datetime as dt
import tempfile

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from churn_spark.contract.columns import Contract
from churn_spark.errors import ConfigError, InputError
from churn_spark.evaluation.effect import Group, effect_of_contact
from churn_spark.settings.sections import Config
from churn_spark.spark.input.sources import read_raw
from churn_spark.spark.input.validation import split_valid
from churn_spark.spark.session import get_session
from churn_spark.spark.tables import Tables


def effect(config: Config, day: dt.date) -> list[str]:
    """Compare who left, by the raw table of today, among the recommended of `day` and the holdout like them.

    Like them are held-out customers whose expected value reaches the least of a recommended one. Raises InputError
    where `day` has no scores or nobody's outcome is known, ConfigError where nobody was held out.
    """
    spark = get_session(config.spark.app_name, conf=config.spark.conf)
    with tempfile.TemporaryDirectory() as folder:
        chosen = _chosen(spark, config, day).join(
            _outcomes(spark, config, day, folder), "customer_id", "left"
        )
        counts = {
            row.in_holdout: (row.customers, Group(row.known, row.left))
            for row in chosen.groupBy("in_holdout")
            .agg(
                F.count("*").alias("customers"),
                F.count("has_left").alias("known"),
                F.count_if("has_left").alias("left"),
            )
            .collect()
        }
    if True not in counts:
        raise ConfigError(
            f"on {day} nobody like the recommended was held out, so there is nothing to compare them with",
            where="decision.holdout_share",
            fix="set it, e.g. to 0.1, before the next campaign is scored",
        )
    (customers, contacted), (others, held) = counts[False], counts[True]
    if not contacted.customers or not held.customers:
        raise InputError(
            f"the raw table knows what became of {contacted.customers} recommended and {held.customers} held-out "
            f"customers of {day}",
            where=config.raw,
            fix="give a later table with the same ids and its label: --raw PATH",
        )
    found = effect_of_contact(contacted, held)
    unknown = customers + others - contacted.customers - held.customers
    rate = found.value / held.share if held.left else 0.0
    return [
        f"recommended on {day}: {_words(contacted)}",
        f"held out, of the same expected value: {_words(held)}",
        f"contact keeps {found.value:.1%} of them (95 % interval {found.low:.1%} to {found.high:.1%}), "
        f"an accept rate of {rate:.2f} (decision.accept_rate: {config.decision.accept_rate})",
        *(
            [f"{unknown:,} of them are not in the raw table, or without a label: not counted"]
            if unknown
            else []
        ),
        *(["the interval holds zero: an effect is not shown"] if found.low <= 0 <= found.high else []),
    ]


def _chosen(spark: SparkSession, config: Config, day: dt.date) -> DataFrame:
    """customer_id and in_holdout of who was recommended, and of the holdout like them."""
    scores = Tables.of(config).read(spark, "churn_scores")
    if scores is not None:
        scores = scores.where(F.col("score_date") == F.lit(day))
        least = scores.where("recommended").agg(F.min("expected_value")).collect()[0][0]
        if least is not None:
            like_them = F.col("in_holdout") & (F.col("expected_value") >= least)
            return scores.where(F.col("recommended") | like_them).select("customer_id", "in_holdout")
    raise InputError(
        f"nobody was recommended on {day}", where="--score-date", fix="name a day that has scores"
    )


def _outcomes(spark: SparkSession, config: Config, day: dt.date, folder: str) -> DataFrame:
    """customer_id and has_left by the label; of a panel, by that of the newest snapshot up to `day`."""
    contract, label = config.contract, config.contract.label
    if label is None:
        raise ConfigError(
            "no column has role label", where="columns", fix="declare the column that says who left"
        )
    read = Contract(tuple(c for c in contract.columns if c.role in ("id", "snapshot", "label")))
    raw = read_raw(
        spark, config.raw, contract=read, settings=config.input, need_label=True,
        max_row_chars=config.validation.max_row_chars,
    )  # fmt: skip
    valid = split_valid(raw.df, read, settings=config.validation, purpose="train", folder=folder).valid
    has_left = F.col(label.name)
    if contract.snapshot:
        valid = valid.where(F.col(contract.snapshot.name) <= F.lit(day))
        has_left = F.max_by(has_left, contract.snapshot.name)
    else:
        has_left = F.bool_or(has_left)
    return valid.groupBy(F.col(contract.id.name).alias("customer_id")).agg(has_left.alias("has_left"))


def _words(group: Group) -> str:
    return f"{group.customers:,} customers, {group.left:,} left ({group.share:.1%})"
