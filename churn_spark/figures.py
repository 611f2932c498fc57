"""The figures of a model: one drawing each, written as PNG beside the model and as SVG into the report."""

from __future__ import annotations

import io
import re
import textwrap
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from churn_spark.facts import (
    THOUSAND,
    Facts,
    amount,
    contacted_share,
    find,
    interval,
    number,
    on_test,
    percent,
    plain,
    points,
)
from churn_spark.metrics import PERCENTS
from churn_spark.verdict import slice_table

# Each colour has its own name, so that the report can swap it for the dark one.
COLOURS = {"paper": "#ffffff", "ink": "#1b2733", "muted": "#66758a", "grid": "#e4e9ef",
           "model": "#0f766e", "faint": "#a3b5c4", "leave": "#c2500d"}  # fmt: skip
PAPER, INK, MUTED, GRID, MODEL, FAINT, LEAVE = COLOURS.values()
FONT = "DejaVu Sans"  # ships with matplotlib: the same picture everywhere
SIZE = (5.2, 3.6)
STYLE = {
    "font.family": "sans-serif", "font.sans-serif": [FONT], "font.size": 9, "text.color": INK,
    "text.parse_math": False, "axes.labelsize": 9, "axes.labelcolor": MUTED, "axes.edgecolor": GRID,
    "axes.grid": True, "axes.axisbelow": True, "grid.color": GRID, "grid.linewidth": 0.8,
    "axes.spines.top": False, "axes.spines.right": False, "axes.facecolor": "none",
    "xtick.color": GRID, "ytick.color": GRID, "xtick.labelcolor": MUTED, "ytick.labelcolor": MUTED,
    "xtick.major.size": 0, "ytick.major.size": 0, "legend.frameon": False, "legend.fontsize": 9,
    "lines.solid_capstyle": "round", "svg.fonttype": "none", "savefig.dpi": 200,
}  # fmt: skip
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

    A PNG has its title in it. An SVG has none; its colours are the CSS variables named in COLOURS and its font
    is var(--sans), for a page to decide on.
    """
    plate, file = PLATES[name], io.BytesIO()
    with mpl.rc_context({**STYLE, "svg.hashsalt": name}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # a box is better than no figure
        figure = plate.draw(metrics, curves, facts)
        if figure is None and (form == "svg" or name not in ALWAYS):
            return b""
        figure = figure or _message(NOTHING)
        if form == "png":
            figure.get_layout_engine().set(w_pad=0.1, h_pad=0.1)  # type: ignore[union-attr]
            figure.suptitle(plate.title, x=0.02, ha="left", weight="bold", size=11)
            figure.savefig(file, format="png", facecolor=PAPER, metadata={"Software": None})
            return file.getvalue()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _for_a_page(file.getvalue().decode()).encode()


def _for_a_page(svg: str) -> str:
    """Leave only what a page needs: no prologue, no fixed size, no repeated ids, and CSS variables."""
    body = svg[svg.index("<svg") :]
    tag, rest = body.split(">", 1)
    tag = re.sub(r' (width|height)="[^"]*"', "", tag)
    body = tag + ">" + re.sub(r"<metadata>.*?</metadata>", "", rest, flags=re.S)
    body = re.sub(r' id="[A-Za-z][\w.]*_\d+"', "", body)
    for name, colour in COLOURS.items():
        body = body.replace(colour, f"var(--{name})")
    return body.replace(f"'{FONT}'", "var(--sans)")


# -- ranking --------------------------------------------------------------------------------------------


def _roc(metrics: pd.DataFrame, curves: pd.DataFrame, facts: Facts) -> Figure | None:
    line = points(curves, "roc")
    if line.empty:
        return None
    figure, axes = _axes("Stayers called (false positive rate)", "Leavers found (true positive rate)")
    _shares(axes)
    axes.plot([0, 1], [0, 1], color=FAINT, lw=1, ls=(0, (3, 3)))
    for split in ("train", "validation"):
        other, auc = points(curves, "roc", split=split), find(metrics, split=split, slice="all", metric="roc_auc")
        if len(other):
            style = "-" if split == "validation" else ":"
            label = f"{split.capitalize()} {number(auc.value)}"
            axes.plot(other["x"], other["y"], color=FAINT, lw=1.2, ls=style, label=label)
    auc = on_test(metrics, "roc_auc")
    axes.plot(line["x"], line["y"], color=MODEL, lw=2, label=f"Test {number(auc.value)} ({interval(auc)})")
    handles, labels = axes.get_legend_handles_labels()
    legend = axes.legend(handles[::-1], labels[::-1], loc="lower right", title="ROC-AUC (95% interval)", alignment="left")
    legend.get_title().set(color=MUTED, size=9)
    return figure


def _pr(metrics: pd.DataFrame, curves: pd.DataFrame, facts: Facts) -> Figure | None:
    line, base = points(curves, "pr"), on_test(metrics, "base_rate").value
    if line.empty:
        return None
    figure, axes = _axes("Leavers reached (recall)", "Of those called, would leave (precision)")
    _shares(axes)
    area, chosen = on_test(metrics, "pr_auc"), (on_test(metrics, "recall").value, on_test(metrics, "precision").value)
    axes.axhline(base, color=FAINT, lw=1, ls=(0, (3, 3)), label=f"At random {percent(base)}")
    axes.plot(line["x"], line["y"], color=MODEL, lw=2, label=f"PR-AUC {number(area.value)} ({interval(area)})")
    axes.plot(*chosen, "o", color=MODEL, ms=7, mec=PAPER, label=f"Threshold {percent(facts.policy.threshold)}")
    _legend_above(axes)
    return figure


def _gains(metrics: pd.DataFrame, curves: pd.DataFrame, facts: Facts) -> Figure | None:
    line = points(curves, "gains")
    if line.empty:
        return None
    figure, axes = _axes("Customers called, riskiest first", "Leavers reached")
    _shares(axes)
    axes.plot([0, 1], [0, 1], color=FAINT, lw=1, ls=(0, (3, 3)))
    axes.annotate("at random", (0.72, 0.72), (4, -10), textcoords="offset points", color=MUTED)
    axes.plot(line["x"], line["y"], color=MODEL, lw=2)
    for share in PERCENTS:
        found, lift = on_test(metrics, f"capture_{share}").value, on_test(metrics, f"lift_{share}").value
        axes.plot(share / 100, found, "o", color=MODEL, ms=6, mec=PAPER)
        if share >= 10:  # closer together than a line of text, the others would overlap
            label = f"{share}%: {percent(found)}, lift {number(lift, digits=1)}"
            axes.annotate(label, (share / 100, found), (9, -4), textcoords="offset points", va="top")
    return figure


# -- probabilities --------------------------------------------------------------------------------------


def _calibration(metrics: pd.DataFrame, curves: pd.DataFrame, facts: Facts) -> Figure | None:
    line = points(curves, "calibration")
    if line.empty:
        return None
    figure, axes = _axes("Predicted: will leave", "Observed: did leave")
    low, high = _wilson(line["y"].to_numpy(float), line["n"].to_numpy(float))
    end = min(1.0, 1.08 * max(line["x"].max(), high.max()))
    _shares(axes, end=end)
    axes.plot([0, end], [0, end], color=FAINT, lw=1, ls=(0, (3, 3)))
    axes.annotate("exactly right", (0.97 * end, 0.97 * end), (-12, -4), textcoords="offset points", color=MUTED,
                  ha="right", va="bottom")  # fmt: skip
    axes.vlines(line["x"], low, high, color=MODEL, lw=1.4, alpha=0.5)
    axes.plot(line["x"], line["y"], "o-", color=MODEL, lw=1.4, ms=6, mec=PAPER)
    error = on_test(metrics, "ece")
    note = f"ten equal groups of customers\naverage error {percent(error.value, digits=1)}"
    axes.text(0.98, 0.04, note, transform=axes.transAxes, ha="right", va="bottom", color=MUTED, linespacing=1.4)
    return figure


def _score_distribution(metrics: pd.DataFrame, curves: pd.DataFrame, facts: Facts) -> Figure | None:
    kinds = {"stayed": (FAINT, 0.55), "left": (LEAVE, 0.45)}
    bars = {"stayed": points(curves, "score_stayed"), "left": points(curves, "score_churned")}
    if all(b.empty for b in bars.values()):
        return None
    figure, axes = _axes("Predicted probability of leaving", "Share of each group")
    for kind, (colour, alpha) in kinds.items():
        bar = bars[kind]
        if len(bar):
            axes.fill_between(bar["x"], bar["y"], step="mid", color=colour, alpha=alpha, lw=0)
            axes.step(bar["x"], bar["y"], where="mid", color=colour, lw=1.4, label=f"Customers who {kind}")
    end = max(b.loc[b["y"] > 0, "x"].max() for b in bars.values() if len(b))
    threshold = facts.policy.threshold
    axes.set_xlim(0, min(1.0, max(end, threshold) + 0.08))
    axes.set_ylim(0, None)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda v, _: percent(v)))
    axes.axvline(threshold, color=INK, lw=1, ls=(0, (3, 3)), label=f"Called from {percent(threshold)}")
    _legend_above(axes)
    return figure


# -- money ----------------------------------------------------------------------------------------------


def _profit(metrics: pd.DataFrame, curves: pd.DataFrame, facts: Facts) -> Figure | None:
    line, profit, share = points(curves, "profit"), on_test(metrics, "profit"), contacted_share(metrics)
    if line.empty:
        return None
    figure, axes = _axes("Customers called, riskiest first", f"Money earned per {THOUSAND:,} customers")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: percent(v)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: amount(v)))
    axes.axhline(0, color=MUTED, lw=1)
    money = line["y"] * THOUSAND
    axes.plot(line["x"], money, color=MODEL, lw=2)
    chosen, everybody = profit.times(THOUSAND), float(money.iloc[-1])
    top, bottom = np.nanmax([money.max(), chosen.high, 1.0]), min(0.0, money.min())
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(bottom - 0.15 * (top - bottom), top + 0.18 * (top - bottom))
    if profit.known and np.isfinite(share):
        axes.vlines(share, chosen.low, chosen.high, color=MODEL, lw=1.4, alpha=0.5)
        axes.plot(share, chosen.value, "o", color=MODEL, ms=7, mec=PAPER)
        label, align = f"call {percent(share)}, earn {amount(chosen.value)}", "left" if share < 0.5 else "right"
        axes.annotate(label, (share, top), (0, 7), textcoords="offset points", ha=align, va="bottom", weight="bold")
    axes.annotate(f"everybody: {amount(everybody)}", (1, everybody), (0, -8), textcoords="offset points",
                  ha="right", va="top", color=MUTED)  # fmt: skip
    return figure


# -- learning and drivers -------------------------------------------------------------------------------


def _learning(metrics: pd.DataFrame, curves: pd.DataFrame, facts: Facts) -> Figure | None:
    lines = {split: points(curves, "learning", split=split) for split in ("train", "validation")}
    if all(line.empty for line in lines.values()):
        return None
    figure, axes = _axes("Trees", "Error (log-loss)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    looks = {"train": (FAINT, "Training customers"), "validation": (MODEL, "Unseen customers")}
    for split, (colour, label) in looks.items():
        if len(lines[split]):
            axes.plot(lines[split]["x"], lines[split]["y"], color=colour, lw=2, label=label)
    if facts.n_trees:
        axes.axvline(facts.n_trees, color=INK, lw=1, ls=(0, (3, 3)), label=f"{facts.n_trees} trees kept")
    _legend_above(axes)
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
        _bars(axes, rows, values.to_numpy(float), colours, number if axes is left else percent)
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
    return _intervals(table.assign(name=names), "ROC-AUC", line=on_test(metrics, "roc_auc").value, marked=())


QUARTILES = {"q1": "lowest quarter", "q2": "2nd quarter", "q3": "3rd quarter", "q4": "highest quarter"}


def _comparison(metrics: pd.DataFrame, curves: pd.DataFrame, facts: Facts) -> Figure | None:
    if facts.comparison.empty:
        return None
    others = (facts.comparison["metric"] == "roc_auc") & (facts.comparison["variant"] != "without calibration")
    table = facts.comparison[others].dropna(subset=["value"])
    table = table.sort_values("value", ascending=False).head(MAX_SOURCES)
    own = on_test(metrics, "roc_auc")
    if table.empty or not own.known:
        return None
    names = ["This model", *(plain(v, limit=36) for v in table["variant"])]
    mine = pd.DataFrame([{"value": own.value, "ci_low": own.low, "ci_high": own.high}])
    rows = pd.concat([mine, table], ignore_index=True).assign(name=names)
    return _intervals(rows, "ROC-AUC", line=own.value, marked=("This model",))


def _backtest(metrics: pd.DataFrame, curves: pd.DataFrame, facts: Facts) -> Figure | None:
    rows = facts.backtest
    rows = rows[rows["metric"] == "roc_auc"].dropna(subset=["value"]) if len(rows) else rows
    if rows.empty:
        return None
    rows = rows.assign(name=rows["as_of"].map(lambda day: plain(day, limit=24)))
    return _intervals(rows, "ROC-AUC on what came next", line=on_test(metrics, "roc_auc").value, marked=())


PLATES: dict[str, Plate] = {
    "roc_curve": Plate("Telling leavers from stayers", _roc),
    "pr_curve": Plate("How many calls are right", _pr),
    "gains": Plate("How many leavers are reached", _gains),
    "calibration": Plate("Predicted against observed", _calibration),
    "score_distribution": Plate("Where the scores lie", _score_distribution),
    "profit": Plate("What calling earns", _profit),
    "learning_curve": Plate("How it learnt", _learning),
    "feature_importance": Plate("What moves the scores", _importance),
    "dependence": Plate("How each value moves them", _dependence),
    "slices": Plate("For which customers it works", _slices),
    "comparison": Plate("Against simpler models", _comparison),
    "backtest": Plate("Tested on past dates", _backtest),
}
ALWAYS = ("roc_curve", "feature_importance")  # the model package promises them


# -- shared strokes -------------------------------------------------------------------------------------


def _axes(x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.subplots()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    return figure, axes


def _message(text: str) -> Figure:
    figure = Figure(figsize=(SIZE[0], 1.4), layout="constrained")
    figure.text(0.5, 0.4, textwrap.fill(text, 60), ha="center", va="center", color=MUTED)
    return figure


def _shares(axes: Axes, *, end: float = 1.0) -> None:
    """Make both axes run from 0 to `end` in per cent."""
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda v, _: percent(v)))
        axis.set_major_locator(MaxNLocator(5))
    axes.set_xlim(0, end)
    axes.set_ylim(0, end * 1.02)


def _legend_above(axes: Axes) -> None:
    """Put the legend where no curve can run through it."""
    axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=3, borderaxespad=0.2, columnspacing=1.2,
                handlelength=1.4, handletextpad=0.5, fontsize=8.5)  # fmt: skip


def _bars(axes: Axes, rows: Any, values: Any, colours: list[str], show: Callable[[float], str]) -> None:
    """Horizontal bars with their numbers at the end, and no axis."""
    values = np.nan_to_num(values)
    axes.barh(rows, values, color=colours, height=0.62)
    for row, value in zip(rows, values, strict=True):
        axes.annotate(show(value), (value, row), (4, 0), textcoords="offset points", va="center", color=MUTED, size=8)
    axes.set_xlim(0, 1.28 * (values.max(initial=0) or 1))
    axes.grid(visible=False)
    axes.set_xticks([])
    axes.spines[["bottom", "left"]].set_visible(False)


def _intervals(table: pd.DataFrame, label: str, *, line: float, marked: tuple[str, ...]) -> Figure:
    """One row a name: the value with its interval, and n at the right; `line` is the value to compare with."""
    figure = Figure(figsize=(SIZE[0], 0.75 + 0.25 * max(3, len(table))), layout="constrained")
    axes = figure.subplots()
    rows = np.arange(len(table))[::-1]
    colours = [MODEL if name in marked or not marked else FAINT for name in table["name"]]
    axes.axvline(line, color=FAINT, lw=1, ls=(0, (3, 3)))
    axes.hlines(rows, table["ci_low"], table["ci_high"], color=colours, lw=3, alpha=0.4)
    axes.scatter(table["value"], rows, color=colours, s=42, edgecolors=PAPER, zorder=3)
    axes.set_yticks(rows, table["name"], color=INK)
    axes.set_ylim(-0.7, len(table) - 0.3)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(label)
    right = table["n"].map(lambda n: f"n {n:,.0f}") if "n" in table and not marked else table["value"].map(number)
    for row, text in zip(rows, right, strict=True):
        axes.text(1.02, row, text, transform=axes.get_yaxis_transform(), va="center", color=MUTED, size=8)
    return figure


def _wilson(share: Any, n: Any, z: float = 1.96) -> tuple[Any, Any]:
    """The 95 % interval of a share (Wilson 1927)."""
    n = np.maximum(n, 1)
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    return centre - half, centre + half
