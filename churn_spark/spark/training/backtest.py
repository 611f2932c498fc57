"""How would it have done at past dates? A model is fitted anew up to each origin and tested on what came next."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import xgboost as xgb
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T
from scipy.special import expit

from churn_spark.arrays import vector_matrix
from churn_spark.contract.columns import Contract
from churn_spark.evaluation import metrics
from churn_spark.model.policy import Policy
from churn_spark.model.sample import Sample
from churn_spark.settings import sections as config
from churn_spark.spark import storage
from churn_spark.spark.training.fit import fit_booster, fit_inputs, stored_inputs

log = logging.getLogger(__name__)

METRICS = ("roc_auc", "pr_auc", "lift_10", "capture_10")
MAX_TEST_ROWS = 200_000


def backtest(
    df: DataFrame, sample: Sample, *, settings: config.Config, training: config.Training, folder: str
) -> pd.DataFrame:
    """Measure `split.backtest` rolling origins (Tashman 2000), the newest ones, as rows of `metrics.evaluate`.

    Their split is `backtest` and their slice `as_of=` the newest snapshot learnt from: all those whose outcomes
    were known when the tested one was taken. `df` has the contract's columns, those of `with_texts`, `split` and
    `_fold`; `sample` are those rows of it that are here. All is learnt anew by one booster with the model's settings,
    `training`. Scores are not calibrated, so only metrics of ranking are told, on at most 200,000 customers by hash.
    """
    contract, split, tables = settings.contract, settings.split, []
    customer, snapshot = contract.key
    for origin, tested in _origins(df, contract, split):
        early = F.col(snapshot) <= F.lit(origin)
        here = sample.where((sample.frame[snapshot] <= origin).to_numpy())
        inputs = fit_inputs(df.where(early), here, contract, features=settings.features, folded=False)
        features = stored_inputs(
            df.where(early | (F.col(snapshot) == F.lit(tested))), inputs, contract, learnt=early,
            folder=storage.join(folder, str(origin)),
        )  # fmt: skip
        booster = fit_booster(
            features.where(early), inputs.spec, key=contract.key, training=training,
            base_score=float(here.label.mean()),
        )  # fmt: skip
        later = (
            features.where(F.col(snapshot) == F.lit(tested))
            .orderBy(F.xxhash64(customer))
            .limit(MAX_TEST_ROWS)
        )
        scored = with_margin(later, booster, keep=(customer, "label")).toPandas().sort_values(customer)
        probability = expit(scored["margin"].to_numpy(np.float64))
        measured = metrics.evaluate(scored["label"], probability, policy=Policy(), split="test")
        ranking = measured[measured["metric"].isin(METRICS)]
        tables.append(ranking.assign(split="backtest", slice=f"as_of={origin}"))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame({"slice": []})


def _origins(df: DataFrame, contract: Contract, split: config.Split) -> list[tuple[dt.date, dt.date]]:
    """Pairs of dates, oldest first: learn from snapshots up to the first, test on the second."""
    gap = dt.timedelta(max(1, split.horizon_days))
    assert contract.snapshot is not None
    assert contract.label is not None
    snapshot, churners = contract.snapshot.name, F.sum(F.col(contract.label.name).cast("int"))
    counts = df.groupBy(snapshot).agg(churners).orderBy(snapshot).collect()
    days = [day for day, found in counts if found]
    known = {tested: [d for d in days if d + gap <= tested] for tested in days}
    pairs = [(earlier[-1], tested) for tested, earlier in known.items() if earlier]
    return pairs[-split.backtest :] if split.backtest else []


def with_margin(df: DataFrame, booster: xgb.Booster, *, keep: Sequence[str]) -> DataFrame:
    """Return the columns `keep` and `margin` (float, log-odds) of rows with `features`."""
    schema = T.StructType([*(df.schema[k] for k in keep), T.StructField("margin", T.FloatType())])
    raw, width, names = bytes(booster.save_raw("ubj")), booster.num_features(), list(keep)

    def add(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        model = xgb.Booster({"nthread": 1})
        model.load_model(bytearray(raw))
        for batch in batches:
            matrix = vector_matrix(batch.column("features"), width)
            margin = model.inplace_predict(matrix, predict_type="margin")
            yield pa.RecordBatch.from_arrays(
                [*map(batch.column, names), pa.array(margin)], [*names, "margin"]
            )

    return df.select(*keep, "features").mapInArrow(add, schema)
