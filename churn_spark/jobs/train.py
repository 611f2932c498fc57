"""The training job: raw table -> model package, metrics tables, report, and perhaps a new champion."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from churn_spark.contract import published as schemas
from churn_spark.contract.columns import SPLITS
from churn_spark.errors import GateError, InputError
from churn_spark.evaluation import audit
from churn_spark.evaluation.ablations import measure_ablations, variant_metrics
from churn_spark.evaluation.evaluate import Evaluation, evaluate
from churn_spark.evaluation.findings import Finding, Insights
from churn_spark.evaluation.gates import Challenge, Verdict, decide
from churn_spark.evaluation.interpretation import interpret
from churn_spark.evaluation.phrases import count_phrases, separating_phrases
from churn_spark.jobs.package import nested_metrics, publish_model
from churn_spark.jobs.prepare import Prepared, prepare_rows
from churn_spark.jobs.run import Run
from churn_spark.model.calibration import IDENTITY
from churn_spark.model.features import FeatureSpec
from churn_spark.model.model import ChurnModel
from churn_spark.model.policy import Policy
from churn_spark.model.projection import Unseen
from churn_spark.model.rows import Rows
from churn_spark.model.search import require_optuna, search
from churn_spark.notes import prepare as notes
from churn_spark.spark import storage
from churn_spark.spark.tables import small_table
from churn_spark.spark.training import registry
from churn_spark.spark.training import rows as inspection
from churn_spark.spark.training.backtest import backtest
from churn_spark.spark.training.challenge import challenge
from churn_spark.spark.training.evaluate import collect_scores
from churn_spark.spark.training.fit import fit_booster, fit_inputs, num_workers, sample_rows, stored_inputs
from churn_spark.spark.training.splits import count_splits, fold_of, resolve_mode, with_split

log = logging.getLogger(__name__)


LEVELS = {"ok": logging.INFO, "warn": logging.WARNING, "fail": logging.ERROR}
HEADLINES = ("roc_auc", "pr_auc", "log_loss", "brier", "precision", "recall", "f1", "lift_10", "profit")


def train(run: Run) -> None:
    """Raw table -> model package, metrics tables and report; the package becomes champion if it may."""
    config, contract = run.config, run.config.contract
    if contract.label is None:
        raise InputError(
            "no column has role label", where="columns", fix="declare the column that says who left"
        )
    resolve_mode(contract, split=config.split)
    if config.training.search.trials:
        require_optuna()
    with run.locked():
        num_workers(run.spark, config.training)
        prepared = prepare_rows(run, purpose="train", as_of=config.split.observed_until)
        if run.dry:
            return
        with run.step("split") as facts:
            labelled = with_split(prepared.df, contract, split=config.split)
            facts |= count_splits(labelled, contract.label.name)
            run.record["split"] = dict(facts)
            df = labelled.where(F.col("split").isin(*SPLITS)).withColumn(
                "_fold", fold_of(contract.id.name, config.split)
            )
        rows, insights = _audit(run, df)
        with run.step("features") as facts:
            learnt = F.col("split") == "train"
            inputs = fit_inputs(df.where(learnt), rows.of("train"), contract, features=config.features)
            spec, folder = inputs.spec, storage.join(run.work, "features")
            features = stored_inputs(df, inputs, contract, learnt=learnt, folder=folder)
            facts |= {"inputs": len(spec.names)}
        if config.training.search.trials:
            _search(run, features, spec)
        with run.step("fit") as facts:
            learnable = features.where("split in ('train', 'validation')").withColumn(
                "is_validation", F.col("split") == "validation"
            )
            fitted = fit_booster(learnable, spec, key=contract.key, training=run.config.training)
            facts |= {"trees": fitted.booster.num_boosted_rounds(), "workers": fitted.num_workers}
        with run.step("evaluate") as facts:
            provisional = _provisional(run, fitted.booster, spec, prepared)
            scored = collect_scores(df, provisional, label=contract.label.name)
            result = evaluate(
                provisional, scored, losses={"train": fitted.train_loss, "validation": fitted.validation_loss}
            )
            measured = {**result.model.manifest, "metrics": nested_metrics(result)}
            model = replace(result.model, manifest=measured).identified()
            result = replace(result, model=model)
            run.record["model_id"] = model.model_id
            auc = result.value("roc_auc")
            run.record["metrics"] = {m: result.value(m) for m in HEADLINES}
            facts |= {"roc_auc": f"{auc:.3f}", "pr_auc": f"{result.value('pr_auc'):.3f}"}
        if contract.snapshot and config.split.backtest:
            with run.step("backtest") as facts:
                past = backtest(df, rows, settings=run.config, folder=storage.join(run.work, "backtest"))
                result = replace(result, metrics=pd.concat([result.metrics, past], ignore_index=True))
                facts |= {"origins": past["slice"].nunique()}
        insights = _explain(run, model, rows, inputs.unseen, insights)
        with run.step("compare") as facts:
            rival = challenge(
                df, result.model, config=config, cache=run.cache, folder=storage.join(run.work, "champion")
            )
            verdict = _verdict(run, result, insights.findings or (), rival)
            facts |= {"champion": rival.champion if rival else "none", **(rival.agreement if rival else {})}
        with run.step("publish") as facts:
            folder = publish_model(run, result, prepared, insights, fitted.num_workers, verdict, rival)
            facts |= {"model": run.record["model_id"], "report": f"{folder}/report.html"}
        with run.step("promote") as facts:
            facts |= {"promoted": verdict.promoted, "why": verdict.why}
            _refuse_unless_promoted(run, verdict)
            _publish_measurements(run, result, insights)
            registry.set_champion(
                config.models_path,
                run.record["model_id"],
                run_id=run.run_id,
                at=run.started_at,
                why=verdict.why,
            )
            facts |= {"tables": f"{run.tables.location('churn_metrics')}, churn_curves"}


def _audit(run: Run, df: DataFrame) -> tuple[Rows, Insights]:
    """Look for leaks in columns, notes and customers; returns the rows looked at and what was found.

    Raises InputError for a column that is the label, and with `leakage: fail` for any suspicion.
    """
    config, contract = run.config, run.config.contract
    leakage, found = config.leakage, list[Finding]()
    dates = [d for d in (leakage.note_date, leakage.churn_date) if d]
    with run.step("audit") as facts:
        rows = inspection.collect_rows(df, contract, keep=[*dates, "_fold"])
        train = rows.of("train")
        columns = [c.name for c in contract.role("numeric", "categorical")]
        aucs = audit.single_column_aucs(train.frame, train.label, columns=columns)
        found += audit.column_findings(aucs, leakage)
        readable = contract.role("numeric", "categorical", "text", "passthrough")
        found += audit.name_findings(readable, known=dates)
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
        insights = Insights(
            findings=_judged(run, found), phrases=pd.concat([pd.DataFrame(), *(p for p in phrases if len(p))])
        )
        facts |= {"columns": len(columns), "findings": len(insights.findings or ())}
    return rows, insights


def _explain(run: Run, model: ChurnModel, rows: Rows, unseen: Unseen, insights: Insights) -> Insights:
    """Set the model against simpler ones and say what moves its scores, by the rows that the audit saw."""
    with run.step("explain") as facts:
        ablations = measure_ablations(model, rows, training=run.config.training, unseen=unseen)
        suspected = audit.text_findings([t.name for t in model.spec.texts], ablations)
        findings = (*(insights.findings or ()), *_judged(run, suspected))
        insights = replace(
            insights,
            findings=findings,
            comparison=ablations.comparison,
            differences=ablations.differences,
            **interpret(model, rows, quotes=run.config.report.quotes),
        )
        facts |= {"variants": insights.comparison["variant"].nunique(), "findings": len(findings)}
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


def _search(run: Run, features: DataFrame, spec: FeatureSpec) -> None:
    """Look for better tree settings on samples of train and validation rows; the run goes on with the best."""
    training = run.config.training
    with run.step("search") as facts:
        train, validation = (
            sample_rows(features.where(F.col("split") == name), limit=training.search.max_rows)
            for name in ("train", "validation")
        )
        found = search(train, validation, spec, training=training)
        run.record["search"] = list(found.trials)
        run.config = run.config.model_copy(update={"training": training.model_copy(update=found.settings)})
        facts |= {"trials": len(found.trials), **found.settings}


def _provisional(run: Run, booster: Any, spec: FeatureSpec, prepared: Prepared) -> ChurnModel:
    """The model before calibration and threshold are known."""
    config, contract = run.config, run.config.contract
    decision = config.decision
    by_column = isinstance(decision.customer_value, str)
    policy = Policy(
        contact_cost=decision.contact_cost,
        offer_cost=decision.offer_cost,
        accept_rate=decision.accept_rate,
        customer_value=0.0 if by_column else float(decision.customer_value),
        capacity=decision.capacity,
        holdout_share=decision.holdout_share,
    )
    manifest = {
        "run_id": run.run_id,
        "created_at": run.started_at.isoformat(),
        "customer_value_column": decision.customer_value if by_column else None,
        "label_basis": contract.label_basis,
        "embedding": {c.name: notes.embedding_identity(config.text.of(c.name)) for c in contract.texts},
        "summary": {c.name: notes.summary_identity(config.text.of(c.name)) for c in contract.texts},
        "training": config.training.model_dump(mode="json"),
        "search": run.record.get("search", []),
        "split": config.split.model_dump(mode="json"),
        "templates": config.scoring.templates,
        "quote_from": config.scoring.quote_from,
        "versions": run.record["versions"],
        "rows": run.record["rows"],
    }
    return ChurnModel("", booster, spec, IDENTITY, policy, contract, config.text, manifest)


def _publish_measurements(run: Run, result: Evaluation, insights: Insights) -> None:
    for name, table, fields in (
        ("churn_metrics", pd.concat([result.metrics, variant_metrics(insights)]), schemas.METRICS),
        ("churn_curves", result.curves, schemas.CURVES),
    ):
        lineage = {"run_id": run.run_id, "model_id": result.model.model_id}
        full = table.assign(**lineage, label_basis=run.config.contract.label_basis)[[f.name for f in fields]]
        rows = full.astype(object).where(full.notna(), None).itertuples(index=False, name=None)
        run.tables.append(small_table(run.spark, rows, fields), name)


def _verdict(
    run: Run,
    result: Evaluation,
    findings: Sequence[Finding],
    rival: Challenge | None,
) -> Verdict:
    """Judge the new model and record it; the champion trained again stays what it is."""
    champion = registry.read_pointer(run.config.models_path).get("model_id")
    verdict = decide(run.config.promotion, result, findings=findings, challenge=rival)
    if champion == result.model.model_id:
        verdict = Verdict(True, "it is the champion, trained again", verdict.gates)
    gains = rival.differences if rival else pd.DataFrame()
    run.record["promotion"] = {
        **asdict(verdict),
        "gates": [gate._asdict() for gate in verdict.gates],
        "champion": champion,
        "agreement": dict(rival.agreement) if rival else {},
        "differences": gains.drop(columns="baseline").set_index("metric").to_dict("index")
        if len(gains)
        else {},
    }
    return verdict


def _refuse_unless_promoted(run: Run, verdict: Verdict) -> None:
    """End the run where a gate says no: only the package stays, for its report and as the challenger."""
    if not verdict.promoted:
        models, model_id = run.config.models_path, str(run.record["model_id"])
        registry.set_challenger(models, model_id, run_id=run.run_id, at=run.started_at, why=verdict.why)
        raise GateError(
            f"the new model was not promoted: {verdict.why}",
            where=storage.join(models, model_id),
            fix="read its report.html; the champion stays, unless you accept the new one: "
            "--set promotion.rule=always",
        )
