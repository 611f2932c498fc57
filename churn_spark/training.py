"""Learning from prepared rows: the feature spec, then the trees by xgboost.spark."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import xgboost as xgb
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T
from xgboost.spark import SparkXGBClassifier

from churn_spark import config
from churn_spark.arrow import Matrix, list_array, vector_matrix
from churn_spark.columns import Contract
from churn_spark.errors import ConfigError
from churn_spark.features import Categorical, FeatureSpec, Numeric, TextVector, assemble
from churn_spark.guard import guarded
from churn_spark.search import Rows
from churn_spark.session import slots
from churn_spark.text import embedding_column

log = logging.getLogger(__name__)


# -- features -------------------------------------------------------------------------------------------


def fit_spec(
    df: DataFrame, contract: Contract, *, features: config.Features, dimensions: Mapping[str, int]
) -> FeatureSpec:
    """Learn the feature spec from training rows: categories by frequency, means if they are to be scaled.

    `dimensions` gives the length of each text column's vectors. Columns with no value at all are left out.
    """
    numeric = [c.name for c in contract.role("numeric")]
    categorical = [c.name for c in contract.role("categorical")]
    return FeatureSpec(
        numeric=_fit_numeric(df, numeric, scale=features.scale_numeric),
        categorical=_fit_categories(df, categorical, most=features.max_categories),
        texts=tuple(
            _fit_text(df, name, dimension, width=features.text_dimensions)
            for name, dimension in dimensions.items()
        ),
    )


def _fit_numeric(df: DataFrame, names: Sequence[str], *, scale: bool) -> tuple[Numeric, ...]:
    if not names:
        return ()
    stats = df.agg(
        *[f(F.col(n).cast("double")) for n in names for f in (F.count, F.avg, F.stddev_pop)]
    ).first()
    values = list(stats or ())
    fitted = [Numeric(n, *((values[3 * i + 1], values[3 * i + 2] or 1.0) if scale else ()))
              for i, n in enumerate(names) if values[3 * i]]  # fmt: skip
    return tuple(fitted)


def _fit_categories(df: DataFrame, names: Sequence[str], *, most: int) -> tuple[Categorical, ...]:
    if not names:
        return ()
    pairs = F.explode(F.array(*[F.struct(F.lit(n).alias("name"), F.col(n).alias("value")) for n in names]))
    counts = df.select(pairs.alias("p")).where("p.value is not null").groupBy("p.name", "p.value").count()
    place = F.row_number().over(_window("name", F.desc("count"), F.asc("value")))
    kept = counts.withColumn("place", place).where(F.col("place") <= most).orderBy("name", "place").collect()
    return tuple(
        Categorical(n, categories)
        for n in names
        if (categories := tuple(r.value for r in kept if r.name == n))
    )


def _fit_text(df: DataFrame, name: str, dimension: int, *, width: int | None) -> TextVector:
    """Principal components of the training vectors, from at most 20,000 rows chosen by hash."""
    if width is None or width >= dimension:
        return TextVector(name, dimension)
    column = embedding_column(name)
    known = df.where(F.col(column).isNotNull()).select(column)
    rows = known.orderBy(F.xxhash64(column)).limit(20_000).toArrow()
    if len(rows) <= width:
        return TextVector(name, dimension)
    matrix = vector_matrix(rows.column(column), dimension).astype(np.float64)
    mean = matrix.mean(axis=0)
    _, vectors = np.linalg.eigh(np.cov(matrix - mean, rowvar=False))
    components = vectors.T[::-1][:width]
    components *= np.sign(components[np.arange(width), np.abs(components).argmax(axis=1)])[:, None]
    return TextVector(name, dimension, tuple(mean.tolist()), tuple(map(tuple, components.tolist())))


def _window(partition: str, *order: Column) -> Any:
    from pyspark.sql import Window

    return Window.partitionBy(partition).orderBy(*order)


def with_features(df: DataFrame, spec: FeatureSpec, *, keep: Sequence[str]) -> DataFrame:
    """Return the columns `keep` and `features array<float>`, one element per model input."""
    needed = [*(n.name for n in spec.numeric), *(c.name for c in spec.categorical)]
    vectors = [embedding_column(t.name) for t in spec.texts]
    source = df.select(*dict.fromkeys([*keep, *needed, *vectors]))
    schema = T.StructType(
        [
            *(source.schema[k] for k in keep),
            T.StructField("features", T.ArrayType(T.FloatType(), False), False),
        ]
    )

    def add(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            table = pa.Table.from_batches([batch])
            matrix = assemble(spec, table.select(needed).to_pandas(), vectors=batch_vectors(table, spec))
            yield pa.RecordBatch.from_arrays(
                [*(batch.column(k) for k in keep), list_array(matrix)], names=[*keep, "features"]
            )

    return source.mapInArrow(add, schema)


def batch_vectors(table: pa.Table, spec: FeatureSpec) -> dict[str, Matrix]:
    """The text vectors of an Arrow table as matrices, rows of NaN where there is none."""
    return {t.name: vector_matrix(table.column(embedding_column(t.name)), t.dimension) for t in spec.texts}


def sample_rows(df: DataFrame, *, limit: int) -> Rows:
    """Bring `features` and `label` of at most `limit` rows, chosen by hash, to the driver."""
    rows = (
        df.select("features", "label")
        .orderBy(F.xxhash64("features", "label"), "label")
        .limit(limit)
        .toPandas()
    )
    features = np.stack(rows["features"].to_list()).astype(np.float32)
    return Rows(features, rows["label"].to_numpy(np.float32))


TREE_SETTINGS = (
    "n_estimators", "max_depth", "learning_rate", "early_stopping_rounds", "min_child_weight", "subsample",
    "colsample_bytree", "reg_alpha", "reg_lambda", "gamma", "max_bin", "scale_pos_weight",
)  # fmt: skip


# -- trees ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fitted:
    """A booster cut to its best iteration, and the loss per iteration it was chosen by."""

    booster: xgb.Booster
    train_loss: tuple[float, ...]
    validation_loss: tuple[float, ...]
    num_workers: int


def fit_booster(df: DataFrame, spec: FeatureSpec, *, key: Sequence[str], training: config.Training) -> Fitted:
    """Fit gradient-boosted trees with early stopping on the rows flagged for validation.

    `df` has the key columns, `features`, `label` (double) and `is_validation` (boolean), materialised: the
    fit reads it twice, and again where a worker died. The same rows and worker count give the same trees,
    since rows are placed by hash of the key and sorted. Raises ResourceError where no attempt succeeds.
    """
    workers = num_workers(df.sparkSession, training)
    placed = df.repartition(workers, *key).sortWithinPartitions(*key)
    logging.getLogger("XGBoost-PySpark").setLevel(logging.WARNING)
    rows = placed.select("features", "label", "is_validation")
    classifier = _classifier(spec, workers, training)
    model = guarded(
        df.sparkSession.sparkContext,
        lambda: classifier.fit(rows),
        name="fit",
        attempts=training.max_attempts,
        seconds=training.timeout_seconds,
    )
    booster, summary = model.get_booster(), model.training_summary
    best = int(booster.attributes().get("best_iteration", booster.num_boosted_rounds() - 1))
    return Fitted(
        booster[: best + 1],
        tuple(summary.train_objective_history.get("logloss", ())),
        tuple(summary.validation_objective_history.get("logloss", ())),
        workers,
    )


def num_workers(spark: SparkSession, training: config.Training) -> int:
    """How many workers fit: as configured, or all free slots. Raises ConfigError when there are too few."""
    free = slots(spark)
    if training.num_workers == "auto":
        return free
    if training.num_workers > free:
        raise ConfigError(
            f"{training.num_workers} workers asked for, {free} slots there",
            where="training.num_workers",
            fix="use `auto`, or start Spark with more cores",
        )
    return training.num_workers


def _classifier(spec: FeatureSpec, workers: int, training: config.Training) -> SparkXGBClassifier:
    settings: dict[str, Any] = {name: getattr(training, name) for name in TREE_SETTINGS}
    if any(training.monotone.values()):
        settings["monotone_constraints"] = tuple(training.monotone.get(s, 0) for s in spec.sources)
    return SparkXGBClassifier(
        features_col="features",
        label_col="label",
        validation_indicator_col="is_validation",
        num_workers=workers,
        feature_names=spec.names,
        feature_types=spec.types,
        missing=float("nan"),
        tree_method="hist",
        eval_metric="logloss",
        random_state=training.seed,
        verbosity=0,
        verbose=False,
        **settings,
    )
