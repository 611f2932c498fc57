"""The figures of a model: one drawing each, written as PNG beside the model and as SVG into the report."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from churn_spark.evaluation.counts import PERCENTS
from churn_spark.evaluation.measures import find, on_test
from churn_spark.evaluation.words import amount, in_points, interval, number, percent, plain
from churn_spark.report.canvas import (
    BEHIND,
    FAINT,
    INK,
    LEAVE,
    MODEL,
    MUTED,
    PAPER,
    SIZE,
    bars,
    intervals,
    legend_above,
    message,
    new_axes,
    shares,
    style,
    to_png,
    to_svg,
    wilson,
)
from churn_spark.report.facts import THOUSAND, Facts, points, profit_share, slice_table

MAX_SOURCES, MAX_SLICES, MAX_PANELS = 12, 24, 6
NOTHING = "Cannot be drawn: the test customers do not hold enough of both kinds"

Draw = Callable[[pd.DataFrame, pd.DataFrame, Facts], Figure | None]


class Plate(NamedTuple):
    """A figure's title, and the function that draws it from metrics, curves and facts, or returns None."""

    title: str
    draw: Draw


def write_figures(folder: Path, metrics: pd.DataFrame, curves: pd.DataFrame, facts: Facts) -> list[Path]:
    """Write <folder>/<name>.png for every figure that has numbers, and return the files.

    `metrics` and `curves` are tables of `metrics.evaluate` and `metrics.curves`, all splits together. The ROC
    curve and the importance are always written, if need be to say that they cannot be drawn.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name in PLATES:
        image = render(name, metrics, curves, facts, form="png")
        if image:
            path = folder / f"{name}.png"
            path.write_bytes(image)
            written.append(path)
    return written


def render(
    name: str, metrics: pd.DataFrame, curves: pd.DataFrame, facts: Facts, *, form: Literal["png", "svg"]
) -> bytes:
    """Draw one figure; empty where there is nothing to draw. The same numbers give the same bytes.

    A PNG has its title in it; an SVG leaves that, its colours and its font to the page.
    """
    plate = PLATES[name]
    with style(salt=name):
        figure = plate.draw(metrics, curves, facts)
        if figure is None and (form == "svg" or name not in ALWAYS):
            return b""
        figure = figure or message(NOTHING)
        return to_svg(figure) if form == "svg" else to_png(figure, title=plate.title)


# -- ranking --------------------------------------------------------------------------------------------


def _roc(metrics: pd.DataFrame, curves: pd.DataFrame, facts: Facts) -> Figure | None:
    line = points(curves, "roc")
    if line.empty:
        return None
    figure, axes = new_axes("Stayers contacted (false positive rate)", "Leavers found (true positive rate)")
    shares(axes)
    axes.plot([0, 1], [0, 1], color=FAINT, lw=1, ls=(0, (3, 3)))
    other = points(curves, "roc", split="learn")
    if len(other):
        auc = find(metrics, split="learn", slice="all", metric="roc_auc")
        label = f"Out of fold {number(auc.value)}"
        axes.plot(other["x"], other["y"], color=FAINT, lw=1.2, label=label)
    auc = on_test(metrics, "roc_auc")
    axes.plot(line["x"], line["y"], color=MODEL, lw=2, label=f"Test {number(auc.value)} ({interval(auc)})")
    handles, labels = axes.get_legend_handles_labels()
    legend = axes.legend(handles[::-1], labels[::-1], loc="lower right", alignment="left",
                         title="ROC-AUC (95% interval)", frameon=True, framealpha=1, facecolor=PAPER,
                         edgecolor="none")  # fmt: skip
    legend.get_title().set(color=MUTED, size=9)
    return figure


def _pr(metrics: pd.DataFrame, curves: pd.DataFrame, facts: Facts) -> Figure | None:
    line, base = points(curves, "pr"), on_test(metrics, "base_rate").value
    if line.empty:
        return None
    figure, axes = new_axes("Leavers reached (recall)", "Contacted who leave (precision)")
    shares(axes)
    area, precision, recall = (on_test(metrics, m) for m in ("pr_auc", "precision", "recall"))
    axes.axhline(base, color=FAINT, lw=1, ls=(0, (3, 3)), label=f"At random {percent(base)}")
    label = f"PR-AUC {number(area.value)} ({interval(area)})"
    chosen = f"Threshold {percent(facts.policy.threshold)}"
    axes.plot(line["x"], line["y"], color=MODEL, lw=2, label=label)
    axes.plot(recall.value, precision.value, "o", color=MODEL, ms=7, mec=PAPER, label=chosen)
    legend_above(axes)
    return figure


def _gains(metrics: pd.DataFrame, curves: pd.DataFrame, facts: Facts) -> Figure | None:
    line = points(curves, "gains")
    if line.empty:
        return None
    figure, axes = new_axes("Customers contacted, riskiest first", "Leavers reached")
    shares(axes)
    axes.plot([0, 1], [0, 1], color=FAINT, lw=1, ls=(0, (3, 3)))
    axes.annotate("at random", (0.72, 0.72), (4, -10), textcoords="offset points", color=MUTED)
    axes.plot(line["x"], line["y"], color=MODEL, lw=2)
    for share in PERCENTS:
        found, lift = on_test(metrics, f"capture_{share}").value, on_test(metrics, f"lift_{share}").value
        axes.plot(share / 100, found, "o", color=MODEL, ms=6, mec=PAPER)
        if share >= 10:  # closer together than a line of text, the others would overlap
            label = f"{share}%: {percent(found)}, lift {number(lift, digits=1)}"
            axes.annotate(
                label, (share / 100, found), (9, -4), textcoords="offset points", va="top", bbox=BEHIND
            )
    return figure


# -- probabilities --------------------------------------------------------------------------------------


def _calibration(metrics: pd.DataFrame, curves: pd.DataFrame, facts: Facts) -> Figure | None:
    line = points(curves, "calibration")
    if line.empty:
        return None
    figure, axes = new_axes("Predicted: will leave", "Observed: did leave")
    low, high = wilson(line["y"].to_numpy(float), line["n"].to_numpy(float))
    end = min(1.0, 1.08 * max(line["x"].max(), high.max()))
    shares(axes, end=end)
    raw = points(curves, "calibration_raw")
    raw = raw[raw["x"] <= end]
    if len(raw):
        axes.plot(raw["x"], raw["y"], "o-", color=FAINT, lw=1, ms=4, mec=PAPER, label="Uncalibrated")
    axes.vlines(line["x"], low, high, color=MODEL, lw=1.4, alpha=0.5)
    label = f"Calibrated, off by {in_points(on_test(metrics, 'ece').value)}"
    axes.plot(line["x"], line["y"], "o-", color=MODEL, lw=1.4, ms=6, mec=PAPER, label=label)
    axes.plot([0, end], [0, end], color=FAINT, lw=1, ls=(0, (3, 3)), label="Exactly right")
    legend_above(axes)
    return figure


def _score_distribution(metrics: pd.DataFrame, curves: pd.DataFrame, facts: Facts) -> Figure | None:
    kinds = {"stayed": (FAINT, 0.55), "left": (LEAVE, 0.45)}
    heights = {"stayed": points(curves, "score_stayed"), "left": points(curves, "score_churned")}
    if all(b.empty for b in heights.values()):
        return None
    figure, axes = new_axes("Predicted probability of leaving", "Share of each group")
    for kind, (colour, alpha) in kinds.items():
        bar = heights[kind]
        if len(bar):
            axes.fill_between(bar["x"], bar["y"], step="mid", color=colour, alpha=alpha, lw=0)
            axes.step(bar["x"], bar["y"], where="mid", color=colour, lw=1.4, label=f"Customers who {kind}")
    end = max(b.loc[b["y"] > 0, "x"].max() for b in heights.values() if len(b))
    threshold = facts.policy.threshold
    axes.set_xlim(0, min(1.0, max(end, threshold) + 0.08))
    axes.set_ylim(0, None)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda v, _: percent(v)))
    axes.axvline(threshold, color=INK, lw=1, ls=(0, (3, 3)), label=f"Contacted from {percent(threshold)}")
    legend_above(axes)
    return figure


# -- money ----------------------------------------------------------------------------------------------


def _profit(metrics: pd.DataFrame, curves: pd.DataFrame, facts: Facts) -> Figure | None:
    line, profit, share = points(curves, "profit"), on_test(metrics, "profit"), profit_share(metrics, curves)
    if line.empty:
        return None
    figure, axes = new_axes("Customers contacted, riskiest first", f"Money earned per {THOUSAND:,} customers")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: percent(v)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: amount(v)))
    axes.axhline(0, color=MUTED, lw=1)
    money = line["y"] * THOUSAND
    axes.plot(line["x"], money, color=MODEL, lw=2)
    chosen, everybody = profit.times(THOUSAND), float(money.iloc[-1])
    top, bottom = np.nanmax([money.max(), chosen.high, 1.0]), min(0.0, money.min())
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(bottom - 0.15 * (top - bottom), top + 0.18 * (top - bottom))
    if np.isfinite(share):
        axes.vlines(share, chosen.low, chosen.high, color=MODEL, lw=1.4, alpha=0.5)
        axes.plot(share, chosen.value, "o", color=MODEL, ms=7, mec=PAPER)
        label = f"contact {percent(share)}, earn {amount(chosen.value)}"
        align = "left" if share < 0.5 else "right"
        axes.annotate(label, (share, top), (0, 7), textcoords="offset points", ha=align, va="bottom",
                      weight="bold", bbox=BEHIND)  # fmt: skip
    elif profit.known:
        axes.axhline(chosen.value, color=MODEL, lw=1, ls=(0, (3, 3)))
        axes.annotate(f"earn {amount(chosen.value)}", (0.02, top), (0, 7), textcoords="offset points",
                      va="bottom", weight="bold", bbox=BEHIND)  # fmt: skip
    axes.annotate(f"everybody: {amount(everybody)}", (1, everybody), (0, -8), textcoords="offset points",
                  ha="right", va="top", color=MUTED, bbox=BEHIND)  # fmt: skip
    return figure


# -- learning and drivers -------------------------------------------------------------------------------


def _learning(metrics: pd.DataFrame, curves: pd.DataFrame, facts: Facts) -> Figure | None:
    lines = {split: points(curves, "learning", split=split) for split in ("learn", "unseen")}
    if all(line.empty for line in lines.values()):
        return None
    figure, axes = new_axes("Trees", "Error (log-loss)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    looks = {"learn": (FAINT, "Customers learnt from"), "unseen": (MODEL, "Unseen customers")}
    for split, (colour, label) in looks.items():
        if len(lines[split]):
            axes.plot(lines[split]["x"], lines[split]["y"], color=colour, lw=2, label=label)
    if facts.n_trees:
        axes.axvline(facts.n_trees, color=INK, lw=1, ls=(0, (3, 3)), label=f"{facts.n_trees} trees kept")
    legend_above(axes)
    return figure


def _importance(metrics: pd.DataFrame, curves: pd.DataFrame, facts: Facts) -> Figure | None:
    table = facts.importance
    if table.empty:
        return None
    table = table.sort_values(["contribution", "gain"], ascending=False).head(MAX_SOURCES).iloc[::-1]
    figure = Figure(figsize=(SIZE[0], 1.0 + 0.27 * max(4, len(table))), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    rows = np.arange(len(table))
    colours = [LEAVE if source in facts.text_columns else MODEL for source in table["source"]]
    for axes, values, label in (
        (left, table["contribution"], "Mean effect (|log-odds|)"),
        (right, table["gain"] / (facts.importance["gain"].sum() or 1), "Share of gain"),
    ):
        bars(axes, rows, values.to_numpy(float), colours, number if axes is left else percent)
        axes.set_xlabel(label)
    left.set_yticks(rows, [plain(source, limit=22) for source in table["source"]], color=INK)
    return figure


def _dependence(metrics: pd.DataFrame, curves: pd.DataFrame, facts: Facts) -> Figure | None:
    if facts.dependence.empty:
        return None
    columns = list(dict.fromkeys(facts.dependence["column"]))[:MAX_PANELS]
    height = -(-len(columns) // 2)
    figure = Figure(figsize=(SIZE[0], 0.2 + 1.75 * height), layout="constrained")
    grid = figure.subplots(height, 2, squeeze=False, sharey=True).ravel()
    for axes in grid[len(columns) :]:
        axes.set_axis_off()
    for axes, column in zip(grid, columns, strict=False):
        rows = facts.dependence[facts.dependence["column"] == column]
        axes.axhline(0, color=MUTED, lw=1)
        axes.set_title(plain(column, limit=28), size=9, loc="left", weight="bold")
        value = pd.to_numeric(rows["value"], errors="coerce")
        if value.notna().all():
            rows = rows.assign(value=value).sort_values("value")
            axes.plot(rows["value"], rows["effect"], "o-", color=MODEL, lw=1.6, ms=4, mec=PAPER, mew=0.6)
            axes.xaxis.set_major_locator(MaxNLocator(4))
        else:
            rows = rows.nlargest(5, "n").sort_values("effect")
            axes.vlines(np.arange(len(rows)), 0, rows["effect"], color=MODEL, lw=5)
            names = [textwrap.fill(plain(v, limit=16), 8, break_long_words=True) for v in rows["value"]]
            names[1::2] = [f"\n{name}" for name in names[1::2]]  # neighbours would touch
            axes.set_xticks(np.arange(len(rows)), names, size=8)
            axes.set_xlim(-0.6, len(rows) - 0.4)
            axes.grid(visible=False, axis="x")
    figure.supylabel("Effect on the risk (log-odds)", size=9, color=MUTED)
    return figure


# -- against others -------------------------------------------------------------------------------------


def _slices(metrics: pd.DataFrame, curves: pd.DataFrame, facts: Facts) -> Figure | None:
    table = slice_table(metrics).head(MAX_SLICES)
    if table.empty:
        return None
    parts = table["slice"].str.split("=", n=1, expand=True)
    quartiles = parts[1].groupby(parts[0]).transform(lambda v: bool(set(v) <= {*QUARTILES, "missing"}))
    values = parts[1].where(~quartiles.astype(bool), parts[1].replace(QUARTILES))
    names = [f"{plain(c, limit=20)}: {plain(v, limit=20)}" for c, v in zip(parts[0], values, strict=True)]
    return intervals(table.assign(name=names), "ROC-AUC", line=on_test(metrics, "roc_auc").value)


QUARTILES = {"q1": "lowest quarter", "q2": "2nd quarter", "q3": "3rd quarter", "q4": "highest quarter"}


def _comparison(metrics: pd.DataFrame, curves: pd.DataFrame, facts: Facts) -> Figure | None:
    if facts.comparison.empty:
        return None
    table = facts.comparison[facts.comparison["metric"] == "roc_auc"].dropna(subset=["value"])
    table = table.sort_values("value", ascending=False).head(MAX_SOURCES)
    own = on_test(metrics, "roc_auc")
    if table.empty or not own.known:
        return None
    names = ["This model", *(plain(v, limit=36) for v in table["variant"])]
    mine = pd.DataFrame([{"value": own.value, "ci_low": own.low, "ci_high": own.high}])
    rows = pd.concat([mine, table], ignore_index=True).assign(name=names)
    return intervals(rows, "ROC-AUC", line=own.value, marked="This model")


def _backtest(metrics: pd.DataFrame, curves: pd.DataFrame, facts: Facts) -> Figure | None:
    rows = facts.backtest
    rows = rows[rows["metric"] == "roc_auc"].dropna(subset=["value"]) if len(rows) else rows
    if rows.empty:
        return None
    rows = rows.assign(name=rows["as_of"].map(lambda day: plain(day, limit=24)))
    return intervals(rows, "ROC-AUC on what came next", line=on_test(metrics, "roc_auc").value)


PLATES: dict[str, Plate] = {
    "roc_curve": Plate("Telling leavers from stayers", _roc),
    "pr_curve": Plate("How many contacts are right", _pr),
    "gains": Plate("How many leavers are reached", _gains),
    "calibration": Plate("Predicted against observed", _calibration),
    "score_distribution": Plate("Where the scores lie", _score_distribution),
    "profit": Plate("What contacting earns", _profit),
    "learning_curve": Plate("How it learnt", _learning),
    "feature_importance": Plate("What moves the scores", _importance),
    "dependence": Plate("How each value moves them", _dependence),
    "slices": Plate("For which customers it works", _slices),
    "comparison": Plate("Against other models", _comparison),
    "backtest": Plate("Tested on past dates", _backtest),
}
ALWAYS = ("roc_curve", "feature_importance")  # the model package promises them
