"""Reasons: contributions add up, and read as sentences."""

import numpy as np
import pandas as pd

from churn_spark.model.reasons import grouped_contributions, in_words

SOURCES = ["age", "plan", "note", "note"]


def test_grouped_contributions_add_up_to_the_margin() -> None:
    contributions = np.array([[0.1, -0.2, 0.3, 0.4, -1.0]], np.float32)
    groups, effects = grouped_contributions(contributions, SOURCES)
    assert groups == ("age", "plan", "note")
    np.testing.assert_allclose(effects, [[0.1, -0.2, 0.7, -1.0]], rtol=1e-6)
    np.testing.assert_allclose(effects.sum(), contributions.sum(), rtol=1e-6)


def sentences(effects: list[float], templates: dict[str, str] | None = None) -> list[str | None]:
    frame = pd.DataFrame({"age": [41.0], "plan": [None]})
    told = in_words(
        np.array([effects], np.float32), ["age", "plan", "note"], frame,
        quotes={"note": ["Still no refund."]}, templates=templates or {},
    )  # fmt: skip
    return [told.top(rank)[2][0] for rank in (1, 2, 3)]


def test_in_words_orders_by_strength_and_name_the_direction() -> None:
    assert sentences([0.1, -0.5, 0.3, -1.0]) == [
        "Plan is not known, which lowers the risk",
        "What the notes say raises the risk: “Still no refund.”",
        "Age of 41 raises the risk",
    ]


def test_in_words_leaves_out_what_has_no_effect() -> None:
    assert sentences([0.0, 0.0, 0.3, -1.0]) == [
        "What the notes say raises the risk: “Still no refund.”", None, None,
    ]  # fmt: skip


def test_in_words_uses_a_configured_template() -> None:
    assert sentences([9.0, 0, 0, 0], {"age": "At {value} this {direction} it."})[0] == "At 41 this raises it."


def sentence(column: str, value: object, effect: float) -> str | None:
    effects = np.array([[effect, 0.0]], np.float32)
    return in_words(effects, [column], {column: [value]}, quotes={}, templates={}).top(1)[2][0]


def test_in_words_reads_aloud() -> None:
    assert sentence("monthly_charges", 29.85, 0.2) == "Monthly charges of 29.85 raise the risk"
    assert sentence("monthly_charges", 24.3, -0.2) == "Monthly charges of 24.30 lower the risk"
    assert sentence("error_rate", 0.0042, 0.2) == "Error rate of 0.0042 raises the risk"
    assert sentence("contract", "two year", -0.2) == "Contract “two year” lowers the risk"
    assert sentence("tech_support", "no", 0.2) == "No tech support raises the risk"
    assert sentence("senior_citizen", "1", 0.2) == "Senior citizen raises the risk"
    assert sentence("complaints", 1.0, 0.2) == "Complaints of 1 raise the risk"
    assert sentence("dependents", None, -0.1) == "Dependents are not known, which lowers the risk"
