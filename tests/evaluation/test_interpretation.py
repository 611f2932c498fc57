"""Simpler models beside the model, and what moves its scores; on customers whose truth is known."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import xgboost as xgb

from churn_spark.evaluation import audit
from churn_spark.evaluation.ablations import measure_ablations, variant_metrics
from churn_spark.evaluation.findings import Insights
from churn_spark.evaluation.interpretation import _topics, interpret
from churn_spark.evaluation.measures import find
from churn_spark.model.calibration import IDENTITY
from churn_spark.model.features import Categorical, FeatureSpec, Numeric, TextVector, assemble
from churn_spark.model.model import ChurnModel
from churn_spark.model.policy import Policy
from churn_spark.model.sample import Sample
from churn_spark.settings.layers import load_config
from churn_spark.settings.sections import Training

N, WIDTH = 1500, 40
SPEC = FeatureSpec((Numeric("tenure"),), (Categorical("plan_type", ("annual", "monthly")),),
                   (TextVector("ticket_notes", WIDTH),))  # fmt: skip
TRAINING = Training(n_estimators=30, max_depth=3, reg_lambda=1.0, learning_rate=0.1)


def customers(*, by_table: float, by_notes: float) -> Sample:
    """Customers who leave by tenure and plan, and by what the first element of the vector stands for."""
    rng = np.random.default_rng(5)
    tenure, monthly, vectors = rng.exponential(20, N), rng.random(N) < 0.5, rng.normal(size=(N, WIDTH))
    vectors[:, 0] *= 3
    odds = by_table * (monthly - tenure / 20) + by_notes * vectors[:, 0] / 3
    frame = pd.DataFrame(
        {
            "customer_id": [f"C{i}" for i in range(N)],
            "split": np.resize(["learn", "learn", "learn", "test", "test", "learn", "learn"], N),
            "_fold": np.arange(N) % 5,
            "label": (odds + rng.logistic(size=N) > 0.5).astype(int),
            "tenure": np.where(rng.random(N) < 0.05, np.nan, tenure),
            "plan_type": np.where(monthly, "monthly", "annual"),
        }
    )
    silent = rng.random(N) < 0.2
    vectors[silent] = np.nan
    quotes = np.where(silent, None, [f"note {i}, write to a.b@mail.com" for i in range(N)]).astype(object)
    frame = frame.assign(ticket_notes=quotes)  # the redacted note, as `collect_rows` brings it
    return Sample(frame, {"ticket_notes": vectors.astype(np.float32)}, {"ticket_notes": quotes})


def fitted(rows: Sample) -> ChurnModel:
    train = rows.of("learn")
    matrix = assemble(SPEC, train.frame, vectors=train.vectors)
    data = xgb.DMatrix(
        matrix, train.label, feature_names=SPEC.names, feature_types=SPEC.types, enable_categorical=True
    )
    booster = xgb.train({"objective": "binary:logistic", "max_depth": 3, "nthread": 1}, data, 20)
    config = load_config()
    return ChurnModel("m-1", booster, SPEC, IDENTITY, Policy(), config.contract, config.text,
                      {})  # fmt: skip


@pytest.fixture(scope="module")
def honest() -> Sample:
    return customers(by_table=2.0, by_notes=1.0)


def test_ablations_put_every_variant_on_the_same_test_rows(honest: Sample) -> None:
    found = measure_ablations(fitted(honest), honest, training=TRAINING)
    auc = {
        v: find(found.comparison, variant=v, metric="roc_auc") for v in found.comparison["variant"].unique()
    }
    assert set(auc) == {"base rate", "logistic regression", "table only", "text only"}
    assert {m.n for m in auc.values()} == {len(honest.of("test").label)}
    assert auc["base rate"].value == 0.5 < auc["text only"].value < auc["table only"].value
    gain = find(found.differences, baseline="base rate", metric="roc_auc")
    assert 0 < gain.low < gain.value < gain.high
    assert audit.text_findings(["ticket_notes"], found) == []


def test_notes_that_beat_the_table_are_an_alarm() -> None:
    rows = customers(by_table=1.0, by_notes=6.0)
    (finding,) = audit.text_findings(
        ["ticket_notes"], measure_ablations(fitted(rows), rows, training=TRAINING)
    )
    assert (finding.severity, finding.name, finding.column) == ("warn", "text_beats_table", "ticket_notes")


@pytest.mark.parametrize(("by_notes", "alarmed"), [(2.0, False), (200.0, True)])
def test_where_the_table_is_worth_nothing_only_notes_that_tell_nearly_all_are_an_alarm(
    by_notes: float, alarmed: bool
) -> None:
    rows = customers(by_table=0.0, by_notes=by_notes)
    found = audit.text_findings(["ticket_notes"], measure_ablations(fitted(rows), rows, training=TRAINING))
    assert [f.name for f in found] == ["text_beats_table"] * alarmed


def test_ablations_of_a_sample_compare_with_a_model_of_the_same_rows(honest: Sample) -> None:
    found = measure_ablations(fitted(honest), replace(honest, whole=False), training=TRAINING)
    assert "table and text" in set(found.comparison["variant"])
    assert "table and text" not in set(found.differences["baseline"])


def test_ablations_without_notes_leave_out_what_makes_no_sense(honest: Sample) -> None:
    model = fitted(honest)
    train = honest.of("learn")
    table = replace(SPEC, texts=())
    data = xgb.DMatrix(assemble(table, train.frame, vectors={}), train.label, feature_types=table.types,
                       enable_categorical=True)  # fmt: skip
    plain = replace(model, spec=table, booster=xgb.train({"objective": "binary:logistic"}, data, 5))
    found = measure_ablations(plain, honest, training=TRAINING)
    assert set(found.comparison["variant"]) == {"base rate", "logistic regression"}
    assert audit.text_findings([], found) == []


def test_variant_metrics_are_rows_of_churn_metrics(honest: Sample) -> None:
    found = measure_ablations(fitted(honest), honest, training=TRAINING)
    table = variant_metrics(Insights(comparison=found.comparison, differences=found.differences))
    assert {"table only", "gain over table only"} <= set(table["slice"])
    assert set(table["split"]) == {"test"}
    assert table[["metric", "value", "n"]].notna().to_numpy()[:, [0, 2]].all()


def test_interpretation_tells_what_the_truth_hides(honest: Sample) -> None:
    tables = interpret(fitted(honest), honest)
    assert list(tables["importance"]["source"]) == ["tenure", "plan_type", "ticket_notes"]
    assert tables["importance"]["gain"].sum() == pytest.approx(1)
    curve = tables["dependence"].query("column == 'tenure'")["effect"].to_numpy()
    assert curve[0] > 0 > curve[-1]
    plan = tables["dependence"].query("column == 'plan_type'").set_index("value")["effect"]
    assert plan["monthly"] > 0 > plan["annual"]


def test_interpretation_quotes_notes_without_personal_data(honest: Sample) -> None:
    tables = interpret(fitted(honest), honest, quotes=True)
    examples = tables["examples"]
    assert list(examples["direction"]) == ["up"] * 3 + ["down"] * 3
    assert (np.sign(examples["effect"]) == [1, 1, 1, -1, -1, -1]).all()
    told = [*examples["summary"], *tables["reasons_sample"][["reason_1_text", "reason_2_text"]].stack()]
    assert any("[EMAIL]" in text for text in told)
    assert not any("@" in text for text in told)
    assert tables["reasons_sample"]["churn_probability"].is_monotonic_decreasing
    assert "customer_id" not in tables["reasons_sample"]


def test_interpretation_without_quotes_names_only_what_20_customers_share(honest: Sample) -> None:
    said = np.array(["Jane Roe asks about price"] * 19 + ["They ask. Asks about price", None], object)
    assert list(_topics(said, np.zeros(21))) == ["asks about price"] * 20 + [None]
    assert list(_topics(said[:19], np.zeros(19))) == ["…"] * 19
    tables = interpret(fitted(honest), honest)
    assert set(tables["examples"]["summary"]) == {"note, write"}  # of "note 7, write to [EMAIL]"
    reasons = " ".join(tables["reasons_sample"][["reason_1_text", "reason_2_text"]].stack())
    assert "raises the risk: “note, write”" in reasons
    assert "mail" not in reasons.lower()
