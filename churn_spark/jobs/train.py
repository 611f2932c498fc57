"""The training job: raw table -> model package, metrics tables, report, and perhaps a new champion.

`train` reads as the table of steps; each returns one object, and logs what it counted.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd
import xgboost as xgb
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from churn_spark.contract import published as schemas
from churn_spark.contract.columns import SPLITS, Contract
from churn_spark.contract.folds import FOLDS
from churn_spark.errors import GateError, InputError
from churn_spark.evaluation.ablations import variant_metrics
from churn_spark.evaluation.evaluate import Evaluation, evaluate, terms_columns
from churn_spark.evaluation.findings import Finding, Insights
from churn_spark.evaluation.gates import Challenge, Verdict, decide
from churn_spark.jobs.insights import compare_with_simpler, look_for_leaks
from churn_spark.jobs.package import Training, nested_metrics, publish_model
from churn_spark.jobs.prepare import prepare_rows
from churn_spark.jobs.run import Run
from churn_spark.model.calibration import IDENTITY
from churn_spark.model.crossfit import Choice, Learning, choose, lay_out, unseen_margin
from churn_spark.model.model import ChurnModel
from churn_spark.model.policy import Policy, campaign_policy
from churn_spark.model.projection import assemble_unseen
from churn_spark.model.reasons import flags, typical_values
from churn_spark.model.sample import Sample, unit_of
from churn_spark.model.search import require_optuna, search
from churn_spark.model.trees import averaged
from churn_spark.notes import prepare as notes
from churn_spark.settings.decision import amounts_of
from churn_spark.settings.sections import Config
from churn_spark.spark import storage
from churn_spark.spark.classic import context
from churn_spark.spark.tables import small_table
from churn_spark.spark.training import registry
from churn_spark.spark.training.backtest import backtest
from churn_spark.spark.training.challenge import challenge
from churn_spark.spark.training.evaluate import collect_scores
from churn_spark.spark.training.fit import (
    Inputs,
    fit_booster,
    fit_fold_boosters,
    fit_inputs,
    num_workers,
    stored_inputs,
)
from churn_spark.spark.training.splits import count_splits, fold_of, resolve_mode, with_split

log = logging.getLogger(__name__)

HEADLINES = ("roc_auc", "pr_auc", "log_loss", "brier", "precision", "recall", "f1", "lift_10", "profit")


@dataclass(frozen=True, eq=False)
class Chosen:
    """How model inputs are made, the learning rows laid out, and the settings of the trees chosen by them."""

    inputs: Inputs
    learning: Learning
    choice: Choice
    boosters: int  # published: one for each fold, or one
    typical: Mapping[str, float]  # medians of the learning rows, for the reasons
    flags: Sequence[str]  # the columns of numbers that are yes or no
    policy: Policy  # before threshold and bands are known


@dataclass(frozen=True, eq=False)
class Grown:
    """The booster to publish, and the learning rows scored out of fold: see `collect_scores`."""

    booster: xgb.Booster
    unseen: pd.DataFrame


def train(run: Run) -> None:
    """Raw table -> model package, metrics tables and report; the package becomes champion if it may."""
    _check_settings(run.config)
    with run.locked():
        context(run.spark, needed_by="training")
        num_workers(run.spark, run.config.training)
        prepared = prepare_rows(run, purpose="train", as_of=run.config.split.observed_until)
        if run.dry:
            return
        df = _split(run, prepared.noted.joined())
        sample, insights = look_for_leaks(run, df)
        chosen = _choose(run, df, sample)
        grown = _fit(run, df, sample, chosen)
        result = _evaluate(run, df, chosen, grown)
        result = _backtest(run, df, sample, chosen, result)
        insights = compare_with_simpler(run, result.model, sample, insights, unseen=chosen.inputs.unseen)
        rival = _compare(run, df, result)
        verdict = _verdict(run, result, insights.findings or (), rival)
        _publish(run, Training(result, prepared, insights, verdict, rival))
        _promote(run, result, insights, verdict)


def _check_settings(config: Config) -> None:
    """Raises InputError or ConfigError for what can be known before any row is read."""
    if config.contract.label is None:
        raise InputError(
            "no column has role label", where="columns", fix="declare the column that says who left"
        )
    if not config.contract.role("numeric", "categorical", "date", "text"):
        raise InputError(
            "no column to learn from",
            where="columns",
            fix="give a column role numeric, categorical, date or text",
        )
    resolve_mode(config.contract, split=config.split)
    if config.training.search.trials:
        require_optuna()


def _split(run: Run, prepared: DataFrame) -> DataFrame:
    """The rows to learn from and to test on, with `split` and `_fold`."""
    contract, split = run.config.contract, run.config.split
    assert contract.label is not None
    with run.step("split") as step:
        labelled = with_split(prepared, contract, split=split)
        step |= count_splits(labelled, contract.label.name)
        run.record["split"] = dict(step)
        used = labelled.where(F.col("split").isin(*SPLITS))
        if contract.snapshot:
            newest = used.where("split = 'learn'").agg(F.max(contract.snapshot.name)).collect()[0][0]
            run.record["learned_until"] = newest.isoformat()
        return used.withColumn("_fold", fold_of(contract, split))


def _choose(run: Run, df: DataFrame, sample: Sample) -> Chosen:
    """Learn how model inputs are made, and choose the trees' settings by the learning rows that are here."""
    config = run.config
    with run.step("choose") as step:
        here, learnt = sample.of("learn"), df.where("split = 'learn'")
        folded = sample.whole or config.scoring.unseen
        inputs = fit_inputs(learnt, here, config.contract, features=config.features, folded=folded)
        fold = here.frame["_fold"].to_numpy("int64")
        matrix = assemble_unseen(inputs.spec, inputs.unseen, here.frame, vectors=here.vectors, fold=fold)
        learning = lay_out(matrix, here.label, fold, inputs.spec, max_bin=config.training.max_bin)
        choice = (search if config.training.search.trials else choose)(learning, config.training)
        run.record["search"] = list(choice.trials)
        run.config = config.model_copy(update={"training": choice.training})
        step |= {"inputs": len(inputs.spec.names), "tried": len(choice.trials), **choice.settings}
    names = [n.name for n in inputs.spec.numeric]
    typical, yes_or_no = typical_values(here.frame, names), flags(here.frame, names)
    policy = campaign_policy(config.decision, config.offers, typical=_typical_amounts(config, here.frame))
    return Chosen(inputs, learning, choice, FOLDS if folded else 1, typical, yes_or_no, policy)


def _typical_amounts(config: Config, frame: pd.DataFrame) -> dict[str, float]:
    """The medians of the columns that amounts of money are read from. Raises InputError where one has no values."""
    columns = {c: key for key, c in amounts_of(config.decision, config.offers).items() if isinstance(c, str)}
    typical = {c: frame[c].astype("float64").median() for c in columns}
    for column, median in typical.items():
        if not np.isfinite(median):
            raise InputError(
                f"the column {column} has no values among the learning rows",
                where=columns[column],
                fix="name another column, or give a number",
            )
    return typical


def _fit(run: Run, df: DataFrame, sample: Sample, chosen: Chosen) -> Grown:
    """Fit on Spark what is published: a booster for each fold as one, or of a large table one for all rows."""
    contract, training, inputs = run.config.contract, chosen.choice.rounded, chosen.inputs
    with run.step("fit") as step:
        features = stored_inputs(
            df.where("split = 'learn'"), inputs, contract, learnt=F.lit(True),
            folder=storage.join(run.work, "features"),
        )  # fmt: skip
        start = chosen.learning.base_score
        if chosen.boosters > 1:
            boosters = fit_fold_boosters(
                features, inputs.spec, key=contract.key, training=training, base_score=start
            )
            booster = averaged(
                boosters, [*map(inputs.spec.inputs_of, range(len(boosters)))], inputs.spec.types
            )
        else:
            booster = fit_booster(
                features, inputs.spec, key=contract.key, training=training, base_score=start
            )
        margin = unseen_margin(chosen.learning, boosters) if sample.whole else chosen.choice.fit.margin
        workers = num_workers(run.spark, training)
        step |= {"trees": booster.num_boosted_rounds(), "workers": workers}
        run.record["workers"] = workers
    return Grown(booster, _unseen(contract, chosen.policy, sample.of("learn").frame, margin))


def _unseen(
    contract: Contract, policy: Policy, frame: pd.DataFrame, margin: npt.NDArray[np.float64]
) -> pd.DataFrame:
    """Learning rows scored out of fold."""
    terms = terms_columns(policy.terms(frame, len(frame))) if policy.has_own_terms else {}
    customer = unit_of(frame, contract)
    return frame[["label"]].assign(margin=margin, customer=customer, fold=frame["_fold"], **terms)


def _evaluate(run: Run, df: DataFrame, chosen: Chosen, grown: Grown) -> Evaluation:
    """The finished model under its id, and everything measured on it."""
    label = run.config.contract.label
    assert label is not None
    fit = chosen.choice.fit
    with run.step("evaluate") as step:
        provisional = _provisional(run, chosen, grown.booster)
        scores = collect_scores(df, provisional, label=label.name, learnt=grown.unseen)
        result = evaluate(provisional, scores, losses={"learn": fit.learn_loss, "unseen": fit.unseen_loss})
        measured = {**result.model.manifest, "metrics": nested_metrics(result)}
        result = replace(result, model=replace(result.model, manifest=measured).identified())
        run.record["model_id"] = result.model.model_id
        run.record["metrics"] = {m: result.value(m) for m in HEADLINES}
        step |= {name: f"{result.value(name):.3f}" for name in ("roc_auc", "pr_auc")}
    return result


def _backtest(run: Run, df: DataFrame, sample: Sample, chosen: Chosen, result: Evaluation) -> Evaluation:
    """The evaluation with that of past dates, where the table has any."""
    if not run.config.contract.snapshot or not run.config.split.backtest:
        return result
    with run.step("backtest") as step:
        past = backtest(
            df, sample, settings=run.config, training=chosen.choice.rounded,
            folder=storage.join(run.work, "backtest"),
        )  # fmt: skip
        step |= {"origins": past["slice"].nunique()}
    return replace(result, metrics=pd.concat([result.metrics, past], ignore_index=True))


def _compare(run: Run, df: DataFrame, result: Evaluation) -> Challenge | None:
    """The champion on the same test rows; None where there is none."""
    with run.step("compare") as step:
        folder = storage.join(run.work, "champion")
        rival = challenge(df, result.model, config=run.config, cache=run.cache, folder=folder)
        step |= {"champion": rival.champion, **(rival.agreement or {})} if rival else {"champion": "none"}
    return rival


def _publish(run: Run, training: Training) -> None:
    with run.step("publish") as step:
        folder = publish_model(run, training)
        step |= {"model": run.record["model_id"], "report": f"{folder}/report.html"}


def _promote(run: Run, result: Evaluation, insights: Insights, verdict: Verdict) -> None:
    """Make the new model champion, or end the run where a gate says no."""
    with run.step("promote") as step:
        step |= {"promoted": verdict.promoted, "why": verdict.why}
        run.record["promoted"] = verdict.promoted
        if not verdict.promoted:
            _keep_champion(run, verdict)
            return
        _publish_measurements(run, result, insights)
        registry.set_champion(
            run.config.models_path,
            run.record["model_id"],
            run_id=run.run_id,
            at=run.started_at,
            why=verdict.why,
        )
        step |= {"tables": f"{run.tables.location('churn_metrics')}, churn_curves"}


def _provisional(run: Run, chosen: Chosen, booster: xgb.Booster) -> ChurnModel:
    """The model before calibration and threshold are known."""
    config, contract = run.config, run.config.contract
    manifest = {
        "run_id": run.run_id,
        "created_at": run.started_at.isoformat(),
        "label_basis": contract.label_basis,
        "horizon_days": config.label_horizon,
        "currency": config.currency,
        "embedding": {c.name: notes.embedding_identity(config.text.of(c.name)) for c in contract.texts},
        "summary": {c.name: notes.summary_identity(config.text.of(c.name)) for c in contract.texts},
        "training": config.training.model_dump(mode="json"),
        "search": run.record.get("search", []),
        "split": config.split.model_dump(mode="json"),
        "boosters": chosen.boosters,
        "rounds": chosen.choice.fit.rounds,
        "templates": config.scoring.templates,
        "quote_from": config.scoring.quote_from,
        "unseen": config.scoring.unseen,
        "versions": run.record["versions"],
        "rows": run.record["rows"],
        "typical": dict(chosen.typical),
        "flags": list(chosen.flags),
        "learned_until": run.record.get("learned_until"),
    }
    return ChurnModel(
        "", booster, chosen.inputs.spec, IDENTITY, chosen.policy, contract, config.text, manifest
    )


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


def _keep_champion(run: Run, verdict: Verdict) -> None:
    """Name the model the challenger; only its package stays. Raises GateError with promotion.on_refusal: fail."""
    models, model_id = run.config.models_path, str(run.record["model_id"])
    registry.set_challenger(models, model_id, run_id=run.run_id, at=run.started_at, why=verdict.why)
    if run.config.promotion.on_refusal == "fail":
        raise GateError(
            f"the new model was not promoted: {verdict.why}",
            where=storage.join(models, model_id),
            fix="read its report.html; the champion stays, unless you accept the new one: "
            "--set promotion.rule=always",
        )
    log.warning("step=promote promoted=False why=%s", verdict.why)
