"""Figures: drawn from the numbers, the same bytes each time, and fit to stand in a page."""

from __future__ import annotations

import re
import struct
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from report_data import everything, facts, measure, measured

from churn_spark.report.canvas import COLOURS, wilson
from churn_spark.report.figures import PLATES, render, write_figures


@pytest.fixture(scope="module")
def tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    return measured()


def test_write_figures_draws_everything_there_are_numbers_for(
    tables: tuple[pd.DataFrame, pd.DataFrame], tmp_path: Path
) -> None:
    files = write_figures(tmp_path / "figures", *tables, everything())
    assert [f.stem for f in files] == list(PLATES)
    for file in files:
        image = file.read_bytes()
        width, height = struct.unpack(">II", image[16:24])
        assert image[:4] == b"\x89PNG", file
        assert width == 1040, file
        assert 250 < height < 1600, file
        assert b"Software" not in image, file


def test_write_figures_promises_two_where_nothing_can_be_drawn(tmp_path: Path) -> None:
    files = write_figures(tmp_path, *measure([], []), facts())
    assert [f.name for f in files] == ["roc_curve.png", "feature_importance.png"]


def test_write_figures_leaves_out_what_one_class_leaves_undefined(tmp_path: Path) -> None:
    names = {f.stem for f in write_figures(tmp_path, *measure([0, 0, 0], [0.1, 0.2, 0.9]), facts())}
    assert {"roc_curve", "profit", "calibration"} <= names
    assert not names & {"pr_curve", "gains", "slices", "comparison", "learning_curve"}


@pytest.mark.parametrize("form", ["png", "svg"])
def test_render_repeats_itself_to_the_byte(tables: tuple[pd.DataFrame, pd.DataFrame], form: str) -> None:
    first, second = (render("calibration", *tables, facts(), form=form) for _ in range(2))  # type: ignore[arg-type]
    assert first == second != b""


def test_render_svg_leaves_colours_font_and_size_to_the_page(
    tables: tuple[pd.DataFrame, pd.DataFrame],
) -> None:
    svgs = {name: render(name, *tables, everything(), form="svg").decode() for name in PLATES}
    for name, svg in svgs.items():
        root = ElementTree.fromstring(svg)
        assert "viewBox" in root.attrib, name
        assert not {"width", "height"} & set(root.attrib), name
        assert not [colour for colour in COLOURS.values() if colour in svg], name
        assert "var(--sans)" in svg, name
    ids = [i for svg in svgs.values() for i in re.findall(r' id="([^"]+)"', svg)]
    assert len(ids) > 10
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize(
    ("name", "shown"), [("feature_importance", "<script"), ("feature_importance", "$x^$")]
)
def test_render_writes_names_as_they_are(
    tables: tuple[pd.DataFrame, pd.DataFrame], name: str, shown: str
) -> None:
    svg = render(name, *tables, everything(), form="svg").decode()
    assert shown in "".join(ElementTree.fromstring(svg).itertext())
    assert "<script" not in svg


def test_render_marks_the_chosen_share_only_where_it_earned_the_profit() -> None:
    label, probability = np.r_[np.ones(300), np.zeros(700)], np.r_[np.full(300, 0.8), np.full(700, 0.1)]
    table, lines = measure(label, probability)
    assert b"contact 30%" in render("profit", table, lines, facts(), form="svg")
    by_value = table.assign(value=table["value"].where(table["metric"] != "profit", 1.0))
    assert b"contact 30%" not in render("profit", by_value, lines, facts(), form="svg")


def test_wilson_matches_published_values() -> None:
    low, high = wilson(np.array([0.5, 0.0]), np.array([100.0, 10.0]))
    np.testing.assert_allclose(low, [0.404, 0.0], atol=5e-4)
    np.testing.assert_allclose(high, [0.596, 0.278], atol=5e-4)
