"""The scored rows that a model is measured on, brought to the driver.

Up to MAX_ROWS rows are measured exactly. Beyond, Spark counts them in cells of about equal score, and the same
functions measure the counts: the driver never holds the table.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T
from scipy.special import expit

from churn_spark.contract.columns import Contract, embedding_column, status_column
from churn_spark.evaluation import metrics
from churn_spark.evaluation.evaluate import Scores, terms_columns
from churn_spark.model.features import assemble
from churn_spark.model.model import ChurnModel
from churn_spark.model.offers import Terms, best_offers
from churn_spark.model.policy import Policy
from churn_spark.model.sample import unit_of
from churn_spark.spark.training import splits
from churn_spark.spark.training.fit import batch_vectors

MAX_ROWS = 2_000_000
WHOLE, PART = (0.02, 100), (0.1, 50)  # a cell's width in log-odds, and how many groups of customers there are
VALUE_BINS = 2  # per doubling of what a customer's own terms save
TERMS, OFFER, WORTH = "_terms_", "_offer", "_worth"


def with_margin(df: DataFrame, model: ChurnModel, *, name: str, keep: Sequence[str]) -> DataFrame:
    """Return the columns `keep` and the model's log-odds as `name` (float).

    `df` has the model's numeric and categorical columns and `with_texts`' columns.
    """
    needed = [*(n.name for n in model.spec.numeric), *(c.name for c in model.spec.categorical)]
    vectors = [embedding_column(t.name) for t in model.spec.texts]
    source = df.select(*dict.fromkeys([*keep, *needed, *vectors]))
    schema = T.StructType([*(source.schema[k] for k in keep), T.StructField(name, T.FloatType())])

    def score(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            table = pa.Table.from_batches([batch])
            frame = table.select(needed).to_pandas()
            margin = model.margin(assemble(model.spec, frame, vectors=batch_vectors(table, model.spec)))
            arrays = [*(batch.column(k) for k in keep), pa.array(margin, pa.float32())]
            yield pa.RecordBatch.from_arrays(arrays, names=[*keep, name])

    return source.mapInArrow(score, schema)


def collect_scores(df: DataFrame, model: ChurnModel, *, label: str, learnt: pd.DataFrame) -> Scores:
    """Score the test rows of `df`, prepared and with `split`, and bring to the driver what is to be measured.

    `learnt` are the learning rows scored out of fold: label, margin, customer and, with terms of their own, those.
    """
    contract, policy = model.contract, model.policy
    customer = contract.id.name
    has = {f"has_{t.name}": F.col(status_column(t.name)) != "empty" for t in contract.texts}
    shown = [*(c.name for c in contract.role("categorical", "numeric")), *has]
    rows = df.where("split = 'test'").withColumns({"label": F.col(label).cast("int"), **has})
    own = [*policy.columns, *filter(None, [contract.group])]
    keep = tuple(dict.fromkeys([*contract.key, "split", "label", *shown, *own]))
    test = with_margin(rows, model, name="margin", keep=keep)
    population = df.select(customer).distinct().count()
    learnt = learnt.assign(split="learn", weight=1.0)
    if rows.count() <= MAX_ROWS:
        exact = test.toPandas().sort_values(list(contract.key), ignore_index=True)
        terms = terms_columns(policy.terms(exact, len(exact))) if policy.has_own_terms else {}
        table = exact[["split", "label", "margin"]].assign(
            customer=unit_of(exact, contract), weight=1.0, **terms
        )
        return Scores(pd.concat([table, learnt], ignore_index=True), population, exact[shown])
    test = _with_terms(test, policy) if policy.has_own_terms else test
    unit = splits.unit_of(contract)
    by_slice = test.withColumn("slice", F.explode(F.array_compact(F.array(*_slice_names(test, model)))))
    pooled = _cells(by_slice, ["slice"], margins=["margin"], unit=unit, grid=PART)
    table = _cells(test, ["split"], margins=["margin"], unit=unit, grid=WHOLE)
    return Scores(
        pd.concat([table, learnt], ignore_index=True),
        population,
        cells={str(name): cells for name, cells in pooled.groupby("slice")},
    )


def collect_pairs(df: DataFrame, contract: Contract) -> pd.DataFrame:
    """Bring the margins `new` and `old` of labelled rows to the driver, with label, customer and weight."""
    assert contract.label is not None
    customer, labelled = contract.id.name, df.withColumn("label", F.col(contract.label.name).cast("int"))
    if labelled.count() > MAX_ROWS:
        return _cells(labelled, [], margins=["new", "old"], unit=F.col(customer), grid=PART)
    exact = labelled.toPandas().sort_values(list(contract.key), ignore_index=True)
    return exact[["label", "new", "old"]].assign(customer=exact[customer], weight=1.0)


def _cells(
    df: DataFrame,
    by: Sequence[str],
    *,
    margins: Sequence[str],
    unit: Column,
    grid: tuple[float, int],
) -> pd.DataFrame:
    """Count rows by `by`, label, group of customers and bins of the margins, whose middles stand for them.

    What `_with_terms` added is averaged by offer and bins of what a customer is worth with it.
    """
    width, groups = grid
    group = F.pmod(F.xxhash64(F.lit("resampled"), unit), F.lit(groups)).alias("customer")
    bins = [F.floor(F.col(m) / width).alias(m) for m in margins]
    terms = [c for c in df.columns if c.startswith(TERMS)]
    worth = [c for c in (OFFER, WORTH) if c in df.columns]
    means = [F.avg(c).alias(c.removeprefix(TERMS)) for c in terms]
    counted = df.groupBy(*by, "label", group, *bins, *worth).agg(F.count("*").alias("weight"), *means)
    cells = counted.drop(*worth).toPandas()
    middles = {m: (cells[m].astype(float) + 0.5) * width for m in margins}
    return cells.assign(**middles).sort_values([*by, *margins, "label", "customer"], ignore_index=True)


def _with_terms(test: DataFrame, policy: Policy) -> DataFrame:
    """Add each offer's terms, the others closed but for the best one at the booster's own probability."""
    offers, kept = max(1, len(policy.offers)), test.columns
    names = [f"{TERMS}{part}_{place}" for part in Terms._fields for place in range(offers)]
    schema = T.StructType([*test.schema, *(T.StructField(n, T.DoubleType()) for n in (*names, WORTH)),
                           T.StructField(OFFER, T.LongType())])  # fmt: skip

    def add(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            terms = policy.terms(batch, batch.num_rows)
            offer, best = best_offers(terms, expit(batch.column("margin").to_numpy(zero_copy_only=False)))
            is_best = np.arange(offers) == offer[:, None]
            told = terms_columns(terms._replace(contact=np.where(is_best, terms.contact, np.inf)))
            worth = np.floor(VALUE_BINS * np.log2(np.maximum(best.saved, 0) + 1))
            arrays = [*batch.columns, *map(pa.array, told.values()), pa.array(worth), pa.array(offer)]
            yield pa.RecordBatch.from_arrays(arrays, names=[*kept, *names, WORTH, OFFER])

    return test.mapInArrow(add, schema)


def _slice_names(test: DataFrame, model: ChurnModel) -> Iterator[Column]:
    """`column=value` of a row for each column to slice by, named as `metrics.slice_names` does; null if rare."""
    numbers = [c.name for c in model.contract.role("numeric")]
    looks = [f(n) for n in numbers for f in (F.approx_count_distinct, F.min, F.max, _quartiles)]
    found = tuple((test.agg(*looks).first() if looks else None) or ())
    for place, name in enumerate(numbers):
        distinct, low, high, quartiles = found[4 * place : 4 * place + 4]
        column = F.col(name).cast("string")
        if distinct > 4:
            cuts = sorted({q for q in quartiles if low < q < high})
            quarter = sum(((F.col(name) > q).cast("int") for q in cuts), F.lit(1))
            column = F.concat(F.lit("q"), quarter.cast("string"))
        yield F.concat(F.lit(f"{name}="), F.coalesce(column, F.lit("missing")))
    for known in model.spec.categorical:
        common = known.categories[: metrics.MAX_SLICES]
        value = F.when(F.col(known.name).isNull(), "missing").when(
            F.col(known.name).isin(*common), F.col(known.name)
        )
        yield F.concat(F.lit(f"{known.name}="), value)
    for text in model.contract.texts:
        yield F.concat(F.lit(f"has_{text.name}="), F.when(F.col(f"has_{text.name}"), "yes").otherwise("no"))


def _quartiles(name: str) -> Column:
    return F.percentile_approx(name, [0.25, 0.5, 0.75], 10_000)
