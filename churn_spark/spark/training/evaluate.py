"""How good a fitted booster is: score, calibrate, choose the threshold, and measure.

Up to MAX_ROWS rows are measured exactly. Beyond, Spark counts them in cells of about equal score, and the same
functions measure the counts: the driver never holds the table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from churn_spark.contract.columns import Contract
from churn_spark.model.calibration import IDENTITY, fit_calibrator
from churn_spark.model.features import assemble
from churn_spark.model.model import ChurnModel
from churn_spark.model.policy import fit_policy
from churn_spark.spark.notes.stage import embedding_column, status_column
from churn_spark.spark.training.evaluate import metrics
from churn_spark.spark.training.fit import batch_vectors
from churn_spark.spark.training.splits import SPLITS

MAX_ROWS = 2_000_000
WHOLE, PART = (0.02, 100), (0.1, 50)  # a cell's width in log-odds, and how many groups of customers there are
VALUE_BINS = 2  # per doubling of a customer's own value
CALIBRATED = ("log_loss", "brier", "ece")  # measured without calibration, too, as <metric>_raw


@dataclass(frozen=True)
class Scores:
    """Scored rows: split, label (0/1), margin, customer, weight and, with values of their own, value.

    Of a large table the rows are cells, which stand for `weight` rows each and whose `customer` is a group of
    customers. `slices` are columns aligned with the rows; of a large table, `cells` are the test rows by slice.
    `population` is how many different customers there are.
    """

    rows: pd.DataFrame
    population: int
    slices: pd.DataFrame | None = None
    cells: Mapping[str, pd.DataFrame] = field(default_factory=dict)


@dataclass(frozen=True)
class Evaluation:
    """The finished model and everything measured on it, as rows of `churn_metrics` and `churn_curves`."""

    model: ChurnModel
    metrics: pd.DataFrame
    curves: pd.DataFrame
    rows: dict[str, int]

    def value(self, metric: str, *, split: str = "test") -> float:
        """One number of the `all` slice."""
        table = self.metrics
        found = table[(table["split"] == split) & (table["slice"] == "all") & (table["metric"] == metric)]
        return float(found["value"].iloc[0]) if len(found) else float("nan")

    @property
    def backtest(self) -> pd.DataFrame:
        """The rolling origins: as_of, metric, value, ci_low, ci_high, n; no rows where there were none."""
        rows = self.metrics[self.metrics["split"] == "backtest"]
        return rows.assign(as_of=rows["slice"].str.removeprefix("as_of="))


# -- scores ---------------------------------------------------------------------------------------------


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


def collect_scores(df: DataFrame, model: ChurnModel, *, label: str) -> Scores:
    """Score the rows of `df`, prepared and with `split`, and bring to the driver what is to be measured."""
    contract, value = model.contract, model.manifest["customer_value_column"]
    customer = contract.id.name
    has = {f"has_{t.name}": F.col(status_column(t.name)) != "empty" for t in contract.texts}
    shown = [*(c.name for c in contract.role("categorical", "numeric")), *has]
    rows = df.where("split is not null").withColumns({"label": F.col(label).cast("int"), **has})
    keep = tuple(dict.fromkeys([*contract.key, "split", "label", *shown]))
    scored = with_margin(rows, model, name="margin", keep=keep)
    size, population = rows.agg(F.count("*"), F.count_distinct(customer)).first() or (0, 0)
    if size <= MAX_ROWS:
        exact = scored.toPandas().sort_values(list(contract.key), ignore_index=True)
        worth = {} if value is None else {"value": exact[value].to_numpy(float, na_value=np.nan)}
        table = exact[["split", "label", "margin"]].assign(customer=exact[customer], weight=1.0, **worth)
        return Scores(table, population, exact[shown])
    test = scored.where("split = 'test'")
    by_slice = test.withColumn("slice", F.explode(F.array_compact(F.array(*_slice_names(test, model)))))
    pooled = _cells(by_slice, ["slice"], margins=["margin"], customer=customer, grid=PART, value=value)
    return Scores(
        _cells(scored, ["split"], margins=["margin"], customer=customer, grid=WHOLE, value=value),
        population,
        cells={str(name): cells for name, cells in pooled.groupby("slice")},
    )


def collect_pairs(df: DataFrame, contract: Contract) -> pd.DataFrame:
    """Bring the margins `new` and `old` of labelled rows to the driver, with label, customer and weight."""
    assert contract.label is not None
    customer, labelled = contract.id.name, df.withColumn("label", F.col(contract.label.name).cast("int"))
    if labelled.count() > MAX_ROWS:
        return _cells(labelled, [], margins=["new", "old"], customer=customer, grid=PART)
    exact = labelled.toPandas().sort_values(list(contract.key), ignore_index=True)
    return exact[["label", "new", "old"]].assign(customer=exact[customer], weight=1.0)


def _cells(
    df: DataFrame,
    by: Sequence[str],
    *,
    margins: Sequence[str],
    customer: str,
    grid: tuple[float, int],
    value: str | None = None,
) -> pd.DataFrame:
    """Count rows by `by`, label, group of customers and bins of the margins, whose middles stand for them."""
    width, groups = grid
    group = F.pmod(F.xxhash64(F.lit("resampled"), customer), F.lit(groups)).alias("customer")
    bins = [F.floor(F.col(m) / width).alias(m) for m in margins]
    worth = [] if value is None else [F.floor(VALUE_BINS * F.log2(F.col(value) + 1)).alias("_worth")]
    mean = [] if value is None else [F.avg(value).alias("value")]
    counted = df.groupBy(*by, "label", group, *bins, *worth).agg(F.count("*").alias("weight"), *mean)
    cells = counted.drop("_worth").toPandas()
    middles = {m: (cells[m].astype(float) + 0.5) * width for m in margins}
    return cells.assign(**middles).sort_values([*by, *margins, "label", "customer"], ignore_index=True)


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


# -- measurements ---------------------------------------------------------------------------------------


def evaluate(provisional: ChurnModel, scores: Scores, *, losses: dict[str, Sequence[float]]) -> Evaluation:
    """Calibrate on the calibration rows, choose threshold and bands there, and measure on every split."""
    model, rows = _finished(provisional, scores), scores.rows
    tables, points = [], []
    for name in SPLITS:
        part = rows[rows["split"] == name]
        slices = None if scores.slices is None or name != "test" else scores.slices.loc[part.index]
        tables.append(_measured(model, part, split=name, slices=slices))
        points.append(_drawn(model, part, split=name))
    test = rows[rows["split"] == "test"]
    raw = replace(model, calibrator=IDENTITY)
    plain = _measured(raw, test, split="test")
    tables.append(plain[plain["metric"].isin(CALIBRATED)].assign(metric=lambda t: t["metric"] + "_raw"))
    uncorrected = _drawn(raw, test, split="test")
    points.append(uncorrected[uncorrected["curve"] == "calibration"].assign(curve="calibration_raw"))
    cutoff = metrics.contact_cutoff(model.policy, **_known(model, test))
    for slice_name, cells in scores.cells.items():
        if cells["weight"].sum() >= metrics.MIN_SLICE:
            tables.append(_measured(model, cells, split="test", slice_name=slice_name, cutoff=cutoff))
    sizes = {name: round(rows.loc[rows["split"] == name, "weight"].sum()) for name in SPLITS}
    points += [
        metrics.learning_curve(loss, split=name, n=sizes[name]) for name, loss in losses.items() if len(loss)
    ]
    return Evaluation(
        model=model,
        metrics=pd.concat(tables, ignore_index=True),
        curves=pd.concat(points, ignore_index=True),
        rows=sizes,
    )


def _finished(provisional: ChurnModel, scores: Scores) -> ChurnModel:
    """The model with calibrator, threshold and bands."""
    rows = scores.rows
    held = rows[rows["split"] == "calibration"]
    calibrator = fit_calibrator(held["label"], held["margin"], weight=held["weight"])
    typical = provisional.policy
    if "value" in rows:
        known = rows.dropna(subset="value").sort_values("value")
        middle = np.searchsorted(known["weight"].cumsum(), known["weight"].sum() / 2)
        typical = replace(typical, customer_value=float(known["value"].iloc[middle]))
    base_rate = float(np.average(held["label"], weights=held["weight"]))
    policy = fit_policy(
        calibrator.apply(held["margin"]), typical, weight=held["weight"], population=scores.population
    )
    manifest = {**provisional.manifest, "base_rate": base_rate}
    return replace(provisional, calibrator=calibrator, policy=policy, manifest=manifest)


def _known(model: ChurnModel, rows: pd.DataFrame) -> dict[str, Any]:
    return {
        "label": rows["label"].to_numpy(float),
        "probability": model.calibrator.apply(rows["margin"]),
        "weight": rows["weight"].to_numpy(float),
        "value": rows["value"].to_numpy(float) if "value" in rows else None,
    }


def _measured(model: ChurnModel, rows: pd.DataFrame, **how: Any) -> pd.DataFrame:
    customer = rows["customer"].to_numpy()
    return metrics.evaluate(**_known(model, rows), policy=model.policy, customer=customer, **how)


def _drawn(model: ChurnModel, rows: pd.DataFrame, *, split: str) -> pd.DataFrame:
    return metrics.curves(**_known(model, rows), policy=model.policy, split=split)
