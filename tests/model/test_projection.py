"""The first input of a text says how it speaks for the label, and training rows do not see their own label in it."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from churn_spark.model.features import FeatureSpec, Numeric, TextVector
from churn_spark.model.projection import FOLDS, assemble_unseen, fit_projection, fit_projections, text_moments

N, DIMENSION = 600, 50


def texts(*, says: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vectors whose first element moves the odds by `says`; every tenth row has no text; labels and folds."""
    rng = np.random.default_rng(3)
    vectors = rng.normal(size=(N, DIMENSION)).astype(np.float32)
    label = (says * vectors[:, 0] + rng.logistic(size=N) > 0).astype(float)
    vectors[::10] = np.nan
    return vectors, label, np.arange(N) % FOLDS


def test_fit_projection_finds_the_direction_that_speaks_for_the_label() -> None:
    vectors, label, fold = texts(says=3.0)
    found = fit_projection("note", text_moments(vectors, label, fold), width=1, folded=False)
    slope = np.array(found.text.components[0])
    assert (found.text.dimension, found.text.width, len(found.unseen)) == (DIMENSION, 1, FOLDS)
    assert slope[0] > 5 * np.abs(slope[1:]).max()


def test_labels_of_no_meaning_have_no_skill_on_the_rows_they_were_learnt_from() -> None:
    vectors, _, fold = texts(says=0.0)
    known = ~np.isnan(vectors[:, 0])
    seen, unseen = [], []
    for seed in range(20):
        label = np.random.default_rng(seed).integers(0, 2, N).astype(float)
        found = fit_projection("note", text_moments(vectors, label, fold), width=1, folded=False)
        for skills, others in ((seen, ()), (unseen, [[t] for t in found.unseen])):
            matrix = assemble_unseen(
                FeatureSpec(texts=(found.text,)), others, pd.DataFrame(index=range(N)),
                vectors={"note": vectors}, fold=fold,
            )  # fmt: skip
            skills.append(spearmanr(matrix[known, 0], label[known])[0])
    assert np.mean(seen) > 0.2  # what a row sees of its own label
    assert np.mean(unseen) < 0.05


def test_assemble_unseen_changes_the_text_of_rows_with_a_fold_only() -> None:
    vectors, label, fold = texts(says=1.0)
    text, unseen = fit_projection("note", text_moments(vectors, label, fold), width=3, folded=False)
    spec, frame = FeatureSpec((Numeric("age"),), texts=(text,)), pd.DataFrame({"age": np.arange(N)})
    fold = np.where(np.arange(N) < 100, fold, -1)
    plain = assemble_unseen(spec, (), frame, vectors={"note": vectors}, fold=fold)
    matrix = assemble_unseen(spec, [[t] for t in unseen], frame, vectors={"note": vectors}, fold=fold)
    np.testing.assert_array_equal(matrix[100:], plain[100:])
    np.testing.assert_array_equal(matrix[:, [0, 2, 3]], plain[:, [0, 2, 3]])  # components see no label
    known = ~np.isnan(vectors[:100, 0])
    assert (matrix[:100, 1] != plain[:100, 1])[known].all()


def test_fit_projection_puts_principal_components_behind_the_first() -> None:
    vectors, label, fold = texts(says=1.0)
    vectors[:, 7] *= 10
    text = fit_projection("note", text_moments(vectors, label, fold), width=2, folded=False).text
    assert text.components[1][7] == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("width", [None, DIMENSION, 2 * N])
def test_fit_projection_leaves_whole_vectors_where_there_is_nothing_to_narrow(width: int | None) -> None:
    vectors, label, fold = texts(says=1.0)
    found = fit_projection("note", text_moments(vectors, label, fold), width=width, folded=True)
    assert {found.text, *found.unseen} == {TextVector("note", DIMENSION)}


def test_fit_projection_of_one_kind_of_label_says_nothing() -> None:
    vectors, _, fold = texts(says=1.0)
    found = fit_projection("note", text_moments(vectors, np.ones(N), fold), width=1, folded=True)
    assert not np.any(found.text.components)


def test_fit_projections_leaves_out_columns_without_a_text() -> None:
    vectors, label, fold = texts(says=1.0)
    silent = np.full((N, 8), np.nan, np.float32)
    moments = {"note": text_moments(vectors, label, fold), "survey": text_moments(silent, label, fold)}
    projected, unseen = fit_projections(moments, width=1, folded=True)
    assert [t.name for t in projected] == ["note"]
    assert [[t.name for t in by_fold] for by_fold in unseen] == [["note"]] * FOLDS


def test_text_moments_are_the_same_in_any_order_and_in_parts() -> None:
    vectors, label, fold = texts(says=1.0)
    order = np.random.default_rng(1).permutation(N)
    whole = text_moments(vectors, label, fold)
    shuffled = [text_moments(vectors[part], label[part], fold[part]) for part in np.split(order, [100, 250])]
    for sums, other in zip(whole, shuffled[0].plus(shuffled[1]).plus(shuffled[2]), strict=True):
        np.testing.assert_array_equal(sums, other)


def test_fit_projection_by_fold_gives_learning_rows_slopes_without_their_fold_and_the_boosters() -> None:
    vectors, label, fold = texts(says=1.0)
    found = fit_projection("note", text_moments(vectors, label, fold), width=1, folded=True)
    assert (found.text.width, found.text.folded) == (FOLDS, True)
    assert found.unseen[2].components[2] == found.text.components[2]
    changed = np.where(np.isin(fold, [1, 2]), 1 - label, label)  # which moves the penalty, not the direction
    other = fit_projection("note", text_moments(vectors, changed, fold), width=1, folded=True)
    without, with_both = [
        np.corrcoef(f(found), f(other))[0, 1]
        for f in (lambda p: p.unseen[1].components[2], lambda p: p.text.components[0])
    ]
    assert without > 0.95 > with_both
