"""The one thing to see in each figure, in a sentence made from the numbers that it shows."""

from __future__ import annotations

import math
from collections.abc import Callable

import pandas as pd

from churn_spark.evaluation.measures import Measure, find, on_test
from churn_spark.evaluation.words import amount, in_points, number, percent, plain, signed
from churn_spark.report.facts import THOUSAND, Facts, points, profit_share, slice_table
from churn_spark.report.verdict import calibrated, gain_over

Takeaway = Callable[[pd.DataFrame, pd.DataFrame, Facts], str]


def takeaway(figure: str, metrics: pd.DataFrame, curves: pd.DataFrame, facts: Facts) -> str:
    """The one thing to see in a figure; empty where its numbers are not known."""
    return TAKEAWAYS[figure](metrics, curves, facts)


def _roc_curve(metrics: pd.DataFrame, curves: pd.DataFrame, facts: Facts) -> str:
    auc, unseen = on_test(metrics, "roc_auc"), find(metrics, split="learn", slice="all", metric="roc_auc")
    if not auc.known:
        return ""
    line = f"Given one who leaves and one who stays, it picks the right one {percent(auc.value)} of the time."
    if unseen.value - auc.value > 0.1:
        line += (
            f" Out of fold it was far surer ({number(unseen.value, digits=2)}): the test customers differ."
        )
    return line


def _pr_curve(metrics: pd.DataFrame, curves: pd.DataFrame, facts: Facts) -> str:
    precision, recall, base = (on_test(metrics, m) for m in ("precision", "recall", "base_rate"))
    if not precision.known:
        return "At this threshold nobody would be contacted." if base.known else ""
    return (
        f"Of those contacted, {percent(precision.value)} would have left, against {percent(base.value)} of "
        f"everybody; {percent(recall.value)} of the leavers are reached."
    )


def _gains(metrics: pd.DataFrame, curves: pd.DataFrame, facts: Facts) -> str:
    found = on_test(metrics, "capture_20")
    if not found.known:
        return ""
    return f"Contacting the riskiest fifth reaches {percent(found.value)} of those who leave."


def _calibration(metrics: pd.DataFrame, curves: pd.DataFrame, facts: Facts) -> str:
    answer = calibrated(metrics, facts)
    short = {
        "Yes": "What it says is what happens.",
        "Roughly": "Close, but not exact.",
        "No": "The percentages are off; trust the order only.",
        "Too few to tell": "Too few leavers to tell.",
    }.get(answer.short, "")
    before = on_test(metrics, "ece_raw")
    if before.known and short:
        now = on_test(metrics, "ece").value
        short += f" Average error {in_points(now)}, uncorrected {in_points(before.value)}."
    return short


def _score_distribution(metrics: pd.DataFrame, curves: pd.DataFrame, facts: Facts) -> str:
    recall, tn, fp = (on_test(metrics, m) for m in ("recall", "true_negative", "false_positive"))
    if not recall.known or not tn.value + fp.value > 0:
        return ""
    caught, spared = percent(recall.value), percent(tn.value / (tn.value + fp.value))
    return f"The threshold catches {caught} of the leavers and spares {spared} of the others."


def _profit(metrics: pd.DataFrame, curves: pd.DataFrame, facts: Facts) -> str:
    profit, line = on_test(metrics, "profit"), points(curves, "profit")
    if not profit.known or line.empty:
        return ""
    everybody = float(line["y"].iloc[-1]) * THOUSAND
    share, verb = profit_share(metrics, curves), "lose" if everybody < 0 else "bring"
    who = "those worth it" if math.isnan(share) else percent(share)
    return (
        f"Contacting {who} brings {amount(profit.value * THOUSAND)} per {THOUSAND:,} customers; "
        f"contacting everybody would {verb} {amount(abs(everybody))}."
    )


def _learning_curve(metrics: pd.DataFrame, curves: pd.DataFrame, facts: Facts) -> str:
    line = points(curves, "learning", split="unseen")
    if line.empty:
        return ""
    best = line.sort_values("y", kind="stable").iloc[0]
    kept = facts.n_trees or int(best["x"])
    return f"Stopped after {kept} trees, best on unseen customers (log-loss {number(best['y'])})."


def _feature_importance(metrics: pd.DataFrame, curves: pd.DataFrame, facts: Facts) -> str:
    table = facts.importance
    if table.empty or not table["contribution"].sum() > 0:
        return ""
    share = table.set_index("source")["contribution"].sort_values(ascending=False)
    share = share / share.sum()
    return f"Most by “{plain(share.index[0], limit=40)}”: {percent(share.iloc[0])} of all effect."


def _slices(metrics: pd.DataFrame, curves: pd.DataFrame, facts: Facts) -> str:
    table = slice_table(metrics)
    if table.empty:
        return ""
    overall, worst = on_test(metrics, "roc_auc"), table.sort_values("value", kind="stable").iloc[0]
    if worst["ci_high"] < overall.low:
        name = plain(worst["slice"].replace("=", " = ", 1), limit=50)
        values = f"{number(worst['value'], digits=2)}, overall {number(overall.value, digits=2)}"
        return f"Weakest for {name}: ROC-AUC {values}."
    return "No group of customers is served clearly worse than the rest."


def _comparison(metrics: pd.DataFrame, curves: pd.DataFrame, facts: Facts) -> str:
    variants = () if facts.comparison.empty else tuple(facts.comparison["variant"].unique())
    simple = [variant for variant in variants if "logistic" in variant]
    gain = gain_over(simple[0], "roc_auc", metrics, facts) if simple else Measure()
    if not gain.known:
        return ""
    if gain.low > 0:
        return f"Trees beat a logistic regression by {number(gain.value)} ROC-AUC."
    return f"A logistic regression is about as good (trees {signed(gain.value)} ROC-AUC)."


def _dependence(metrics: pd.DataFrame, curves: pd.DataFrame, facts: Facts) -> str:
    return "Above the line a value raises the risk, below it lowers it." if len(facts.dependence) else ""


def _backtest(metrics: pd.DataFrame, curves: pd.DataFrame, facts: Facts) -> str:
    rows = facts.backtest[facts.backtest["metric"] == "roc_auc"] if len(facts.backtest) else facts.backtest
    if len(rows) < 2:
        return ""
    low, high = number(rows["value"].min(), digits=2), number(rows["value"].max(), digits=2)
    return f"Trained anew for each of {len(rows)} past dates, ROC-AUC was {low} to {high} on what came next."


TAKEAWAYS: dict[str, Takeaway] = {
    "roc_curve": _roc_curve,
    "pr_curve": _pr_curve,
    "gains": _gains,
    "calibration": _calibration,
    "score_distribution": _score_distribution,
    "profit": _profit,
    "learning_curve": _learning_curve,
    "feature_importance": _feature_importance,
    "slices": _slices,
    "comparison": _comparison,
    "dependence": _dependence,
    "backtest": _backtest,
}
