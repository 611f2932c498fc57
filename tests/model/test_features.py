"""Model inputs: missing stays missing, unknown categories are `other`, one text is many inputs of one source."""

import json

import numpy as np
import pandas as pd
import pytest
import xgboost as xgb
from hypothesis import given, settings
from hypothesis import strategies as st

from churn_spark.model.features import (
    Categorical,
    FeatureSpec,
    Numeric,
    TextInputs,
    TextVector,
    assemble,
    text_inputs,
)

SPEC = FeatureSpec(
    numeric=(Numeric("age"), Numeric("spend", mean=10.0, scale=2.0)),
    categorical=(Categorical("plan", ("monthly", "annual")),),
    texts=(TextVector("note", 2),),
)


def frame(**columns: list[object]) -> pd.DataFrame:
    return pd.DataFrame({"age": [30.0], "spend": [14.0], "plan": ["annual"], **columns})


def test_assemble_puts_inputs_in_the_order_of_the_names() -> None:
    matrix = assemble(SPEC, frame(), vectors={"note": np.array([[0.5, -0.5]], np.float32)})
    assert SPEC.names == ["age", "spend", "plan", "note_0", "note_1"]
    assert SPEC.types == ["q", "q", "c", "q", "q"]
    assert SPEC.sources == ["age", "spend", "plan", "note", "note"]
    np.testing.assert_array_equal(matrix, np.array([[30, 2, 1, 0.5, -0.5]], np.float32))


def test_assemble_keeps_missing_values_missing() -> None:
    rows = frame(age=[None], plan=[None])
    matrix = assemble(SPEC, rows, vectors={"note": np.full((1, 2), np.nan, np.float32)})
    assert np.isnan(matrix[0, [0, 2, 3, 4]]).all()


def test_assemble_codes_an_unseen_category_as_other() -> None:
    matrix = assemble(SPEC, frame(plan=["lifetime"]), vectors={"note": np.zeros((1, 2), np.float32)})
    assert matrix[0, 2] == 2


def test_assemble_refuses_vectors_of_another_shape() -> None:
    with pytest.raises(ValueError, match=r"expected \(1, 2\)"):
        assemble(SPEC, frame(), vectors={"note": np.zeros((1, 3), np.float32)})
    with pytest.raises(ValueError, match=r"expected \(1, 2\)"):
        assemble(SPEC, frame(), vectors={"note": TextInputs(np.zeros((1, 1), np.float32))})


def test_assemble_takes_no_rows() -> None:
    assert assemble(SPEC, frame().iloc[:0], vectors={"note": np.empty((0, 2), np.float32)}).shape == (0, 5)


def test_spec_survives_json() -> None:
    spec = FeatureSpec(SPEC.numeric, SPEC.categorical, (TextVector("note", 2, (0.1, 0.2), ((1.0, 0.0),)),))
    assert FeatureSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(0, 2**31))
def test_assemble_projects_a_row_to_the_same_bits_whatever_its_neighbours(rows: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    components = tuple(map(tuple, rng.normal(size=(8, 64))))
    spec = FeatureSpec(texts=(TextVector("note", 64, tuple(rng.normal(size=64)), components),))
    vectors = rng.normal(size=(rows, 64)).astype(np.float32)
    together = assemble(spec, pd.DataFrame(index=range(rows)), vectors={"note": vectors})
    made_before = TextInputs(text_inputs(spec.texts[0], vectors, rows))
    by_inputs = assemble(spec, pd.DataFrame(index=range(rows)), vectors={"note": made_before})
    np.testing.assert_array_equal(by_inputs, together)
    alone = [assemble(spec, pd.DataFrame(index=[0]), vectors={"note": v[None]})[0] for v in vectors]
    np.testing.assert_array_equal(together, np.stack(alone))


def test_names_that_xgboost_refuses_are_written_otherwise_and_stay_apart() -> None:
    columns = ("spend [EUR]", "spend <30d", "spend %5BEUR%5D", "age")
    names = FeatureSpec(numeric=tuple(map(Numeric, columns))).names
    assert names == ["spend %5BEUR%5D", "spend %3C30d", "spend %255BEUR%255D", "age"]
    xgb.DMatrix(np.zeros((1, 4)), feature_names=names)
    assert FeatureSpec(numeric=tuple(map(Numeric, columns))).sources == list(columns)
