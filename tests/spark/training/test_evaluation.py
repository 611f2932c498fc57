"""A table too large for the driver is measured in cells, and comes out as if it had been measured row by row."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import xgboost as xgb

from churn_spark.contract.columns import SPLITS, Contract
from churn_spark.evaluation.evaluate import evaluate, terms_columns
from churn_spark.model.calibration import IDENTITY
from churn_spark.model.features import Categorical, FeatureSpec, Numeric, assemble
from churn_spark.model.model import ChurnModel
from churn_spark.model.policy import campaign_policy
from churn_spark.settings.layers import load_config
from churn_spark.spark.training import evaluate as collected

ROWS = 12_000


def table() -> pd.DataFrame:
    """Customers of one or two snapshots, whose churn depends on tenure and plan; every 50th plan is missing."""
    rng = np.random.default_rng(5)
    frame = pd.DataFrame({
        "customer_id": [f"C{i // 1.5:.0f}" for i in range(ROWS)],
        "age": rng.integers(18, 90, ROWS).astype(float),
        "tenure": np.where(rng.random(ROWS) < 0.3, 0, rng.exponential(20, ROWS).round(1)),
        "spend_rate": rng.lognormal(4, 0.6, ROWS).round(2),
        "plan_type": rng.choice(["monthly", "annual", "family"], ROWS, p=[0.5, 0.3, 0.2]),
        "split": rng.choice(SPLITS, ROWS),
    })  # fmt: skip
    odds = (frame["plan_type"] == "monthly") * 1.5 - frame["tenure"] / 15 - 1
    frame["churn"] = odds + rng.logistic(size=ROWS) > 0
    frame.loc[::50, "plan_type"] = None
    return frame


OFFERS = [
    {"name": "plain"},
    {"name": "dear", "cost": 25, "accept_rate": 0.5, "who": {"plan_type": ["monthly"]}},
]


def fitted(frame: pd.DataFrame, **options: object) -> ChurnModel:
    config = load_config(options=options)
    spec = FeatureSpec(
        numeric=(Numeric("age"), Numeric("tenure"), Numeric("spend_rate")),
        categorical=(Categorical("plan_type", ("monthly", "annual", "family")),),
    )
    train = frame[frame["split"] == "learn"]
    data = xgb.DMatrix(assemble(spec, train, vectors={}), train["churn"], feature_names=spec.names,
                       feature_types=spec.types, enable_categorical=True)  # fmt: skip
    booster = xgb.train({"objective": "binary:logistic", "max_depth": 3, "nthread": 1}, data, 15)
    contract = Contract(tuple(c for c in config.contract.columns if c.role != "text"))
    policy = campaign_policy(config.decision, config.offers, typical={"spend_rate": 55.0})
    return ChurnModel("", booster, spec, IDENTITY, policy, contract, config.text, {})


@pytest.mark.parametrize(
    "options",
    [{}, {"decision.customer_value": "spend_rate"}, {"offers": OFFERS, "decision.customer_value": 90.0}],
)
def test_a_large_table_is_measured_in_cells_and_comes_out_the_same(
    spark, monkeypatch: pytest.MonkeyPatch, options: dict[str, object]
) -> None:
    frame = table()
    df, model = spark.createDataFrame(frame), fitted(frame, **{"decision.capacity": 3_000, **options})
    learnt, policy = frame[frame["split"] == "learn"], model.policy
    margin = model.margin(assemble(model.spec, learnt, vectors={}))
    terms = terms_columns(policy.terms(learnt, len(learnt))) if policy.has_own_terms else {}
    scored = pd.DataFrame({"label": learnt["churn"].astype(int), "margin": margin, "customer": learnt["customer_id"],
                           "fold": np.arange(len(learnt)) % 5, **terms})  # fmt: skip
    exact = collected.collect_scores(df, model, label="churn", learnt=scored)
    assert len(exact.rows) == ROWS
    monkeypatch.setattr(collected, "MAX_ROWS", 100)
    binned = collected.collect_scores(df, model, label="churn", learnt=scored)
    assert binned.rows["weight"].sum() == ROWS
    assert binned.population == exact.population == frame["customer_id"].nunique()

    row, cell = (evaluate(model, scores, losses={}) for scores in (exact, binned))
    assert row.rows == cell.rows
    margin = exact.rows["margin"]
    moved = np.abs(cell.model.calibrator.apply(margin) - row.model.calibrator.apply(margin))
    assert moved.mean() < 0.01
    assert cell.model.policy.threshold == pytest.approx(row.model.policy.threshold, abs=0.03)

    key = ["split", "slice", "metric"]
    both = row.metrics.merge(cell.metrics, on=key, suffixes=("", "_cell"), how="outer", indicator=True)
    assert set(both["_merge"]) == {"both"}
    tolerance = {"roc_auc": 0.005, "pr_auc": 0.01, "log_loss": 0.003, "brier": 0.002, "ks": 0.02, "capture_20": 0.02,
                 "base_rate": 1e-9, "log_loss_raw": 0.003}  # fmt: skip
    for metric, allowed in tolerance.items():
        rows = both[both["metric"] == metric]
        wide = np.where(rows["slice"] == "all", 1, 3)
        assert (np.abs(rows["value"] - rows["value_cell"]) <= allowed * wide).all(), metric
        assert (rows["n"] == rows["n_cell"]).all()
    profit = both[(both["metric"] == "profit") & (both["slice"] == "all")]
    np.testing.assert_allclose(profit["value_cell"], profit["value"], rtol=0.05)
    auc = both[(both["metric"] == "roc_auc") & (both["slice"] == "all")]
    widths = (auc["ci_high_cell"] - auc["ci_low_cell"]) / (auc["ci_high"] - auc["ci_low"])
    assert widths.between(0.7, 1.4).all()


def test_pairs_of_a_large_table_compare_like_its_rows(spark, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    new = rng.normal(-1, 1.5, 5_000)
    pairs = pd.DataFrame({"customer_id": [f"C{i}" for i in range(5_000)], "new": new,
                          "old": new + rng.normal(0, 0.3, 5_000),
                          "churn": rng.random(5_000) < 1 / (1 + np.exp(-new))})  # fmt: skip
    df, contract = spark.createDataFrame(pairs), load_config().contract
    exact = collected.collect_pairs(df, contract)
    monkeypatch.setattr(collected, "MAX_ROWS", 100)
    binned = collected.collect_pairs(df, contract)
    assert binned["weight"].sum() == len(exact) == 5_000
    found = [challenge_of(part) for part in (exact, binned)]
    assert found[1].agreement == pytest.approx(found[0].agreement, abs=0.02)
    gains = [f.differences.set_index("metric")["value"] for f in found]
    assert gains[0]["log_loss"] < 0
    assert gains[1]["log_loss"] == pytest.approx(gains[0]["log_loss"], abs=0.001)


def challenge_of(pairs: pd.DataFrame) -> object:
    from churn_spark.settings.sections import Split
    from churn_spark.spark.training.challenge import compare

    model = fitted(table())
    champion = replace(model, manifest={**model.manifest, "split": Split().model_dump(mode="json")})
    return compare(pairs, model, champion, split=Split())
