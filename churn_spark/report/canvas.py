"""How every figure looks: colours, type, the strokes they share, and how they become bytes."""

from __future__ import annotations

import io
import re
import textwrap
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from churn_spark.evaluation.words import number, percent

# Each colour has its own name, so that the report can swap it for the dark one.
COLOURS = {"paper": "#ffffff", "ink": "#1b2733", "muted": "#66758a", "grid": "#e4e9ef",
           "model": "#0f766e", "faint": "#a3b5c4", "leave": "#c2500d"}  # fmt: skip
PAPER, INK, MUTED, GRID, MODEL, FAINT, LEAVE = COLOURS.values()
FONT = "DejaVu Sans"  # ships with matplotlib: the same picture everywhere
SIZE = (5.2, 3.6)
STYLE: dict[Any, Any] = {
    "figure.constrained_layout.w_pad": 0.08, "figure.constrained_layout.h_pad": 0.08,
    "figure.constrained_layout.wspace": 0.05, "font.family": "sans-serif",
    "font.sans-serif": [FONT], "font.size": 9, "text.color": INK,
    "text.parse_math": False, "axes.labelsize": 9, "axes.labelcolor": MUTED, "axes.edgecolor": GRID,
    "axes.grid": True, "axes.axisbelow": True, "grid.color": GRID, "grid.linewidth": 0.8,
    "axes.spines.top": False, "axes.spines.right": False, "axes.facecolor": "none",
    "xtick.color": GRID, "ytick.color": GRID, "xtick.labelcolor": MUTED, "ytick.labelcolor": MUTED,
    "xtick.major.size": 0, "xtick.major.pad": 6, "ytick.major.pad": 5, "ytick.major.size": 0,
    "legend.frameon": False, "legend.fontsize": 9,
    "lines.solid_capstyle": "round", "svg.fonttype": "none", "savefig.dpi": 200,
}  # fmt: skip
BEHIND = {"facecolor": PAPER, "edgecolor": "none", "alpha": 0.85, "pad": 0.5}  # no line runs through a label


@contextmanager
def style(*, salt: str) -> Iterator[None]:
    """Draw and write in the common style; `salt` keeps the ids of one SVG apart from those of another."""
    with mpl.rc_context({**STYLE, "svg.hashsalt": salt}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # a box is better than no figure
        yield


def to_png(figure: Figure, *, title: str) -> bytes:
    """The figure with its title; the same figure gives the same bytes."""
    file = io.BytesIO()
    figure.suptitle(title, x=0.02, ha="left", weight="bold", size=11)
    figure.savefig(file, format="png", facecolor=PAPER, metadata={"Software": None})
    return file.getvalue()


def to_svg(figure: Figure) -> bytes:
    """The figure for a page to decide on its looks.

    Colours are the CSS variables named in COLOURS, the font is var(--sans), and there is no prologue, no
    fixed size and no id that could occur twice on the page.
    """
    file = io.BytesIO()
    figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = file.getvalue().decode()
    tag, rest = svg[svg.index("<svg") :].split(">", 1)
    svg = re.sub(r' (width|height)="[^"]*"', "", tag) + ">" + rest
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.S)
    svg = re.sub(r' id="[A-Za-z][\w.]*_\d+"', "", svg)
    for name, colour in COLOURS.items():
        svg = svg.replace(colour, f"var(--{name})")
    return svg.replace(f"'{FONT}'", "var(--sans)").encode()


def new_axes(x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.subplots()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    return figure, axes


def message(text: str) -> Figure:
    figure = Figure(figsize=(SIZE[0], 1.4), layout="constrained")
    figure.text(0.5, 0.4, textwrap.fill(text, 60), ha="center", va="center", color=MUTED)
    return figure


def shares(axes: Axes, *, end: float = 1.0) -> None:
    """Make both axes run from 0 to `end` in per cent."""
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda v, _: percent(v)))
        axis.set_major_locator(MaxNLocator(5))
    axes.set_xlim(0, end)
    axes.set_ylim(0, end * 1.02)


def legend_above(axes: Axes) -> None:
    """Put the legend where no curve can run through it."""
    axes.legend(loc="lower left", bbox_to_anchor=(-0.13, 1.0), ncols=3, borderaxespad=0.2, columnspacing=1.2,
                handlelength=1.4, handletextpad=0.5, fontsize=8.5)  # fmt: skip


def bars(axes: Axes, rows: Any, values: Any, colours: list[str], show: Callable[[float], str]) -> None:
    """Horizontal bars with their numbers at the end, and no axis."""
    values = np.nan_to_num(values)
    axes.barh(rows, values, color=colours, height=0.62)
    for row, value in zip(rows, values, strict=True):
        axes.annotate(
            show(value), (value, row), (4, 0), textcoords="offset points", va="center", color=MUTED, size=8
        )
    axes.set_xlim(0, 1.36 * (values.max(initial=0) or 1))
    axes.grid(visible=False)
    axes.set_xticks([])
    axes.spines[["bottom", "left"]].set_visible(False)


def intervals(table: pd.DataFrame, label: str, *, line: float, marked: str = "") -> Figure:
    """One row a name: its value and interval, the dashed `line` to compare with, and one row marked."""
    figure = Figure(figsize=(SIZE[0], 0.75 + 0.25 * max(3, len(table))), layout="constrained")
    axes = figure.subplots()
    rows = np.arange(len(table))[::-1]
    colours = [MODEL if marked in ("", name) else FAINT for name in table["name"]]
    axes.axvline(line, color=FAINT, lw=1, ls=(0, (3, 3)))
    axes.hlines(rows, table["ci_low"], table["ci_high"], color=colours, lw=3, alpha=0.4)
    axes.scatter(table["value"], rows, color=colours, s=42, edgecolors=PAPER, zorder=3)
    axes.set_yticks(rows, table["name"], color=INK)
    axes.set_ylim(-0.7, len(table) - 0.3)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(label)
    right = table["value"].map(number) if marked else table["n"].map("n {:,.0f}".format)
    for row, text in zip(rows, right, strict=True):
        axes.text(1.02, row, text, transform=axes.get_yaxis_transform(), va="center", color=MUTED, size=8)
    return figure


def wilson(share: Any, n: Any, z: float = 1.96) -> tuple[Any, Any]:
    """The 95 % interval of a share (Wilson 1927)."""
    n = np.maximum(n, 1)
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    return centre - half, centre + half
