"""Five boosters, each judged by what it did not see, are one booster with their mean margin."""

import numpy as np
import pytest

from churn_spark.contract.folds import FOLDS
from churn_spark.model.contributions import tabulate
from churn_spark.model.crossfit import Learning, choose, cross_fit, lay_out, unseen_margin
from churn_spark.model.features import Categorical, FeatureSpec, Numeric, TextVector
from churn_spark.model.scorer import ByFold, OneBooster
from churn_spark.model.trees import averaged, candidates, part_of
from churn_spark.settings.sections import Training

N = 1000
TEXT = TextVector("note", 2, (0.0, 0.0), ((1.0, 0.0),) * FOLDS, folded=True)
SPEC = FeatureSpec((Numeric("age"), Numeric("tenure")), (Categorical("plan", ("a", "b", "c")),), (TEXT,))
FIXED = Training(n_estimators=60, max_depth=3, reg_lambda=1, learning_rate=0.1)


def rows(*, meaning: float = 1.0, interaction: float = 0.0) -> Learning:
    """Customers who leave by age, plan and text, or by whether age and tenure agree; every tenth text is missing."""
    rng = np.random.default_rng(7)
    x = rng.normal(size=(N, len(SPEC.names))).astype(np.float32)
    x[:, 2] = rng.integers(0, 4, N)
    x[::10, 3:] = np.nan
    odds = meaning * (x[:, 0] + (x[:, 2] == 1) + np.nan_to_num(x[:, 3])) + interaction * np.sign(
        x[:, 0] * x[:, 1]
    )
    label = (odds + rng.logistic(size=N) > 0).astype(float)
    return lay_out(x, label, np.arange(N) % FOLDS, SPEC, max_bin=256)


def test_boosters_read_no_text_projection_of_another_fold() -> None:
    assert SPEC.inputs_of(2) == [0, 1, 2, 5]


def test_boosters_by_fold_are_one_booster_with_their_mean_margin_and_exact_contributions() -> None:
    learning = rows()
    boosters = cross_fit(learning, FIXED).boosters
    own = [SPEC.inputs_of(k) for k in range(FOLDS)]
    one, matrix = averaged(boosters, own, SPEC.types), learning.inputs[:200]
    margins = [b.inplace_predict(np.ascontiguousarray(matrix[:, i]), predict_type="margin", validate_features=False)
               for b, i in zip(boosters, own, strict=True)]  # fmt: skip
    margin = one.inplace_predict(matrix, predict_type="margin")
    np.testing.assert_allclose(margin, np.mean(margins, axis=0), atol=3e-6)
    tables = tabulate(one, SPEC.sources)
    assert tables is not None
    assert tables.groups == ("age", "tenure", "plan", "note")  # the five projections are one reason
    np.testing.assert_allclose(tables.effects(matrix).sum(axis=1), margin, atol=1e-5)


def test_a_part_of_the_one_booster_is_the_fold_s_own() -> None:
    learning = rows()
    boosters = cross_fit(learning, FIXED).boosters
    own = [SPEC.inputs_of(k) for k in range(FOLDS)]
    one = averaged(boosters, own, SPEC.types)
    by_fold = ByFold(
        tuple(OneBooster(part_of(one, k, parts=FOLDS), SPEC) for k in range(FOLDS)), learning.fold
    )
    margin = by_fold.margin(learning.inputs)
    np.testing.assert_allclose(margin, unseen_margin(learning, boosters), atol=1e-5)
    groups, effects = by_fold.effects(learning.inputs)
    assert groups == ("age", "tenure", "plan", "note")
    np.testing.assert_allclose(effects.sum(axis=1), margin, atol=1e-5)
    some = np.array([7, 3, 7])
    np.testing.assert_array_equal(by_fold.of(some).margin(learning.inputs[some]), margin[some])


def test_margins_out_of_fold_are_those_of_the_booster_that_did_not_see_the_row() -> None:
    learning = rows()
    fit = cross_fit(learning, FIXED)
    np.testing.assert_allclose(unseen_margin(learning, fit.boosters), fit.margin, atol=1e-6)
    assert fit.rounds == int(np.argmin(fit.unseen_loss)) + 1
    assert fit.learn_loss[fit.rounds - 1] < fit.loss


def test_labels_of_no_meaning_have_no_skill_out_of_fold() -> None:
    learning = rows(meaning=0.0)
    fit = cross_fit(learning, FIXED)
    assert abs(np.corrcoef(fit.margin, learning.label)[0, 1]) < 0.1


@pytest.mark.parametrize(
    ("how", "deep"), [({"meaning": 1.0}, False), ({"meaning": 0.0, "interaction": 2.0}, True)]
)
def test_choose_takes_deeper_trees_where_columns_interact_and_only_there(
    how: dict[str, float], deep: bool
) -> None:
    chosen = choose(rows(**how), Training(n_estimators=60))
    assert (chosen.training.max_depth > 1) == deep  # type: ignore[operator]
    assert len(chosen.trials) == 5
    assert chosen.rounded.n_estimators == chosen.fit.rounds


def test_choose_is_the_same_again() -> None:
    first, second = (choose(rows(), Training(n_estimators=20)) for _ in range(2))
    assert first.trials == second.trials
    np.testing.assert_array_equal(first.fit.margin, second.fit.margin)


def test_explicit_settings_win() -> None:
    assert {c.max_depth for c in candidates(Training(max_depth=5))} == {5}
    assert len(candidates(FIXED)) == 1
