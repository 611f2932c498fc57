"""Reasons: contributions add up, and read as sentences."""

import numpy as np
import pandas as pd

from churn_spark.model.reasons import (
    Wording,
    flags,
    grouped_contributions,
    in_words,
    typical_values,
    worth_naming,
)

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
    assert sentence("senior_citizen", "0", -0.2) == "Senior citizen: no lowers the risk"
    assert sentence("gender", "0", 0.2) == "Gender “0” raises the risk"
    assert sentence("complaints", 1.0, 0.2) == "Complaints of 1 raise the risk"
    assert sentence("dependents", None, -0.1) == "Dependents are not known, which lowers the risk"


def test_in_words_speaks_the_companys_words() -> None:
    def said(value: object, **wording: object) -> str | None:
        effects = np.array([[0.5, 0.0]], np.float32)
        words = {"tenure": Wording(**wording)}  # type: ignore[arg-type]
        return in_words(
            effects, ["tenure"], {"tenure": [value]}, quotes={}, templates={}, wording=words
        ).top(1)[2][0]  # fmt: skip

    assert said(0.0, unit="months", typical=16.0) == "Tenure of 0 months (typical: 16) raises the risk"
    assert said(16.0, unit="months", typical=16.0) == "Tenure of 16 months raises the risk"
    assert said(0.0, description="months as a customer", typical=16.0) == (
        "Months as a customer: 0 (typical: 16) raises the risk"
    )
    assert said(2.0, description="a comment that is too long to be read as the name of a column") == (
        "Tenure of 2 raises the risk"
    )


def test_numbers_that_are_yes_or_no_are_told_in_words() -> None:
    frame = pd.DataFrame({"paperless": [0.0, 1, np.nan], "visits": [0.0, 1, 2], "gone": [1.0, 1, 1]})
    assert flags(frame, ["paperless", "visits", "gone", "elsewhere"]) == ["paperless"]

    def said(value: float, **wording: object) -> str | None:
        effects, words = np.array([[0.5, 0.0]], np.float32), {"paperless": Wording(**wording)}  # type: ignore[arg-type]
        told = in_words(
            effects, ["paperless"], {"paperless": [value]}, quotes={}, templates={}, wording=words
        )
        return told.top(1)[2][0]

    assert said(1.0, is_flag=True, typical=0.0) == "Paperless raises the risk"
    assert said(0.0, is_flag=True, typical=1.0) == "Paperless: no raises the risk"
    assert said(2.0, is_flag=True) == "Paperless of 2 raises the risk"  # not seen in training
    assert said(1.0) == "Paperless of 1 raises the risk"


def test_typical_values_are_medians_of_numbers_that_are_there() -> None:
    frame = pd.DataFrame({"tenure": [0.0, 16, 40], "plan": ["a", "b", "c"], "empty": [np.nan] * 3})
    assert typical_values(frame, ["tenure", "plan", "empty", "elsewhere"]) == {"tenure": 16.0}


def named(effects: list[float], *, recommended: bool) -> list[int]:
    own = np.array([effects], np.float32)
    order = np.argsort(-np.abs(own), axis=1, kind="stable")
    return worth_naming(own, order, raising_first=np.array([recommended]))[0].tolist()


def test_worth_naming_tells_the_recommended_first_what_raises_their_risk() -> None:
    assert named([-2.0, 0.5, 1.0], recommended=False) == [0, 2, 1]
    assert named([-2.0, 0.5, 1.0], recommended=True) == [2, 1, 0]
    assert named([-2.0, -0.5, 0.05], recommended=True) == [-1, -1, -1]  # nothing raises it: no reason to call


def test_worth_naming_leaves_out_what_is_small_by_itself_or_beside_the_others() -> None:
    assert named([0.09, 0.01, 0.0], recommended=False) == [-1, -1, -1]
    assert named([3.0, 0.2, 0.5], recommended=False) == [0, 2, -1]
    assert named([1.0, 0.5, 0.2], recommended=False) == [0, 1, 2]


def test_in_words_says_of_each_row_what_it_says_of_it_alone() -> None:
    effects = np.array([[0.2, -0.3, 0.0], [-0.2, 0.0, 0.0], [0.2, 0.3, 0.0], [0.0, -0.3, 0.0]], np.float32)
    columns = {"age": [30.0, 30.0, None, -0.0], "plan": ["annual", None, "annual", "annual"]}
    together = in_words(effects, ["age", "plan"], columns, quotes={}, templates={})
    for row in range(4):
        own = {name: values[row : row + 1] for name, values in columns.items()}
        alone = in_words(effects[row : row + 1], ["age", "plan"], own, quotes={}, templates={})
        assert together.texts[:, row].tolist() == alone.texts[:, 0].tolist()
        assert together.values[:, row].tolist() == alone.values[:, 0].tolist()
    assert together.values.tolist() == [["30", "30", None, "0"], ["annual", None, "annual", "annual"]]
    assert together.texts[0, :2].tolist() == ["Age of 30 raises the risk", "Age of 30 lowers the risk"]
