"""`MODEL_CARD.md`: what a model is for, how good it is and what it is not for (Mitchell et al. 2019)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from churn_spark.evaluation.measures import find, on_test
from churn_spark.evaluation.words import amount, interval, number, percent
from churn_spark.notes.coverage import unread
from churn_spark.report.facts import THOUSAND, Facts
from churn_spark.report.render import render_markdown
from churn_spark.report.verdict import CROSS_SECTION, a_forecast, answers, headline, sentence

METRICS = {
    "roc_auc": "ROC-AUC", "pr_auc": "PR-AUC", "lift_10": "Lift in the riskiest 10%", "log_loss": "Log-loss",
    "brier": "Brier score", "ece": "Calibration error (ECE)", "precision": "Precision at the threshold",
    "recall": "Recall at the threshold",
}  # fmt: skip


def write_model_card(folder: Path, metrics: pd.DataFrame, facts: Facts) -> Path:
    """Write <folder>/MODEL_CARD.md and return it.

    `metrics` is a table of `metrics.evaluate`, all splits together. What came from data is escaped.
    """
    card = render_markdown(
        "model_card.md",
        facts=facts,
        verdict=headline(metrics, facts),
        answers=[(a.question, a.short, a.evidence) for a in answers(metrics, facts)],
        performance=_performance(metrics),
        test_rows=f"{on_test(metrics, 'log_loss').n:,}",
        data=list(_data(metrics, facts)),
        findings=list(_findings(facts)),
        limits=list(_limits(metrics, facts)),
        technical=list(_technical(facts)),
    )
    path = folder / "MODEL_CARD.md"
    path.write_text(card, encoding="utf-8", errors="replace")
    return path


def _performance(metrics: pd.DataFrame) -> list[tuple[str, str, str, str]]:
    rows = []
    for metric, name in METRICS.items():
        measure = on_test(metrics, metric)
        unseen = find(metrics, split="learn", slice="all", metric=metric)
        if measure.known:
            rows.append((name, number(measure.value), interval(measure), number(unseen.value)))
    profit, unseen = (
        find(metrics, split=s, slice="all", metric="profit").times(THOUSAND) for s in ("test", "learn")
    )
    if profit.known:
        earned = (amount(profit.value), interval(profit, amount), amount(unseen.value))
        rows.append((f"Profit per {THOUSAND:,} customers", *earned))
    return rows


def _data(metrics: pd.DataFrame, facts: Facts) -> Iterable[str]:
    if facts.input:
        yield f"Input: {facts.input}"
    if rows := facts.rows:
        yield "Rows: " + ", ".join(f"{n:,} {'read' if kind == 'in' else kind}" for kind, n in rows.items())
    if facts.split_rows:
        how = f" (split: {facts.split_mode})" if facts.split_mode else ""
        yield "Used for: " + ", ".join(f"{name} {n:,}" for name, n in facts.split_rows.items()) + how
    base = on_test(metrics, "base_rate")
    if base.known:
        yield f"{percent(base.value, digits=1)} of the test customers left."
    if facts.text.get("notes"):
        yield f"Notes: {facts.text['notes']:,}, personal data removed from {facts.text.get('redacted', 0):,}."


def _findings(facts: Facts) -> Iterable[str]:
    for finding in facts.findings or ():
        yield f"{finding.severity}: {finding.message} ({', '.join([finding.name, *finding.phrases])})"


def _limits(metrics: pd.DataFrame, facts: Facts) -> Iterable[str]:
    forecast, auc = a_forecast(facts), on_test(metrics, "roc_auc")
    if facts.label_basis == "cross_section":
        yield CROSS_SECTION
    elif forecast and forecast.state != "ok":
        yield forecast.evidence
    if auc.known and auc.high - auc.low > 0.1:
        yield f"The test is small: ROC-AUC is known only as {interval(auc)}."
    if facts.text.get("truncated"):
        yield f"{facts.text['truncated']:,} notes were longer than the text model reads."
    if warning := unread(facts.text.get("coverage", {})):
        yield sentence(warning)
    policy = facts.policy
    yield (
        f"The threshold {percent(policy.threshold, digits=1)} follows from the settings: contact cost "
        f"{policy.contact_cost:g}, offer cost {policy.offer_cost:g}, accepted by "
        f"{percent(policy.accept_rate)}, customer value {policy.customer_value:g}. Other prices change it."
    )
    yield "Behavior changes: compare predictions with what happened, and train again when they drift apart."


def _technical(facts: Facts) -> Iterable[str]:
    yield f"Gradient-boosted trees (XGBoost){'' if facts.n_trees is None else f', {facts.n_trees:,} trees'}"
    if facts.calibrator:
        yield f"Calibration: {facts.calibrator}"
    yield f"Run {facts.run_id}, {facts.created_at:%Y-%m-%d %H:%M %Z}".rstrip()
    if facts.versions:
        yield "Versions: " + ", ".join(f"{name} {version}" for name, version in facts.versions.items())
