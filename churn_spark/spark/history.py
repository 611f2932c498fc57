"""History by Spark: one shuffle brings every customer's snapshots and events together, in the order of time."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import reduce

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from churn_spark.contract.columns import Contract
from churn_spark.contract.history import EventPlan, HistoryPlan, history_column
from churn_spark.history.table import CUSTOMER, DAY, KIND, SNAPSHOT, history, value_column


def history_of(
    df: DataFrame,
    contract: Contract,
    plan: HistoryPlan,
    *,
    events: Mapping[str, DataFrame],
    as_of: dt.date | None = None,
) -> DataFrame:
    """Return the key columns of `df` and every column of `plan.sources` (double), a row per snapshot.

    `df` has the contract's key and the plan's columns; `events` holds for each event of the plan a DataFrame with the
    customer's id, `date` and the values to add up. Without a snapshot column `as_of` is the day of all rows.
    """
    id_column, snapshot = contract.id.name, contract.snapshot
    day = F.col(snapshot.name) if snapshot else F.lit(as_of)
    inputs = [F.col(n).cast("double").alias(n) for n in plan.numeric] + [F.col(n) for n in plan.categorical]
    inputs += [F.unix_date(n).alias(n) for n in plan.dates]
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


# -- panels ---------------------------------------------------------------------------------------------

AHEAD, RECENT = "_ahead", "_recent"


def monthly_panel(
    events: DataFrame, contract: Contract, *, name: str, values: Sequence[str], lead: int, horizon: int
) -> DataFrame:
    """Make a snapshot of every customer at the end of every month, from the events alone.

    `events` has the customer's id, `date` and the values. Columns out: the contract's key; `name`, how many events the
    month had, and the sum of each value in it; the contract's label, whether no event follows within `horizon` days
    after `lead` days, null where that was not over when the events end. A customer without an event in the last
    `horizon` days has left already and has no snapshot.
    """
    id_column, day = contract.id.name, contract.key[-1]
    end = events.agg(F.max("date").alias("_end"))
    month = F.last_day("date").alias(day)
    sums = [F.sum(v).alias(v) for v in values]
    months = events.groupBy(id_column, month).agg(F.count("*").alias(name), *sums)
    first = events.groupBy(id_column).agg(F.min("date").alias("_first")).crossJoin(F.broadcast(end))
    begins = F.sequence(F.trunc("_first", "month"), F.trunc("_end", "month"), F.expr("interval 1 month"))
    spread = first.select(id_column, "_end", F.explode(begins).alias(day))
    grid = spread.withColumn(day, F.last_day(day)).where(F.col(day) <= F.col("_end"))
    looks = HistoryPlan(
        events=(EventPlan(AHEAD, (), (horizon,), -(lead + horizon)), EventPlan(RECENT, (), (horizon,)))
    )
    around = history_of(grid, contract, looks, events={AHEAD: events, RECENT: events})
    ahead, recent = (F.col(history_column(look, f"count_{horizon}d")) for look in (AHEAD, RECENT))
    over = F.date_add(F.col(day), lead + horizon) <= F.col("_end")
    labels = [F.when(over, ahead == 0).alias(contract.label.name)] if contract.label else []
    filled = [F.coalesce(c, F.lit(0)).alias(c) for c in (name, *values)]
    return (
        grid.join(around, [id_column, day]).where(recent > 0).join(months, [id_column, day], "left")
        .select(id_column, day, *filled, *labels)
    )  # fmt: skip
