"""`MODEL_CARD.md`: what a model is for, how good it is and what it is not for (Mitchell et al. 2019)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from html import escape
from pathlib import Path

import pandas as pd

from churn_spark.evaluation.measures import find, on_test
from churn_spark.evaluation.words import amount, interval, number, percent, plain
from churn_spark.report.facts import THOUSAND, Facts
from churn_spark.report.verdict import CROSS_SECTION, a_forecast, answers, headline

METRICS = {
    "roc_auc": "ROC-AUC", "pr_auc": "PR-AUC", "lift_10": "Lift in the riskiest 10%", "log_loss": "Log-loss",
    "brier": "Brier score", "ece": "Calibration error (ECE)", "precision": "Precision at the threshold",
    "recall": "Recall at the threshold",
}  # fmt: skip
NOT_FOR = (
    "Deciding about a person: prices, credit, refusing service, or anything with legal effect.",
    "Explaining why customers leave. Reasons are signs that the model uses, not causes.",
    "Other markets, products or languages than those it learnt from, without testing it there.",
    "Measuring a campaign: for that, keep a share of customers uncontacted (decision.holdout_share).",
)


def write_model_card(folder: Path, metrics: pd.DataFrame, facts: Facts) -> Path:
    """Write <folder>/MODEL_CARD.md and return it.

    `metrics` is a table of `metrics.evaluate`, all splits together. What came from data is escaped.
    """
    verdict = headline(metrics, facts)
    parts = (
        f"# Churn model {_text(facts.model_id)}",
        f"**{_text(verdict.short)}.** {_text(verdict.question)}. {_text(verdict.evidence)}",
        "## Intended use",
        "Ranks live customers by their risk of leaving, so that a retention team contacts first those for "
        "whom it pays. A person decides what to offer. The probabilities hold for customers like those it "
        "learnt from.",
        "## Not for",
        _list(NOT_FOR),
        "## Verdict",
        _table(
            ("Question", "Answer", "Evidence"),
            [(a.question, a.short, a.evidence) for a in answers(metrics, facts)],
        ),
        "## Performance on customers it has not seen",
        _performance(metrics),
        "## Data",
        _list(_data(metrics, facts)),
        "## Leak audit",
        _audit(facts),
        "## Limits",
        _list(_limits(metrics, facts)),
        "## Technical",
        _list(_technical(facts)),
    )
    path = folder / "MODEL_CARD.md"
    path.write_text("\n\n".join(parts) + "\n", encoding="utf-8", errors="replace")
    return path


def _performance(metrics: pd.DataFrame) -> str:
    rows = []
    for metric, name in METRICS.items():
        measure = on_test(metrics, metric)
        train = find(metrics, split="train", slice="all", metric=metric)
        if measure.known:
            rows.append((name, number(measure.value), interval(measure), number(train.value)))
    profit, train = (
        find(metrics, split=s, slice="all", metric="profit").times(THOUSAND) for s in ("test", "train")
    )
    if profit.known:
        rows.append(
            (
                f"Profit per {THOUSAND:,} customers",
                amount(profit.value),
                interval(profit, amount),
                amount(train.value),
            )
        )
    if not rows:
        return "It could not be measured: the test customers do not hold enough of both kinds."
    table = _table(("Metric", "Test", "95% interval", "Training"), rows)
    rows_ = f"{on_test(metrics, 'log_loss').n:,} test rows"
    return f"{table}\n\nMeasured on {rows_}; bootstrap intervals over customers."


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


def _audit(facts: Facts) -> str:
    if facts.findings is None:
        return "No leak audit was made."
    return (
        _list(f"{f.severity}: {f.message} ({', '.join([f.name, *f.phrases])})" for f in facts.findings)
        or "It found nothing."
    )


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
    policy = facts.policy
    yield (
        f"The threshold {percent(policy.threshold, digits=1)} follows from the settings: contact cost "
        f"{policy.contact_cost:g}, offer cost {policy.offer_cost:g}, accepted by "
        f"{percent(policy.accept_rate)}, customer value {policy.customer_value:g}. Other prices change it."
    )
    yield "Behaviour changes: compare predictions with what happened, and train again when they drift apart."


def _technical(facts: Facts) -> Iterable[str]:
    yield f"Gradient-boosted trees (XGBoost){'' if facts.n_trees is None else f', {facts.n_trees:,} trees'}"
    if facts.calibrator:
        yield f"Calibration: {facts.calibrator}"
    yield f"Run {facts.run_id}, {facts.created_at:%Y-%m-%d %H:%M %Z}".rstrip()
    if facts.versions:
        yield "Versions: " + ", ".join(f"{name} {version}" for name, version in facts.versions.items())


def _text(value: object) -> str:
    """The only way data gets into the card: no markup of HTML or Markdown in it has an effect."""
    return re.sub(r"([\\`*|\[\]])", r"\\\1", escape(plain(value), quote=False))


def _list(lines: Iterable[str]) -> str:
    return "\n".join(f"- {_text(line)}" for line in lines)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    body = [" | ".join(map(_text, row)) for row in rows]
    return "\n".join(f"| {line} |" for line in (" | ".join(head), " | ".join("---" for _ in head), *body))
