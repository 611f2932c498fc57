"""The model package of a training run: written once under the hash of what was learnt, with report and card."""

from __future__ import annotations

import pickle
import tempfile
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import numpy as np
import pandas as pd

from churn_spark.errors import ChurnError
from churn_spark.evaluation.evaluate import Evaluation
from churn_spark.evaluation.findings import Insights
from churn_spark.evaluation.gates import Challenge, Verdict
from churn_spark.jobs.prepare import Prepared
from churn_spark.jobs.run import Run
from churn_spark.model.model import ChurnModel
from churn_spark.report import figures
from churn_spark.report import html as report
from churn_spark.spark import storage
from churn_spark.spark.training.registry import read_pointer
from churn_spark.spark.training.splits import resolve_mode


@dataclass(frozen=True, eq=False)
class Training:
    """All that a training run has to tell of its model."""

    result: Evaluation
    prepared: Prepared
    insights: Insights
    verdict: Verdict
    rival: Challenge | None


def publish_model(run: Run, training: Training) -> str:
    """Write the package under its content's hash, unless it is the champion's and sound. Returns the folder."""
    config, model_id = run.config, training.result.model.model_id
    folder = storage.join(config.models_path, model_id)
    is_live = read_pointer(config.models_path).get("model_id") == model_id
    if not (is_live and _is_complete(folder, config.training.save_format)):
        with tempfile.TemporaryDirectory() as scratch:
            place = Path(scratch) / model_id
            place.mkdir()
            _write_package(place, run, training)
            arriving = storage.join(config.models_path, f".{model_id}-{run.run_id}")
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


def _write_package(place: Path, run: Run, training: Training) -> None:
    result, model, save_format = training.result, training.result.model, run.config.training.save_format
    facts = _facts(run, training)
    figures.write_figures(place / "figures", result.metrics, result.curves, facts)
    report.write_report(place, result.metrics, result.curves, facts)
    report.write_model_card(place, result.metrics, facts)
    metadata = {k: model.manifest[k] for k in ("run_id", "created_at", "label_basis", "metrics", "versions")}
    storage.write_json(str(place / "metadata.json"), {"model_id": model.model_id, **metadata})
    if save_format in ("pickle", "both"):
        (place / "model.pkl").write_bytes(pickle.dumps(model.booster))
    model.save(place)


def _facts(run: Run, training: Training) -> report.Facts:
    config, model, prepared = run.config, training.result.model, training.prepared
    rival, verdict = training.rival or Challenge(""), training.verdict
    beside = _beside(training.insights, rival)
    return report.Facts(
        **{field.name: getattr(beside, field.name) for field in fields(beside)},
        model_id=model.model_id,
        run_id=run.run_id,
        created_at=run.started_at,
        input=config.raw,
        label_basis=model.manifest["label_basis"],
        split_mode=resolve_mode(config.contract, split=config.split),
        rows=dict(run.record["rows"]),
        split_rows=run.record["split"],
        rejects_by_rule=prepared.rows.by_rule,
        text=asdict(prepared.text),
        backtest=training.result.backtest,
        policy=model.policy,
        calibrator=model.calibrator.kind,
        n_trees=model.manifest["rounds"],
        num_workers=run.record["workers"],
        parameters=config.training.model_dump(mode="json"),
        versions=run.record["versions"],
        seconds=dict(run.record["seconds"]),
        text_columns=tuple(c.name for c in config.contract.texts),
        promoted=verdict.promoted,
        reason=verdict.why,
        champion=rival.champion,
        agreement=rival.agreement,
        quotes=config.report.quotes,
    )


def _beside(insights: Insights, rival: Challenge) -> Insights:
    """The simpler models and the champion, side by side."""
    return replace(
        insights,
        comparison=pd.concat([insights.comparison, rival.measured]),
        differences=pd.concat([insights.differences, rival.differences]),
    )


def nested_metrics(result: Evaluation) -> dict[str, dict[str, float | None]]:
    table = result.metrics[result.metrics["slice"] == "all"]
    return {
        str(split): {
            m: (None if np.isnan(v) else float(v)) for m, v in zip(rows["metric"], rows["value"], strict=True)
        }
        for split, rows in table.groupby("split")
    }
