"""What training looks at besides the model: what gives the answer away, and how it fares against simpler models."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import pandas as pd
from pyspark.sql import DataFrame

from churn_spark.errors import InputError
from churn_spark.evaluation import audit
from churn_spark.evaluation.ablations import measure_ablations
from churn_spark.evaluation.findings import Finding, Insights
from churn_spark.evaluation.interpretation import interpret
from churn_spark.evaluation.past import history_findings
from churn_spark.evaluation.phrases import count_phrases, separating_phrases
from churn_spark.jobs.run import Run
from churn_spark.model.model import ChurnModel
from churn_spark.model.projection import Unseen
from churn_spark.model.sample import Sample
from churn_spark.settings.decision import columns_of
from churn_spark.spark.training import rows as inspection

log = logging.getLogger(__name__)

LEVELS = {"ok": logging.INFO, "ask": logging.WARNING, "warn": logging.WARNING, "fail": logging.ERROR}


def look_for_leaks(run: Run, df: DataFrame) -> tuple[Sample, Insights]:
    """Look for leaks in columns, notes and customers; returns the rows looked at and what was found.

    Raises InputError for a column that is the label, and with `leakage: fail` for any suspicion.
    """
    config, contract = run.config, run.config.contract
    leakage, found = config.leakage, list[Finding]()
    terms = columns_of(config.decision, config.offers)
    dates = [d for d in (leakage.note_date, leakage.churn_date) if d]
    with run.step("audit") as step:
        rows = inspection.collect_rows(
            df, contract, keep=[*dates, "_fold", *terms, *filter(None, [contract.group])]
        )
        train = rows.of("learn")
        columns = [c.name for c in contract.role("numeric", "categorical")]
        aucs = audit.single_column_aucs(train.frame, train.label, columns=columns)
        found += audit.column_findings(aucs, leakage)
        found += audit.missing_findings(train.frame, train.label, columns=columns)
        readable = contract.role("numeric", "categorical", "text", "passthrough")
        found += audit.name_findings(readable, known=[*dates, config.label.date])
        found += audit.twin_findings(inspection.row_overlap(df, contract))
        if contract.snapshot:
            found += audit.panel_findings(*inspection.customers_on_both_sides(df, contract))
        phrases = []
        for text in contract.texts:
            found += audit.repeated_note_findings(text.name, inspection.note_overlap(df, contract, text.name))
            said = train.where(train.frame[text.name].notna().to_numpy())
            counts = count_phrases(said.frame[text.name].tolist(), said.label)
            found += audit.phrase_findings(text.name, counts, said.label)
            phrases.append(separating_phrases(counts, said.label))
        found += audit.note_date_findings(train.frame, train.label, leakage, snapshot=contract.snapshot)
        found += history_findings(contract.history, run.record["past"], horizon=config.made_horizon)
        insights = Insights(
            findings=_judged(run, found), phrases=pd.concat([pd.DataFrame(), *(p for p in phrases if len(p))])
        )
        step |= {"columns": len(columns), "findings": len(insights.findings or ())}
    return rows, insights


def compare_with_simpler(
    run: Run, model: ChurnModel, rows: Sample, insights: Insights, *, unseen: Unseen
) -> Insights:
    """Set the model against simpler ones and say what moves its scores, by the rows that the audit saw."""
    with run.step("explain") as step:
        ablations = measure_ablations(model, rows, training=run.config.training, unseen=unseen)
        suspected = audit.text_findings(model.undated_texts, ablations)
        findings = (*(insights.findings or ()), *_judged(run, suspected))
        insights = replace(
            insights,
            findings=findings,
            comparison=ablations.comparison,
            differences=ablations.differences,
            **interpret(model, rows, quotes=run.config.report.quotes),
        )
        step |= {"variants": insights.comparison["variant"].nunique(), "findings": len(findings)}
    return insights


def _judged(run: Run, found: Sequence[Finding]) -> tuple[Finding, ...]:
    """Log the findings that are not allowed; raises InputError for those that end the run."""
    config = run.config
    findings = audit.not_allowed(found, config.contract, allow=config.leakage.allow)
    for finding in findings:
        log.log(LEVELS[finding.severity], "step=audit severity=%s %s", finding.severity, finding.message)
    for worst in audit.fatal(findings, config.leakage)[:1]:
        raise InputError(
            f"leak suspected: {worst.message}",
            where=f"columns.{worst.column}" if worst.column else "columns",
            fix=f"give it role ignore, or, if it is honest, leakage.allow: [{worst.column or worst.name}]",
        )
    return tuple(findings)
