"""What happened before, as inputs: the steps of a run that make a panel and add history to it."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from churn_spark.contract.columns import Contract
from churn_spark.contract.history import DATE
from churn_spark.jobs.run import Run
from churn_spark.settings.history import in_days
from churn_spark.spark import storage
from churn_spark.spark.history import LEFT, dated_label, history_of, monthly_panel
from churn_spark.spark.input.events import EventTable, read_events
from churn_spark.spark.input.validation import Validated
from churn_spark.spark.tables import stored

log = logging.getLogger(__name__)


def read_tables(run: Run) -> dict[str, EventTable]:
    """Each table of dated events, read and checked once in this run; the record says what became of its rows."""
    tables = {}
    for name, events in run.config.event_tables.items():
        with run.step(f"read_{name}") as step:
            table = read_events(
                run.spark, events.raw or run.config.raw, run.config.contract.tables[name],
                settings=run.config.input, validation=run.config.validation, delay=in_days(events.delay),
                folder=storage.join(run.work, "events", name),
            )  # fmt: skip
            counts = {
                part: getattr(table, part)
                for part in ("rows", "rejected", "left_out", "degraded", "known_late")
            }
            run.record["past"]["events"][name] = counts
            run.record["past"]["one_day"] += [f"{name}.{column}" for column in table.one_day]
            step |= {part: count for part, count in counts.items() if count or part == "rows"}
        tables[name] = table
    return tables


def made_panel(run: Run, tables: Mapping[str, EventTable], *, labelled: bool) -> str:
    """Write the panel that `snapshots` asks for into the run's scratch folder; returns the folder.

    `labelled`: only snapshots whose outcome is known by now, as training wants them; the others are counted.
    """
    config, label = run.config, run.config.contract.label
    (name, events), *_ = config.events.items()  # the settings see to it that there is one
    with run.step("panel") as step:
        made = monthly_panel(
            tables[name].df, config.contract, name=name, values=events.value,
            lead=config.label.lead_days, horizon=config.label.horizon_days,
        )  # fmt: skip
        panel = stored(made, storage.join(run.work, "whole_panel"))
        if labelled:
            _observed_until(run, _newest_day([(tables[name].df, DATE)], today=run.started_at.date()))
        open_ended = F.col(label.name).isNull() if labelled and label else F.lit(False)
        folder = storage.join(run.work, "panel")
        raw_names = {c.name: c.raw_name for c in config.contract.used}  # it is read as any other raw table
        stored(panel.where(~open_ended).withColumnsRenamed(raw_names), folder)
        step |= {"censored": panel.where(open_ended).count()}
    return folder


def labelled(run: Run, checked: Validated) -> Validated:
    """Rows to learn from with the label that `label.from` makes of a date; who has left already is none of them.

    Outcomes are known up to `split.observed_until`, by default the newest day that a snapshot or the date names, up
    to today. The settings of the run say it from here on.
    """
    config, contract, label = run.config, run.config.contract, run.config.label
    assert label.date is not None
    assert contract.label is not None
    with run.step("label") as step:
        valid, name = checked.valid, contract.label.name
        until = config.split.observed_until or _newest_day(
            [(valid, label.date), (valid, contract.key[-1])], today=run.started_at.date()
        )
        _observed_until(run, until)
        made = dated_label(
            valid, contract, date=label.date, lead=label.lead_days, horizon=label.horizon_days, until=until
        )
        rows = stored(made, storage.join(run.work, "labelled"))
        live = rows.where(~F.col(LEFT) & F.col(name).isNotNull()).drop(LEFT)
        tally = rows.agg(
            F.count_if(LEFT).alias("left"),
            F.count_if(~F.col(LEFT) & F.col(name).isNull()).alias("censored"),
            F.count_if(~F.col(LEFT) & F.col(name)).alias("churners"),
            F.count_if(~F.col(LEFT) & ~F.col(name)).alias("stayers"),
        ).collect()[0].asDict()  # fmt: skip
        run.record["past"]["label"] = {**tally, "until": until.isoformat()}
        step |= run.record["past"]["label"]
        classes = {k: tally[k] for k in ("churners", "stayers")}
    return replace(checked, valid=live, counts=replace(checked.counts, **classes))


def unlabelled(run: Run, checked: Validated) -> Validated:
    """Rows to score: without a label, which is made of a date in training only."""
    label = run.config.contract.label
    assert label is not None
    return replace(checked, valid=checked.valid.withColumn(label.name, F.lit(None).cast("boolean")))


def _observed_until(run: Run, day: dt.date) -> None:
    split = run.config.split.model_copy(update={"observed_until": day})
    run.config = run.config.model_copy(update={"split": split})


def with_history(
    run: Run, df: DataFrame, tables: Mapping[str, EventTable], *, as_of: dt.date | None
) -> DataFrame:
    """Add the columns of the contract's history to valid rows; materialized, since two stages read them.

    Where there are no snapshots every row is looked at on the day `as_of`, or else on the newest day that any date of
    the table or any event names up to today. Dates that lie ahead of their snapshot count as missing: the log and the
    record say how many.
    """
    contract = run.config.contract
    if not contract.history:
        return df
    with run.step("history") as step:
        if contract.snapshot is None:
            dated = [(df, name) for name in contract.history.dates]
            dated += [(table.df, DATE) for table in tables.values()]
            as_of = as_of or _newest_day(dated, today=run.started_at.date())
            step |= {"as_of": as_of.isoformat()}
        ahead, one_day = _dates(df, contract, as_of)
        run.record["past"]["one_day"] += one_day
        run.record["past"]["dates_ahead"] = ahead
        for name, count in ahead.items():
            log.warning(
                "step=history %s lies after the snapshot in %d rows, which count as missing", name, count
            )
        events = {name: table.df for name, table in tables.items()}
        history = history_of(df, contract, contract.history, events=events, as_of=as_of)
        full = stored(df.join(history, list(contract.key)), storage.join(run.work, "history"))
        step |= {"inputs": len(contract.derived), "dates_ahead": sum(ahead.values())}
    return full


def _dates(df: DataFrame, contract: Contract, as_of: dt.date | None) -> tuple[dict[str, int], list[str]]:
    """In how many rows a date lies after its snapshot or `as_of`, where in any; and dates that name one day only."""
    dates = contract.history.dates
    if not dates:
        return {}, []
    day = F.col(contract.snapshot.name) if contract.snapshot else F.lit(as_of)
    looks = [(F.count_if(F.col(n) > day), F.min(n) == F.max(n), F.count(n) > 1) for n in dates]
    found = df.agg(*[c for look in looks for c in look]).collect()[0]
    places = {name: 3 * i for i, name in enumerate(dates)}
    ahead = {name: found[place] for name, place in places.items() if found[place]}
    return ahead, [name for name, place in places.items() if found[place + 1] and found[place + 2]]


def _newest_day(columns: Sequence[tuple[DataFrame, str]], *, today: dt.date) -> dt.date:
    """The newest day up to today among dates; today where there is none."""
    looks = [
        rows.agg(F.max(F.when(F.col(c) <= F.lit(today), F.col(c)))).collect()[0][0] for rows, c in columns
    ]
    return max((day for day in looks if day), default=today)
