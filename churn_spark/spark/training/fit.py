"""Learning from prepared rows: the feature spec, then the trees by xgboost.spark."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import xgboost as xgb
from pyspark import inheritable_thread_target
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T
from xgboost.spark import SparkXGBClassifier

from churn_spark.arrays import Matrix, list_array, vectors_matrix
from churn_spark.contract.columns import Contract, embedding_column
from churn_spark.contract.folds import FOLDS
from churn_spark.errors import ConfigError
from churn_spark.model.features import Categorical, FeatureSpec, Numeric, TextVector, mean_vectors
from churn_spark.model.projection import Moments, Unseen, assemble_unseen, fit_projections, text_moments
from churn_spark.model.sample import Sample
from churn_spark.model.trees import parameters
from churn_spark.settings import sections as config
from churn_spark.spark.classic import context
from churn_spark.spark.session import slots, temporary_settings
from churn_spark.spark.tables import stored
from churn_spark.spark.training.guard import guarded

log = logging.getLogger(__name__)

MOMENT_TASKS = 16  # hand over some 6 MB each for vectors of 384


# -- features -------------------------------------------------------------------------------------------


class Inputs(NamedTuple):
    """How model inputs are made; and by fold the text projections for the rows that all this was learnt from."""

    spec: FeatureSpec
    unseen: Unseen


def fit_inputs(
    df: DataFrame, sample: Sample, contract: Contract, *, features: config.Features, folded: bool
) -> Inputs:
    """Learn the feature spec from learning rows; `sample` are those of them that are here.

    With `folded` text projections are one for each fold's booster, else one for all.
    """
    several = contract.history.notes
    moments = {}
    for name, vectors in sample.vectors.items():
        notes = several.get(name, 1)
        moments[name] = (
            text_moments(mean_vectors(vectors, notes), sample.label, sample.frame["_fold"])
            if sample.whole
            else learnt_moments(df, name, contract, dimension=vectors.shape[1] // notes, notes=notes)
        )
    texts, unseen = fit_projections(moments, width=features.text_dimensions, folded=folded, notes=several)
    return Inputs(fit_spec(df, contract, features=features, texts=texts), unseen)


def learnt_moments(
    df: DataFrame, name: str, contract: Contract, *, dimension: int, notes: int = 1
) -> Moments:
    """Sum up the vectors of the text column `name` over all rows of `df`, which has `_fold`, in one pass.

    A task adds up its rows and hands over 40 x dimension^2 bytes: whole numbers, the same in any order.
    """
    assert contract.label is not None
    vector, fields = embedding_column(name), Moments._fields
    zeros = text_moments(np.empty((0, dimension), np.float32), [], [])

    def add_up(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        total = zeros
        for batch in batches:
            label, fold, vectors = batch.columns
            means = mean_vectors(vectors_matrix(vectors, dimension, notes), notes)
            total = total.plus(text_moments(means, label, fold))
        yield pa.RecordBatch.from_arrays([pa.array([s.tobytes()]) for s in total], names=list(fields))

    label = F.col(contract.label.name).cast("int").alias("label")
    rows = df.where(F.col(vector).isNotNull()).select(label, "_fold", vector)
    parts = rows.coalesce(MOMENT_TASKS).mapInArrow(add_up, ", ".join(f"`{f}` binary" for f in fields))
    total = zeros
    for part in parts.collect():
        sums = zip(part, zeros, strict=True)
        total = total.plus(Moments(*(np.frombuffer(b, np.int64).reshape(z.shape) for b, z in sums)))
    return total


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
    numbers = {n: F.col(n).cast("double") for n in names}
    statistics = [F.struct(F.count(x).alias("rows"), F.avg(x).alias("mean"), F.stddev_pop(x).alias("spread"))
                  for x in numbers.values()]  # fmt: skip
    found = zip(names, df.agg(*statistics).collect()[0], strict=True)
    return tuple(
        Numeric(name, column.mean, column.spread or 1.0) if scale else Numeric(name)
        for name, column in found
        if column.rows
    )


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
    return {
        t.name: vectors_matrix(table.column(embedding_column(t.name)), t.dimension, t.notes)
        for t in spec.texts
    }


# -- trees ----------------------------------------------------------------------------------------------


def fit_booster(
    df: DataFrame, spec: FeatureSpec, *, key: Sequence[str], training: config.Training, base_score: float
) -> xgb.Booster:
    """Fit `training.n_estimators` gradient-boosted trees to all rows, by all workers.

    `df` has the key columns, `features` and `label` (double), materialised: the fit reads it twice, and again where
    a worker died. The same rows and worker count give the same trees, since rows are placed by hash of the key and
    sorted. Raises ResourceError where no attempt succeeds.
    """
    workers = num_workers(df.sparkSession, training)
    placed = df.repartition(workers, *key).sortWithinPartitions(*key).select("features", "label")
    classifier = _classifier(spec.types, spec.names, workers, training, base_score)
    with _plain_plans(df.sparkSession):
        return _fitted(placed, classifier, training)


def fit_fold_boosters(
    df: DataFrame, spec: FeatureSpec, *, key: Sequence[str], training: config.Training, base_score: float
) -> list[xgb.Booster]:
    """Fit for each fold a booster to the rows of the others, with one worker each, side by side on the free slots.

    As `fit_booster`; `df` has `_fold` besides.
    """

    def fitted(fold: int) -> xgb.Booster:
        own = spec.inputs_of(fold)
        features = F.col("features")
        if len(own) < len(spec.names):
            features = F.transform(F.array(*map(F.lit, own)), lambda place: F.get("features", place))
        seen = df.where(F.col("_fold") != fold).select(*key, features.alias("features"), "label")
        placed = seen.repartition(1).sortWithinPartitions(*key).select("features", "label")
        types, names = ([every[i] for i in own] for every in (spec.types, spec.names))
        return _fitted(placed, _classifier(types, names, 1, training, base_score), training)

    side_by_side = min(FOLDS, num_workers(df.sparkSession, training))
    with _plain_plans(df.sparkSession), ThreadPoolExecutor(side_by_side) as pool:
        return list(pool.map(inheritable_thread_target(df.sparkSession)(fitted), range(FOLDS)))


def _plain_plans(spark: SparkSession) -> AbstractContextManager[None]:
    """A plan that adapts runs the shuffle to say how many partitions there are, which xgboost.spark asks first."""
    logging.getLogger("XGBoost-PySpark").setLevel(logging.WARNING)
    return temporary_settings(spark, {"spark.sql.adaptive.enabled": "false"})


def _fitted(placed: DataFrame, classifier: SparkXGBClassifier, training: config.Training) -> xgb.Booster:
    model = guarded(
        context(placed.sparkSession, needed_by="training"),
        lambda: classifier.fit(placed),
        name="fit",
        attempts=training.max_attempts,
        seconds=training.timeout_seconds,
    )
    booster: xgb.Booster = model.get_booster()
    return booster


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


def _classifier(
    types: Sequence[str], names: Sequence[str], workers: int, training: config.Training, base_score: float
) -> SparkXGBClassifier:
    return SparkXGBClassifier(
        features_col="features",
        label_col="label",
        num_workers=workers,
        n_estimators=training.n_estimators,
        feature_types=list(types),
        missing=float("nan"),
        base_score=base_score,
        random_state=training.seed,
        verbosity=0,
        verbose=False,
        **parameters(training, names),
    )
