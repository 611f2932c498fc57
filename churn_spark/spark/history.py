"""History by Spark: one shuffle brings every customer's snapshots and events together, in the order of time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import reduce

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from churn_spark.contract.columns import Contract
from churn_spark.history.plan import EventPlan, Plan
from churn_spark.history.table import CUSTOMER, DAY, KIND, SNAPSHOT, history, value_column


def history_of(
    df: DataFrame,
    contract: Contract,
    plan: Plan,
    *,
    events: Mapping[str, DataFrame],
    as_of: Column | None = None,
) -> DataFrame:
    """Return the key columns of `df` and every column of `plan.sources` (double), a row per snapshot.

    `df` has the contract's key and the plan's columns; `events` holds for each event of the plan a DataFrame with the
    customer's id, `date` and the values to add up. Without a snapshot column `as_of` is the day of all rows.
    """
    id_column, snapshot = contract.id.name, contract.snapshot
    day = F.col(snapshot.name) if snapshot else as_of
    assert day is not None
    inputs = [F.col(n).cast("double").alias(n) for n in plan.numeric] + [F.col(n) for n in plan.categorical]
    rows = df.select(_id(id_column), _day(day), F.lit(SNAPSHOT).alias(KIND), *inputs)
    tables = [_event_rows(events[event.name], event, id_column) for event in plan.events]
    together = reduce(lambda a, b: a.unionByName(b, allowMissingColumns=True), tables, rows)
    order = [c for c in together.columns if c not in (CUSTOMER, DAY, KIND)]  # sums are added up in one order
    placed = together.repartition(CUSTOMER).sortWithinPartitions(CUSTOMER, DAY, KIND, *order)
    schema = ", ".join([f"{CUSTOMER} string", f"{DAY} int", *(f"`{name}` double" for name in plan.sources)])

    def add(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for customers in whole_customers(batches):
            keys = customers.filter(pc.equal(customers.column(KIND), SNAPSHOT)).select([CUSTOMER, DAY])
            columns = {name: pa.array(values) for name, values in history(customers, plan).items()}
            yield from pa.table(
                {**dict(zip(keys.column_names, keys.columns, strict=True)), **columns}
            ).to_batches()

    made = placed.mapInArrow(add, schema).withColumnRenamed(CUSTOMER, id_column)
    if snapshot is None:
        return made.drop(DAY)
    return made.withColumn(snapshot.name, F.date_from_unix_date(DAY)).drop(DAY)


def _event_rows(df: DataFrame, event: EventPlan, id_column: str) -> DataFrame:
    values = [F.col(v).cast("double").alias(value_column(event.name, v)) for v in event.values]
    return df.select(_id(id_column), _day(F.col("date")), F.lit(event.name).alias(KIND), *values)


def _id(name: str) -> Column:
    return F.col(name).alias(CUSTOMER)


def _day(column: Column) -> Column:
    return F.unix_date(column).alias(DAY)


def whole_customers(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Cut a stream of rows, sorted by customer, anew so that no customer is divided; the last one waits for more."""
    waiting: list[pa.RecordBatch] = []
    for batch in batches:
        if not batch.num_rows:
            continue
        last = pc.index(batch.column(CUSTOMER), batch.column(CUSTOMER)[-1]).as_py()
        begins = not waiting or waiting[-1].column(CUSTOMER)[-1] != batch.column(CUSTOMER)[0]
        if last == 0 and not begins:
            waiting.append(batch)
            continue
        if last == 0:
            done, waiting = waiting, [batch]
        else:
            done, waiting = [*waiting, batch.slice(0, last)], [batch.slice(last)]
        if done:
            yield pa.Table.from_batches(done)
    if waiting:
        yield pa.Table.from_batches(waiting)
