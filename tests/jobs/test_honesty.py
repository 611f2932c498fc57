"""What a trained model must not show: skill where there is none to learn, or a trace of its test rows."""

import csv
import json
import random
from pathlib import Path

import pandas as pd
from helpers import FAST, ROOT, last_run

from churn_spark.cli import main
from churn_spark.settings.layers import load_config
from churn_spark.spark.training.splits import with_split


def test_shuffled_labels_cannot_be_learnt_and_are_not_promoted(spark, tmp_path: Path) -> None:
    with (ROOT / "data/sample/customers.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    labels = [r["churn"] for r in rows]
    random.Random(1).shuffle(labels)
    frame = pd.DataFrame(rows).assign(churn=labels).drop(columns="ticket_notes")
    frame.to_csv(tmp_path / "shuffled.csv", index=False)
    settings = ["--set", "columns.ticket_notes=null", "--set", "split.test=0.6"]
    place = ["--raw", str(tmp_path / "shuffled.csv"), "--output", str(tmp_path / "out")]
    assert main(["train", "-q", *place, *FAST, *settings]) == 0  # promotion.on_refusal: ok
    assert last_run(tmp_path / "out")["promoted"] is False
    assert 0.45 < last_run(tmp_path / "out")["metrics"]["roc_auc"] < 0.55
    assert not (tmp_path / "out/models/champion.json").exists()


def test_perturbed_test_rows_change_nothing_that_was_fitted(
    spark, own_output: Path, raw: Path, tmp_path: Path
) -> None:
    """The model's name is a hash of all that was learnt: trees, categories, calibrator, threshold, bands."""
    frame = pd.read_csv(raw, dtype=str, keep_default_na=False)
    config = load_config()
    split = with_split(spark.createDataFrame(frame[["customer_id"]].drop_duplicates()), config.contract,
                       split=config.split).toPandas()  # fmt: skip
    held = frame["customer_id"].isin(split["customer_id"][split["split"] == "test"])
    held &= frame["churn"].isin(["0", "1"]) & ~frame["customer_id"].duplicated(keep=False)
    assert held.sum() > 100
    frame.loc[held, "churn"] = frame.loc[held, "churn"].map({"0": "1", "1": "0"})
    frame.loc[held, "plan_type"] = "unheard of"
    frame.loc[held, "tenure"] = "7"
    frame.to_csv(tmp_path / "perturbed.csv", index=False)
    place = ["--raw", str(tmp_path / "perturbed.csv"), "--output", str(tmp_path / "out")]
    notes = ["--set", f"text.cache={own_output / 'churn_notes'}"]
    code = main(["train", "-q", *place, *FAST, *notes, "--set", "promotion.on_refusal=fail"])
    record = last_run(tmp_path / "out")
    assert code == record["exit_code"] == 21  # the flipped labels look like a model worse than none
    assert record["model_id"] == json.loads((own_output / "models/champion.json").read_text())["model_id"]
