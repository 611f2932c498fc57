"""The jobs: read, chain, write. Every side effect of the project happens here, in the order it is written."""

from __future__ import annotations

import datetime as dt
import hashlib
import logging
import pickle
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from churn_spark import audit, evaluation, figures, notes, promotion, report, schemas, storage
from churn_spark.calibration import IDENTITY
from churn_spark.columns import Contract
from churn_spark.config import Config
from churn_spark.decisions import Policy
from churn_spark.errors import ChurnError, GateError, InputError, ResourceError
from churn_spark.features import FeatureSpec
from churn_spark.files import reading
from churn_spark.model import ChurnModel
from churn_spark.run import Run
from churn_spark.sample import Form, sample_table, write_csv
from churn_spark.scoring import (
    as_published,
    reasons_table,
    with_previous,
    with_ranks,
    with_scores,
    with_status,
    within_capacity,
)
from churn_spark.session import get_session
from churn_spark.sources import read_raw
from churn_spark.splits import resolve_mode, with_split
from churn_spark.tables import Tables, small_table
from churn_spark.text import Cache, TextCounts, price_texts, vector_dimension, with_texts
from churn_spark.training import fit_booster, fit_spec, num_workers, with_features
from churn_spark.validation import Counts, LabelUse, check_gates, split_valid

log = logging.getLogger(__name__)

# -- prepare --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Prepared:
    """Valid, typed rows with their text columns, materialised; and what was counted on the way."""

    df: DataFrame
    rows: Counts
    text: TextCounts


def prepare(run: Run) -> None:
    """Validate the raw table and fill the text cache; publishes only the rejected rows."""
    prepare_rows(run, label="ignored")


def prepare_rows(run: Run, *, label: LabelUse) -> Prepared:
    """Raw table -> prepared rows; rejected rows go to `churn_rejects` before any gate can end the run."""
    config, contract = run.config, run.config.contract
    with reading():
        with run.step("validate") as facts:
            raw = read_raw(
                run.spark,
                config.raw,
                contract=contract,
                settings=config.input,
                need_label=label == "required",
                max_row_chars=config.validation.max_row_chars,
            )
            for warning in raw.warnings:
                log.warning("step=validate %s", warning)
            checked = split_valid(
                raw.df,
                contract,
                settings=config.validation,
                label=label,
                folder=storage.join(run.work, "validated"),
            )
            counts = checked.counts
            run.record["rows"] |= {
                "in": counts.rows_in, "valid": counts.valid, "rejected": counts.rejected,
                "duplicates": counts.duplicates,
            }  # fmt: skip
            run.record["rules"] = {**counts.by_rule, **counts.by_warning}
            facts |= {"rows": counts.rows_in, "valid": counts.valid, "rejected": counts.rejected,
                      "duplicates": counts.duplicates}  # fmt: skip
            if counts.rejected and not run.dry:
                facts["table"] = _publish_rejects(run, checked.rejected)
        check_gates(counts, settings=config.validation, label=label)
        valid = _limited(checked.valid, contract, run.limit)
        texts = [c.name for c in contract.texts]
        cache = Cache(config.text.cache or storage.join(config.folder, "churn_notes"), run.work, run.run_id)
        if run.dry:
            with run.step("price") as facts:
                facts |= price_texts(valid, texts, text=config.text, cache=cache)
            return Prepared(valid, counts, TextCounts())
        with run.step("text") as facts:
            df, text_counts = with_texts(valid, texts, text=config.text, cache=cache)
            run.record["text"] = asdict(text_counts)
            facts |= {"notes": text_counts.notes, "distinct": text_counts.distinct,
                      "computed": text_counts.computed, "embedded": text_counts.embeddings_computed,
                      "table": cache.folder}  # fmt: skip
    return Prepared(df, counts, text_counts)


def _limited(df: DataFrame, contract: Contract, limit: int | None) -> DataFrame:
    if limit is None:
        return df
    customers = df.select(contract.id.name).distinct().orderBy(F.xxhash64(contract.id.name)).limit(limit)
    return df.join(customers, contract.id.name, "left_semi")


def _publish_rejects(run: Run, rejected: DataFrame) -> str:
    first = F.element_at("_errors", 1)
    lineage = rejected.withColumns(
        {
            "rule": first["name"],
            "detail": first["message"],
            "job": F.lit(run.job),
            "run_id": F.lit(run.run_id),
        }
    )
    return run.tables.append(lineage, "churn_rejects", partition=f"run_date={run.started_at:%Y-%m-%d}")


# -- train ----------------------------------------------------------------------------------------------


def train(run: Run) -> None:
    """Raw table -> model package, metrics tables and report; the package becomes champion if it may."""
    config, contract = run.config, run.config.contract
    if contract.label is None:
        raise InputError(
            "no column has role label", where="columns", fix="declare the column that says who left"
        )
    resolve_mode(contract, split=config.split)
    with run.locked():
        num_workers(run.spark, config.training)
        prepared = prepare_rows(run, label="required")
        if run.dry:
            return
        with run.step("split") as facts:
            df = with_split(prepared.df, contract, split=config.split)
            facts |= _check_split(df, contract.label.name)
        findings = _audit(run, df)
        with run.step("features") as facts:
            spec, features = _features(run, df)
            facts |= {"inputs": len(spec.names)}
        with run.step("fit") as facts:
            learnable = features.where("split in ('train', 'validation')")
            fitted = fit_booster(learnable, spec, key=contract.key, training=config.training)
            facts |= {"trees": fitted.booster.num_boosted_rounds(), "workers": fitted.num_workers}
        with run.step("evaluate") as facts:
            provisional = _provisional(run, fitted.booster, spec, prepared)
            scored = evaluation.collect_scores(df, provisional, label=contract.label.name)
            result = evaluation.evaluate(
                provisional, scored, losses={"train": fitted.train_loss, "validation": fitted.validation_loss}
            )
            measured = {**result.model.manifest, "metrics": _nested_metrics(result)}
            model = replace(result.model, manifest=measured, model_id=model_id(result.model))
            result = replace(result, model=model, importance=evaluation.importance(features, model))
            run.record["model_id"] = model.model_id
            auc = result.value("roc_auc")
            run.record["metrics"] = {m: result.value(m) for m in HEADLINES}
            facts |= {"roc_auc": f"{auc:.3f}", "pr_auc": f"{result.value('pr_auc'):.3f}"}
        verdict = promotion.decide(config, result)
        with run.step("publish") as facts:
            folder = _publish_model(run, result, prepared, findings, fitted.num_workers, verdict)
            facts |= {"model": run.record["model_id"], "report": f"{folder}/report.html"}
        with run.step("promote") as facts:
            facts |= {"promoted": verdict.promoted, "why": verdict.why}
            _refuse_unless_promoted(run, verdict)
            _publish_measurements(
                run, replace(result, model=replace(result.model, model_id=run.record["model_id"]))
            )
            promotion.set_champion(
                config.models_path, run.record["model_id"], run_id=run.run_id, at=run.started_at
            )
            facts |= {"tables": f"{run.tables.location('churn_metrics')}, churn_curves"}


HEADLINES = ("roc_auc", "pr_auc", "log_loss", "brier", "precision", "recall", "f1", "lift_10", "profit")


def _check_split(df: DataFrame, label: str) -> dict[str, int]:
    """Count rows and churners per split; every split needs both classes."""
    counts = df.where("split is not null").groupBy("split").agg(
        F.count("*").alias("rows"), F.sum(F.col(label).cast("int")).alias("churners")
    ).collect()  # fmt: skip
    found = {r["split"]: (r["rows"], r["churners"]) for r in counts}
    for name in evaluation.SPLITS:
        rows, churners = found.get(name, (0, 0))
        if not 0 < churners < rows:
            raise InputError(
                f"the {name} split has {churners} churners in {rows} rows; it needs both kinds",
                where="split",
                fix="give more rows, or another split.seed or share",
            )
    return {name: found[name][0] for name in evaluation.SPLITS}


def _audit(run: Run, df: DataFrame) -> list[report.Finding]:
    """Look at single columns on at most 100,000 training rows; a column that is the label ends the run."""
    config, contract = run.config, run.config.contract
    with run.step("audit") as facts:
        columns = [c.name for c in contract.role("numeric", "categorical")]
        assert contract.label is not None
        sample = (
            df.where("split = 'train'")
            .select(*columns, F.col(contract.label.name).cast("int").alias("_label"))
            .orderBy(F.xxhash64(*columns) if columns else "_label")
            .limit(100_000)
            .toPandas()
        )
        aucs = audit.single_column_aucs(sample, sample["_label"], columns=columns)
        leakage = config.leakage
        names = [c.raw_name for c in contract.role("numeric", "categorical")]
        findings = audit.audit_columns(aucs, max_auc=leakage.max_auc, allow=leakage.allow, names=names)
        facts |= {"columns": len(columns), "findings": len(findings)}
    for finding in findings:
        log.warning("step=audit severity=%s %s", finding.severity, finding.message)
    fatal = [f for f in findings if f.severity == "fail" or leakage.action == "fail"]
    if fatal:
        raise InputError(
            f"leak suspected: {fatal[0].message}",
            where=f"columns.{fatal[0].column}",
            fix=f"give it role ignore, or, if it is honest, leakage.allow: [{fatal[0].column}]",
        )
    return findings


def _features(run: Run, df: DataFrame) -> tuple[FeatureSpec, DataFrame]:
    """Fit the feature spec on training rows and materialise the model inputs."""
    config, contract = run.config, run.config.contract
    train = df.where("split = 'train'")
    dimensions = {t.name: found for t in contract.texts if (found := vector_dimension(train, t.name))}
    spec = fit_spec(train, contract, features=config.features, dimensions=dimensions)
    assert contract.label is not None
    used = df.where("split is not null")
    built = with_features(used, spec, keep=[*contract.key, "split", contract.label.name])
    path = storage.join(run.work, "features")
    built.write.mode("overwrite").parquet(path)
    stored = run.spark.read.parquet(path).withColumns(
        {"label": F.col(contract.label.name).cast("double"), "is_validation": F.col("split") == "validation"}
    )
    return spec, stored


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
        "label_basis": "panel" if contract.snapshot else "cross_section",
        "embedding": notes.embedding_identity(config.text) if contract.texts else None,
        "summary": notes.summary_identity(config.text) if contract.texts else None,
        "training": config.training.model_dump(mode="json"),
        "split": config.split.model_dump(mode="json"),
        "templates": config.scoring.templates,
        "versions": run.record["versions"],
        "rows": run.record["rows"],
    }
    return ChurnModel("", booster, spec, IDENTITY, policy, contract, config.text, manifest)


def _publish_model(
    run: Run,
    result: evaluation.Evaluation,
    prepared: Prepared,
    findings: list[report.Finding],
    workers: int,
    verdict: promotion.Verdict,
) -> str:
    """Write the package under its content's hash, unless it is there already. Returns the folder."""
    config, model = run.config, result.model
    folder = storage.join(config.models_path, model.model_id)
    if not _is_complete(folder, config.training.save_format):
        with tempfile.TemporaryDirectory() as scratch:
            place = Path(scratch) / model.model_id
            place.mkdir()
            _write_package(place, run, result, prepared, findings, workers, verdict)
            arriving = storage.join(config.models_path, f".{model.model_id}-{run.run_id}")
            storage.put(str(place), arriving)
            storage.remove(folder)
            storage.move(arriving, folder)
    return folder


def _is_complete(folder: str, save_format: str) -> bool:
    """Whether a sound package of this content is there already, with the files asked for."""
    if not storage.is_local(folder):
        return False
    try:
        ChurnModel.load(storage.local(folder))
    except ChurnError:
        return False
    return save_format == "json" or storage.exists(storage.join(folder, "model.pkl"))


def model_id(model: ChurnModel) -> str:
    """A name made of what was learnt: the same data and settings give the same id."""
    digest = hashlib.sha256(model.booster.save_raw("json"))
    text = {**model.text.model_dump(), "cache": None, "chunk_tokens": None}
    learnt = ("customer_value_column", "label_basis", "templates")
    for part in (
        model.spec,
        model.calibrator,
        model.policy,
        model.contract,
        text,
        *map(model.manifest.get, learnt),
    ):
        digest.update(repr(part).encode())
    return f"m-{digest.hexdigest()[:16]}"


def _write_package(
    place: Path,
    run: Run,
    result: evaluation.Evaluation,
    prepared: Prepared,
    findings: list[report.Finding],
    workers: int,
    verdict: promotion.Verdict,
) -> None:
    config, model = run.config, result.model
    facts = report.Facts(
        model_id=model.model_id,
        run_id=run.run_id,
        created_at=run.started_at,
        input=config.raw,
        label_basis=model.manifest["label_basis"],
        split_mode=resolve_mode(config.contract, split=config.split),
        rows=dict(run.record["rows"]),
        split_rows=result.rows,
        rejects_by_rule=prepared.rows.by_rule,
        text=asdict(prepared.text),
        importance=result.importance,
        policy=model.policy,
        calibrator=model.calibrator.kind,
        n_trees=model.booster.num_boosted_rounds(),
        num_workers=workers,
        parameters=config.training.model_dump(mode="json"),
        versions=run.record["versions"],
        seconds=dict(run.record["seconds"]),
        findings=tuple(findings),
        text_columns=tuple(c.name for c in config.contract.texts),
        promoted=verdict.promoted,
        reason=verdict.why,
    )
    figures.write_figures(place / "figures", result.metrics, result.curves, facts)
    report.write_report(place, result.metrics, result.curves, facts)
    report.write_model_card(place, result.metrics, facts)
    metadata = {k: model.manifest[k] for k in ("run_id", "created_at", "label_basis", "metrics", "versions")}
    storage.write_json(str(place / "metadata.json"), {"model_id": model.model_id, **metadata})
    if config.training.save_format in ("pickle", "both"):
        (place / "model.pkl").write_bytes(pickle.dumps(model.booster))
    model.save(place)


def _nested_metrics(result: evaluation.Evaluation) -> dict[str, dict[str, float | None]]:
    table = result.metrics[result.metrics["slice"] == "all"]
    return {
        str(split): {
            m: (None if np.isnan(v) else float(v)) for m, v in zip(rows["metric"], rows["value"], strict=True)
        }
        for split, rows in table.groupby("split")
    }


def _publish_measurements(run: Run, result: evaluation.Evaluation) -> None:
    for name, table, fields in (
        ("churn_metrics", result.metrics, schemas.METRICS),
        ("churn_curves", result.curves, schemas.CURVES),
    ):
        full = table.assign(run_id=run.run_id, model_id=result.model.model_id)[[f.name for f in fields]]
        rows = full.astype(object).where(full.notna(), None).itertuples(index=False, name=None)
        run.tables.append(small_table(run.spark, rows, fields), name)


def _refuse_unless_promoted(run: Run, verdict: promotion.Verdict) -> None:
    """End the run where a gate says no: only the package stays, for its report."""
    run.record["promotion"] = asdict(verdict)
    if not verdict.promoted:
        raise GateError(
            f"the new model was not promoted: {verdict.why}",
            where=storage.join(run.config.models_path, str(run.record["model_id"])),
            fix="read its report.html; the champion stays",
        )


# -- score ----------------------------------------------------------------------------------------------


def score(run: Run, *, score_date: dt.date, model_name: str = "champion") -> None:
    """Raw snapshot -> `churn_scores` of one date, replaced as a unit."""
    config = run.config
    model = load_model(run, model_name)
    _check_fits(config, model)
    run.record |= {"model_id": model.model_id, "score_date": score_date.isoformat()}
    with run.locked():
        prepared = prepare_rows(run, label="ignored")
        if run.dry:
            return
        key = config.contract.id.name
        with run.step("score") as facts:
            live = _live(prepared.df, config.contract)
            scored = with_status(
                with_scores(live, model, top=config.scoring.reasons, templates=config.scoring.templates),
                config.contract,
            )
            path = storage.join(run.work, "scored")
            scored.write.mode("overwrite").parquet(path)
            scored = run.spark.read.parquet(path)
            facts |= {"rows": _verify(scored, key)}
        with run.step("publish") as facts:
            history = run.tables.read(run.spark, "churn_scores")
            ranked = within_capacity(with_ranks(scored, key=key), key=key, capacity=config.decision.capacity)
            dated = with_previous(ranked, history, key=key, before=F.lit(score_date))
            final = dated.withColumns(
                {
                    "score_reused": F.lit(False),
                    "label_basis": F.lit(model.manifest["label_basis"]),
                    "model_id": F.lit(model.model_id),
                    "run_id": F.lit(run.run_id),
                    "scored_at": F.lit(run.started_at),
                }
            )
            rows = run.record["rows"]["scored"] = int(scored.count())
            day = f"score_date={score_date.isoformat()}"
            if config.scoring.reasons:
                reasons = reasons_table(scored, config.contract, run_id=run.run_id)
                run.tables.replace(reasons, "churn_reasons", partition=day)
            published = as_published(final, config.contract, rows=rows)
            facts["table"] = run.tables.replace(published, "churn_scores", partition=day)
            run.tables.define_latest(run.spark, "churn_scores", partition="score_date")


def load_model(run: Run, name: str) -> ChurnModel:
    """Load the champion or a model by id."""
    models = run.config.models_path
    known = [n for n in storage.names(models) if n.startswith("m-")] if storage.is_local(models) else [name]
    if name != "champion" and name not in known:
        raise InputError(
            "there is no such model",
            where=f"--model {name}",
            fix=f"use champion, or one of: {', '.join(known) or 'none yet, train first'}",
        )
    folder = models if name == "champion" else storage.join(models, name)
    if storage.is_local(models):
        return ChurnModel.load(storage.local(folder))
    run.spark  # noqa: B018 - the file system is reached through the session
    return ChurnModel.load(storage.fetch(folder, tempfile.mkdtemp(prefix="churn_spark-model-")))


def _check_fits(config: Config, model: ChurnModel) -> None:
    """The run's columns and text settings must be those the model was trained with."""
    declared = {c.name: c.role for c in config.contract.columns}
    wanted = {c.name: c.role for c in model.contract.role("numeric", "categorical", "text")}
    missing = sorted(n for n, role in wanted.items() if declared.get(n) != role)
    if missing:
        raise InputError(
            f"the model needs columns that the table contract lacks: {', '.join(missing)}",
            where="columns",
            fix="score with the configuration the model was trained with",
        )
    if not model.contract.texts:
        return
    for what, mine, theirs in (
        ("embedding", notes.embedding_identity(config.text), model.manifest["embedding"]),
        ("summary", notes.summary_identity(config.text), model.manifest["summary"]),
    ):
        if mine != theirs:
            keys = sorted(k for k in {*mine, *theirs} if mine.get(k) != theirs.get(k))
            raise ResourceError(
                f"the model was trained with another {what}: {', '.join(keys)} differ",
                where="text",
                fix="score with the text settings the model was trained with, or train again",
            )


def _live(df: DataFrame, contract: Contract) -> DataFrame:
    """One row per customer: of several snapshots, the newest."""
    if contract.snapshot is None:
        return df
    newest = df.groupBy(contract.id.name).agg(F.max(contract.snapshot.name).alias(contract.snapshot.name))
    return df.join(newest, [contract.id.name, contract.snapshot.name], "left_semi")


def _verify(scored: DataFrame, key: str) -> int:
    """Before anything is published: one row per customer, a probability wherever the status is ok."""
    bad = (F.col("score_status") == "ok") & F.col("churn_probability").isNull()
    found = scored.agg(F.count("*"), F.count_distinct(key), F.count(F.when(bad, 1))).first()
    rows, customers, missing = found or (0, 0, 0)
    if rows != customers or missing:
        raise GateError(
            f"{rows} scored rows for {customers} customers, {missing} without a probability: not published",
            fix="see error.txt; this should not happen, please report it",
        )
    return int(rows)


# -- one customer ---------------------------------------------------------------------------------------


def explain(config: Config, customer: str) -> list[str]:
    """One customer's newest score, summary and every reason, in words. Raises InputError for an unknown one."""
    spark = get_session(config.spark.app_name, conf=config.spark.conf)
    tables = Tables(config.output, "", "")
    scores, reasons = tables.read(spark, "churn_scores"), tables.read(spark, "churn_reasons")
    mine = (
        None
        if scores is None
        else scores.where(F.col("customer_id") == customer).orderBy(F.desc("score_date")).first()
    )
    if mine is None:
        raise InputError(
            "this customer has no score",
            where=tables.location("churn_scores"),
            fix="check the id and --output",
        )
    lines = [
        f"{mine.score_date}  probability {mine.churn_probability:.3f}  {mine.risk_band}  rank {mine.risk_rank}  "
        f"expected value {mine.expected_value:.2f}  {mine.score_status}",
        f"note ({mine.text_status}): {mine.ticket_summary or '-'}",
    ]
    if reasons is not None:
        told = reasons.where((F.col("customer_id") == customer) & (F.col("score_date") == mine.score_date))
        lines += [f"{r.effect:+7.3f}  {r.text}" for r in told.orderBy("rank").collect()]
    return lines


# -- the sample -----------------------------------------------------------------------------------------


def write_sample(
    path: str, rows: int, *, file_format: str, form: Form, seed: int, months: int | None = None
) -> None:
    """Write a generated customer table: one file for a path that ends in .csv, else a folder by a Spark job."""
    if path.endswith(".csv"):
        storage.local(path).parent.mkdir(parents=True, exist_ok=True)
        write_csv(storage.local(path), rows, seed=seed, months=months, form=form)
        return
    table = sample_table(get_session(), rows, seed=seed, months=months, form=form)
    writer = table.write.mode("overwrite").option("header", True).option("escape", '"')
    writer.format(file_format).save(path)


# -- the record -----------------------------------------------------------------------------------------


def publish_run(run: Run, seconds: float) -> None:
    """Add the run's row to `churn_runs`."""
    r = run.record
    rows, text = r["rows"], r["text"]
    day = r.get("score_date")
    values = (
        r["run_id"], r["job"], "succeeded", None, 0, run.started_at, dt.datetime.now(dt.UTC), seconds, r["config_hash"],
        r["code_version"], r["input"], r["model_id"], dt.date.fromisoformat(day) if day else None,
        rows["in"], rows["valid"], rows["rejected"], rows["duplicates"], rows["scored"],
        text.get("notes"), text.get("distinct"), text.get("summaries_computed"), text.get("embeddings_computed"),
        r["metrics"].get("roc_auc"),
    )  # fmt: skip
    run.tables.append(small_table(run.spark, [values], schemas.RUNS), "churn_runs")
