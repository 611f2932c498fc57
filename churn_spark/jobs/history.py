"""What happened before, as inputs: the steps of a run that make a panel and add history to it."""

from __future__ import annotations

import datetime as dt

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from churn_spark.contract.columns import Contract
from churn_spark.jobs.run import Run
from churn_spark.settings.history import Events
from churn_spark.spark import storage
from churn_spark.spark.history import history_of, monthly_panel
from churn_spark.spark.input.events import EventTable, read_events
from churn_spark.spark.tables import stored


def made_panel(run: Run, *, labelled: bool) -> str:
    """Write the panel that `snapshots` asks for into the run's scratch folder; returns the folder.

    `labelled`: only snapshots whose outcome is known by now, as training wants them; the others are counted.
    """
    config, label = run.config, run.config.contract.label
    (name, events), *_ = config.events.items()  # the settings see to it that there is one
    with run.step("panel") as step:
        table = _read(run, events)
        made = monthly_panel(
            table.df, config.contract, name=name, values=events.value,
            lead=config.label.lead_days, horizon=config.label.horizon_days,
        )  # fmt: skip
        panel = stored(made, storage.join(run.work, "whole_panel"))
        open_ended = F.col(label.name).isNull() if labelled and label else F.lit(False)
        folder = storage.join(run.work, "panel")
        stored(panel.where(~open_ended), folder)
        step |= {
            "events": table.rows,
            "rejected": table.rejected,
            "censored": panel.where(open_ended).count(),
        }
    return folder


def with_history(run: Run, df: DataFrame, *, as_of: dt.date | None) -> DataFrame:
    """Add the columns of the contract's history to valid rows; materialized, since two stages read them.

    Where there are no snapshots every row is looked at on the day `as_of`, or else on the newest day that any date of
    the table names up to today.
    """
    contract = run.config.contract
    if not contract.history:
        return df
    with run.step("history") as step:
        tables = {name: _read(run, events) for name, events in run.config.event_tables.items()}
        history = history_of(
            df, contract, contract.history, events={name: t.df for name, t in tables.items()},
            as_of=as_of or _newest_date(df, contract, today=run.started_at.date()),
        )  # fmt: skip
        full = stored(df.join(history, list(contract.key)), storage.join(run.work, "history"))
        step |= {"inputs": len(contract.derived), **{f"{n}_rejected": t.rejected for n, t in tables.items()}}
    return full


def _read(run: Run, events: Events) -> EventTable:
    config = run.config
    return read_events(
        run.spark, events.raw or config.raw, events, id_column=config.contract.id.name,
        settings=config.input, validation=config.validation,
    )  # fmt: skip


def _newest_date(df: DataFrame, contract: Contract, *, today: dt.date) -> dt.date:
    """The newest day up to today among the dates of rows without snapshots."""
    days = [F.max(F.when(F.col(name) <= F.lit(today), F.col(name))) for name in contract.history.dates]
    newest = (
        df.agg(F.greatest(F.lit(None).cast("date"), F.lit(None).cast("date"), *days)).first()
        if days
        else None
    )
    return newest[0] if newest and newest[0] else today
