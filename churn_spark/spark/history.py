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
from churn_spark.contract.history import (
    DATE,
    KNOWN_AT,
    RESOLVED,
    SATISFACTION,
    TEXT,
    EventPlan,
    HistoryPlan,
    history_column,
)
from churn_spark.history.table import CUSTOMER, DAY, KIND, SNAPSHOT, history, last_notes, layout, value_column


def history_of(
    df: DataFrame,
    contract: Contract,
    plan: HistoryPlan,
    *,
    events: Mapping[str, DataFrame],
    as_of: dt.date | None = None,
) -> DataFrame:
    """Return the key columns of `df`, and every column of `plan.sources` (double) and `plan.notes`, a row per snapshot.

    `df` has the contract's key and the plan's columns; `events` holds for each event of the plan a DataFrame with the
    customer's id, `date`, the values to add up, and what the event's facts and notes are made of. Without a snapshot
    column `as_of` is the day of all rows.
    """
    id_column, snapshot = contract.id.name, contract.snapshot
    day = F.col(snapshot.name) if snapshot else F.lit(as_of)
    inputs = [F.col(n).cast("double").alias(n) for n in plan.numeric] + [F.col(n) for n in plan.categorical]
    inputs += [F.unix_date(n).alias(n) for n in plan.dates]
    rows = df.select(_id(id_column), _day(day), F.lit(SNAPSHOT).alias(KIND), *inputs)
    tables = [rows_of for e in plan.events for rows_of in _event_rows(events[e.name], e, id_column)]
    together = reduce(lambda a, b: a.unionByName(b, allowMissingColumns=True), tables, rows)
    order = [*map(_column, (CUSTOMER, DAY, KIND, *layout(plan)))]
    placed = together.repartition(CUSTOMER).sortWithinPartitions(*order)
    schema = ", ".join(
        [
            f"{CUSTOMER} string, {DAY} int",
            *(f"`{name}` double" for name in plan.sources),
            *(f"`{name}` string" for name in plan.notes),
        ]
    )

    def add(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for customers in whole_customers(batches):
            keys = customers.filter(pc.equal(customers.column(KIND), SNAPSHOT)).select([CUSTOMER, DAY])
            columns = {name: pa.array(values) for name, values in history(customers, plan).items()}
            columns |= {name: pa.array(v, pa.string()) for name, v in last_notes(customers, plan).items()}
            yield from pa.table(
                {**dict(zip(keys.column_names, keys.columns, strict=True)), **columns}
            ).to_batches()

    made = placed.mapInArrow(add, schema).withColumnRenamed(CUSTOMER, id_column)
    if snapshot is None:
        return made.drop(DAY)
    return made.withColumn(snapshot.name, F.date_from_unix_date(DAY)).drop(DAY)


def _event_rows(df: DataFrame, event: EventPlan, id_column: str) -> Iterator[DataFrame]:
    """The event's rows, and a row for each fact on the day from which on it was known; see `records.dated_facts`."""
    known = [KNOWN_AT] if KNOWN_AT in df.columns else []

    def rows(day: str, kind: str, *values: Column) -> DataFrame:
        seen = F.greatest(*(F.col(c) for c in (day, day, *known)))
        return df.where(F.col(day) >= F.col(DATE)).select(
            _id(id_column), _day(seen), F.lit(kind).alias(KIND), *values
        )

    values = [_column(v).cast("double").alias(value_column(event.name, v)) for v in event.values]
    yield rows(DATE, event.name, *values, *([F.col(TEXT).alias(event.text)] if event.notes else []))
    for fact in event.facts:
        name = value_column(event.name, fact)
        if fact == SATISFACTION:
            told = rows(RESOLVED, name, F.col(fact).cast("double").alias(name))
        else:
            told = rows(fact, name, F.datediff(fact, DATE).cast("double").alias(name))
        yield told.where(_column(name).isNotNull())


def _column(name: str) -> Column:
    return F.col(f"`{name}`")


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

LEFT = "_left"  # whether a customer had left when a snapshot was taken, or does before the horizon begins


def dated_label(
    df: DataFrame, contract: Contract, *, date: str, lead: int, horizon: int, until: dt.date
) -> DataFrame:
    """Add the contract's label, and LEFT, from the day on which customers leave (null: they have not left).

    The label is whether that day lies within `horizon` days which begin `lead` days after the snapshot; null where
    they are not over on the day `until`.
    """
    assert contract.label is not None
    assert contract.snapshot is not None
    left, day = F.col(date), F.col(contract.snapshot.name)
    begins, ends = F.date_add(day, lead), F.date_add(day, lead + horizon)
    leaves = F.coalesce((left > begins) & (left <= ends), F.lit(False))
    return df.withColumns(
        {
            contract.label.name: F.when(ends <= F.lit(until), leaves),
            LEFT: F.coalesce(left <= begins, F.lit(False)),
        }
    )


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
