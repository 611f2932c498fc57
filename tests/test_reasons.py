"""Reasons: contributions add up, and read as sentences."""

import numpy as np
import pandas as pd

from churn_spark.reasons import grouped_contributions, top_reasons

SOURCES = ["age", "plan", "note", "note"]


def test_grouped_contributions_add_up_to_the_margin() -> None:
    contributions = np.array([[0.1, -0.2, 0.3, 0.4, -1.0]], np.float32)
    groups, effects = grouped_contributions(contributions, SOURCES)
    assert groups == ["age", "plan", "note"]
    np.testing.assert_allclose(effects, [[0.1, -0.2, 0.7, -1.0]], rtol=1e-6)
    np.testing.assert_allclose(effects.sum(), contributions.sum(), rtol=1e-6)


def reasons(effects: list[float], templates: dict[str, str] | None = None) -> list[str]:
    frame = pd.DataFrame({"age": [41.0], "plan": [None]})
    found = top_reasons(
        np.array([effects], np.float32), ["age", "plan", "note"], frame, count=3,
        quotes={"note": ["Still no refund."]}, templates=templates or {},
    )  # fmt: skip
    return [r.text for r in found[0]]


def test_top_reasons_are_ordered_by_strength_and_name_the_direction() -> None:
    assert reasons([0.1, -0.5, 0.3, -1.0]) == [
        "Plan is not known, which lowers the risk",
        "What the notes say raises the risk: “Still no refund.”",
        "Age 41 raises the risk",
    ]


def test_top_reasons_leave_out_what_has_no_effect() -> None:
    assert reasons([0.0, 0.0, 0.3, -1.0]) == ["What the notes say raises the risk: “Still no refund.”"]


def test_top_reasons_use_a_configured_template() -> None:
    assert reasons([9.0, 0, 0, 0], {"age": "At {value} this {direction} it."})[0] == "At 41 this raises it."
