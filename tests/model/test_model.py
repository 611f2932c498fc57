"""The scoring function and the model package, without Spark."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import xgboost as xgb

from churn_spark.contract.folds import fold_of
from churn_spark.errors import InputError, ResourceError
from churn_spark.model.calibration import Calibrator
from churn_spark.model.features import Categorical, FeatureSpec, Numeric, TextVector, assemble
from churn_spark.model.model import ChurnModel
from churn_spark.model.policy import Policy
from churn_spark.settings.layers import load_config

DIMENSION = 384


@pytest.fixture(scope="module")
def model() -> ChurnModel:
    """A small real model: 400 random customers whose churn depends on tenure, plan and the first vector element."""
    rng = np.random.default_rng(3)
    rows = 400
    frame = pd.DataFrame(
        {
            "age": rng.integers(18, 90, rows).astype(float),
            "tenure": rng.exponential(20, rows),
            "spend_rate": rng.normal(60, 20, rows),
            "plan_type": rng.choice(["monthly", "annual"], rows),
        }
    )
    vectors = rng.normal(size=(rows, DIMENSION)).astype(np.float32)
    odds = (frame["plan_type"] == "monthly") * 2 - frame["tenure"] / 20 + vectors[:, 0]
    label = (odds + rng.logistic(size=rows) > 0).astype(float)
    spec = FeatureSpec(
        numeric=(Numeric("age"), Numeric("tenure"), Numeric("spend_rate")),
        categorical=(Categorical("plan_type", ("annual", "monthly")),),
        texts=(TextVector("ticket_notes", DIMENSION),),
    )
    matrix = assemble(spec, frame, vectors={"ticket_notes": vectors})
    data = xgb.DMatrix(
        matrix, label, feature_names=spec.names, feature_types=spec.types, enable_categorical=True
    )
    booster = xgb.train({"objective": "binary:logistic", "max_depth": 3, "nthread": 1}, data, 20)
    config = load_config()
    return ChurnModel(
        model_id="",
        booster=booster,
        spec=spec,
        calibrator=Calibrator("platt", (0.0, 1.0), (0.1, 1.0)),
        policy=Policy(threshold=0.4, bands=(0.2, 0.4, 0.7)),
        contract=config.contract,
        text=config.text,
        manifest={"base_rate": 0.4},
    ).identified()


def record(**changes: object) -> dict[str, object]:
    good = {"customer_id": "C1", "age": 50, "tenure": 10, "spend_rate": 100, "plan_type": "monthly",
            "ticket_notes": "Billing issue that was resolved quickly."}  # fmt: skip
    return {**good, **changes}


def test_predict_gives_the_fields_of_churn_scores_in_order(model: ChurnModel) -> None:
    answers = model.predict([record(), record(customer_id="00123", plan_type="annual")])
    assert [a["customer_id"] for a in answers] == ["C1", "00123"]
    first = answers[0]
    assert 0 < first["churn_probability"] < 1
    assert first["churn_prediction"] == (first["churn_probability"] >= first["threshold"])
    assert first["risk_band"] in ("low", "medium", "high", "very_high")
    assert first["score_status"] == "ok"
    assert first["ticket_summary"] == "Billing issue that was resolved quickly."
    assert first["text_status"] == "passthrough"
    assert first["reason_1_text"]


def test_unseen_scores_need_a_booster_for_each_fold(model: ChurnModel) -> None:
    with pytest.raises(InputError, match="one booster"):
        model.scoring_unseen(True)
    assert model.scoring_unseen(False).predict([record()]) == model.predict([record()])


def test_unseen_scores_of_a_customer_are_those_of_the_fold_of_the_id(model: ChurnModel) -> None:
    # The model's 20 trees taken for those of five boosters of four trees.
    whole = replace(model, manifest={**model.manifest, "boosters": 5, "unseen": False, "split": {"seed": 42}})
    unseen = whole.scoring_unseen(True)
    ids = [f"C{i}" for i in range(8)]
    answers = unseen.predict([record(customer_id=i) for i in ids])
    raw = {a["customer_id"]: a["churn_score_raw"] for a in answers}
    folds = {i: fold_of(i, seed=42) for i in ids}
    assert len(set(folds.values())) > 1
    assert all((raw[i] == raw[j]) == (folds[i] == folds[j]) for i in ids for j in ids)
    alone = unseen.predict([record(customer_id=ids[-1])])
    assert alone == answers[-1:]


def test_predict_of_nothing_is_nothing(model: ChurnModel) -> None:
    assert model.predict([]) == []


def test_predict_bad_values_degrade_and_bad_records_never_fail_the_batch(model: ChurnModel) -> None:
    answers = model.predict([record(age="thirty"), record(customer_id=" "), "not a record", record()])  # type: ignore[list-item]
    assert [a["score_status"] for a in answers] == ["degraded", "unscorable", "unscorable", "ok"]
    assert "age" in answers[0]["status_detail"]
    assert "thirty" not in answers[0]["status_detail"]
    assert answers[1]["churn_probability"] is None
    assert answers[3]["churn_probability"] == model.predict([record()])[0]["churn_probability"]


def test_predict_a_bad_value_counts_as_missing(model: ChurnModel) -> None:
    bad, missing = model.predict([record(age="thirty"), record(age=None)])
    assert bad["churn_probability"] == missing["churn_probability"]


def test_predict_without_a_note_says_empty(model: ChurnModel) -> None:
    answer = model.predict([record(ticket_notes="  ")])[0]
    assert (answer["text_status"], answer["ticket_summary"], answer["score_status"]) == ("empty", None, "ok")


def test_predict_ignores_unknown_and_label_columns(model: ChurnModel) -> None:
    one, other = model.predict([record(), record(churn="maybe", shoe_size=43)])
    assert one == other


def test_effects_and_baseline_add_up_to_the_margin(model: ChurnModel) -> None:
    rng = np.random.default_rng(5)
    frame = pd.DataFrame(
        {
            "age": [20.0, np.nan],
            "tenure": [1.0, 50.0],
            "spend_rate": [5.0, 9.0],
            "plan_type": ["annual", None],
        }
    )
    matrix = assemble(
        model.spec, frame, vectors={"ticket_notes": rng.normal(size=(2, DIMENSION)).astype(np.float32)}
    )
    groups, effects = model.effects(matrix)
    assert groups == ("age", "tenure", "spend_rate", "plan_type", "ticket_notes")
    np.testing.assert_allclose(effects.sum(axis=1), model.margin(matrix), atol=1e-5)


def test_package_round_trip_gives_the_same_scores(model: ChurnModel, tmp_path) -> None:
    model.save(tmp_path)
    loaded = ChurnModel.load(tmp_path)
    assert loaded.predict([record()]) == model.predict([record()])


def test_load_finds_the_champion_and_says_when_there_is_none(model: ChurnModel, tmp_path) -> None:
    with pytest.raises(InputError, match="no champion"):
        ChurnModel.load(tmp_path)
    (tmp_path / model.model_id).mkdir()
    model.save(tmp_path / model.model_id)
    (tmp_path / "challenger.json").write_text("{}")
    with pytest.raises(InputError, match="not promoted") as caught:
        ChurnModel.load(tmp_path)
    assert "--model challenger" in (caught.value.fix or "")
    (tmp_path / "champion.json").write_text(json.dumps({"model_id": model.model_id}))
    assert ChurnModel.load(tmp_path).model_id == model.model_id


@pytest.mark.parametrize("damage", ["digit", "missing", "manifest", "of the run", "features"])
def test_load_refuses_a_package_that_is_not_what_was_saved(model: ChurnModel, tmp_path, damage: str) -> None:
    model.save(tmp_path)
    if damage == "digit":
        text = (tmp_path / "model.json").read_bytes()
        place = text.index(b'"base_weights":[') + 20
        digit = next(i for i in range(place, len(text)) if chr(text[i]).isdigit())
        (tmp_path / "model.json").write_bytes(
            text[:digit] + str((text[digit] - 47) % 10).encode() + text[digit + 1 :]
        )
    elif damage == "missing":
        (tmp_path / "model.json").unlink()
    elif damage == "manifest":
        (tmp_path / "manifest.json").write_text("{half")
    elif damage == "of the run":  # for which the id does not stand
        manifest = json.loads((tmp_path / "manifest.json").read_text())
        (tmp_path / "manifest.json").write_text(json.dumps({**manifest, "metrics": {"auc": 1.0}}))
    else:
        replace(model, spec=replace(model.spec, numeric=model.spec.numeric[1:])).save(tmp_path)
    with pytest.raises(ResourceError) as caught:
        ChurnModel.load(tmp_path)
    assert "json" in caught.value.what
    assert caught.value.exit_code == 23


def test_load_takes_a_package_of_before_manifests_had_a_hash_of_their_own(
    model: ChurnModel, tmp_path
) -> None:
    model.save(tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    del manifest["sha256"]["manifest.json"]
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    assert ChurnModel.load(tmp_path).predict([record()]) == model.predict([record()])


def test_the_id_stands_for_what_was_learnt_and_not_for_the_run(model: ChurnModel) -> None:
    other_run = replace(model, manifest={**model.manifest, "run_id": "later"}).identified()
    other_policy = replace(model, policy=replace(model.policy, threshold=0.5)).identified()
    assert other_run.model_id == model.model_id != other_policy.model_id


def test_one_digit_edits_of_a_package_are_refused_or_harmless(model: ChurnModel, tmp_path) -> None:
    model.save(tmp_path)
    expected, refused = model.predict([record()]), 0
    for name in ("manifest.json", "model.json"):
        saved = (tmp_path / name).read_bytes()
        digits = np.flatnonzero(np.isin(np.frombuffer(saved, np.uint8), list(b"0123456789")))
        for place in np.random.default_rng(11).choice(digits, 75, replace=False):
            digit = str((saved[place] - 47) % 10).encode()
            (tmp_path / name).write_bytes(saved[:place] + digit + saved[place + 1 :])
            try:
                assert ChurnModel.load(tmp_path).predict([record()]) == expected
            except ResourceError:
                refused += 1
        (tmp_path / name).write_bytes(saved)
    assert refused > 100
    assert ChurnModel.load(tmp_path).predict([record()]) == expected
