"""Learning from prepared rows: the feature spec, then the trees by xgboost.spark."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import xgboost as xgb
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T
from xgboost.spark import SparkXGBClassifier

from churn_spark.arrays import Matrix, list_array, vector_matrix
from churn_spark.contract.columns import Contract, embedding_column
from churn_spark.errors import ConfigError
from churn_spark.model.features import Categorical, FeatureSpec, Numeric, TextVector
from churn_spark.model.projection import Unseen, assemble_unseen, fit_projections
from churn_spark.model.rows import Rows
from churn_spark.model.search import Sample
from churn_spark.settings import sections as config
from churn_spark.spark.session import slots, temporary_settings
from churn_spark.spark.tables import stored
from churn_spark.spark.training.guard import guarded

log = logging.getLogger(__name__)


# -- features -------------------------------------------------------------------------------------------


class Inputs(NamedTuple):
    """How model inputs are made; and by fold the text projections for the rows that all this was learnt from."""

    spec: FeatureSpec
    unseen: Unseen


def fit_inputs(df: DataFrame, rows: Rows, contract: Contract, *, features: config.Features) -> Inputs:
    """Learn the feature spec from training rows; the text projections from those of them that are here."""
    projections = fit_projections(rows, width=features.text_dimensions)
    spec = fit_spec(df, contract, features=features, texts=[p.text for p in projections])
    return Inputs(spec, tuple(zip(*[p.unseen for p in projections], strict=True)))


def stored_inputs(
    df: DataFrame, inputs: Inputs, contract: Contract, *, learnt: Column, folder: str
) -> DataFrame:
    """Return key, `split`, `_fold`, `label` (double) and `features` (array<float>), materialised in the folder.

    `learnt` says which rows `inputs` were learnt from.
    """
    assert contract.label is not None
    label = F.col(contract.label.name).cast("double")
    built = with_features(
        df.withColumn("label", label), inputs.spec, keep=[*contract.key, "split", "_fold", "label"],
        unseen=inputs.unseen, fold=F.when(learnt, F.col("_fold")),
    )  # fmt: skip
    return stored(built, folder)


def fit_spec(
    df: DataFrame, contract: Contract, *, features: config.Features, texts: Sequence[TextVector] = ()
) -> FeatureSpec:
    """Learn the feature spec from training rows: categories by frequency, means if they are to be scaled.

    `texts` are the text columns, see `projection`. Columns with no value at all are left out.
    """
    numeric = [c.name for c in contract.role("numeric")]
    categorical = [c.name for c in contract.role("categorical")]
    return FeatureSpec(
        numeric=tuple(
            replace(n, history_of=contract.history.sources.get(n.name, ""))
            for n in _fit_numeric(df, numeric, scale=features.scale_numeric)
        ),
        categorical=_fit_categories(df, categorical, most=features.max_categories),
        texts=tuple(texts),
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


def _window(partition: str, *order: Column) -> Any:
    from pyspark.sql import Window

    return Window.partitionBy(partition).orderBy(*order)


def with_features(
    df: DataFrame, spec: FeatureSpec, *, keep: Sequence[str], unseen: Unseen = (), fold: Column | None = None
) -> DataFrame:
    """Return the columns `keep` and `features array<float>`, one element per model input.

    Rows that the text projections were fitted on have their `fold` (null for others) and are given those `unseen`.
    """
    needed = [*(n.name for n in spec.numeric), *(c.name for c in spec.categorical)]
    vectors = [embedding_column(t.name) for t in spec.texts]
    of_fold = F.coalesce(F.lit(None) if fold is None else fold, F.lit(-1)).cast("int").alias("_unseen")
    source = df.select(*dict.fromkeys([*keep, *needed, *vectors]), of_fold)
    schema = T.StructType(
        [
            *(source.schema[k] for k in keep),
            T.StructField("features", T.ArrayType(T.FloatType(), False), False),
        ]
    )

    def add(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            table = pa.Table.from_batches([batch])
            matrix = assemble_unseen(
                spec, unseen, table.select(needed).to_pandas(), vectors=batch_vectors(table, spec),
                fold=table.column("_unseen").to_numpy(),
            )  # fmt: skip
            yield pa.RecordBatch.from_arrays(
                [*(batch.column(k) for k in keep), list_array(matrix)], names=[*keep, "features"]
            )

    return source.mapInArrow(add, schema)


def batch_vectors(table: pa.Table, spec: FeatureSpec) -> dict[str, Matrix]:
    """The text vectors of an Arrow table as matrices, rows of NaN where there is none."""
    return {t.name: vector_matrix(table.column(embedding_column(t.name)), t.dimension) for t in spec.texts}


def sample_rows(df: DataFrame, *, limit: int) -> Sample:
    """Bring `features` and `label` of at most `limit` rows, chosen by hash, to the driver."""
    rows = (
        df.select("features", "label")
        .orderBy(F.xxhash64("features", "label"), "label")
        .limit(limit)
        .toPandas()
    )
    features = np.stack(rows["features"].to_list()).astype(np.float32)
    return Sample(features, rows["label"].to_numpy(np.float32))


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
    # A plan that adapts runs the shuffle to say how many partitions there are, which xgboost.spark asks first.
    with temporary_settings(df.sparkSession, {"spark.sql.adaptive.enabled": "false"}):
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
        settings["monotone_constraints"] = tuple(training.monotone.get(n, 0) for n in spec.names)
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
