"""From a raw table to a champion and scored tables: the jobs as a user runs them, on a small generated table."""

import csv
import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers import EVERYONE, FAST, ROWS, last_run
from sklearn.metrics import roc_auc_score

from churn_spark import ChurnModel
from churn_spark.cli import main
from churn_spark.sample.customers import write_csv


def table(output: Path, name: str) -> pd.DataFrame:
    rows = pd.read_parquet(output / name)
    if "score_date" in rows:
        rows = rows[rows["score_date"].astype(str) == "2026-01-31"].reset_index(drop=True)
    return rows


def test_train_writes_a_whole_model_package(output: Path) -> None:
    model_id = json.loads((output / "models/champion.json").read_text())["model_id"]
    package = output / "models" / model_id
    for name in ("model.json", "manifest.json", "metadata.json", "MODEL_CARD.md", "report.html",
                 "figures/roc_curve.png", "figures/feature_importance.png"):  # fmt: skip
        assert (package / name).stat().st_size > 0, name
    assert not (package / "model.pkl").exists()


def test_a_clean_table_raises_no_alarm_and_the_report_explains_the_model(output: Path) -> None:
    report = next((output / "models").glob("m-*/report.html")).read_text()
    for words in ("Nothing found", "Against other models", "How each value moves them", "What an agent sees",
                  "Words of those who leave", "Notes that moved a score"):  # fmt: skip
        assert words in report, words
    assert "Suspiciously" not in report


def test_rows_in_are_valid_rejected_or_duplicates(output: Path, raw: Path) -> None:
    with raw.open(newline="") as file:
        lines = sum(1 for _ in csv.reader(file)) - 1
    records = [json.loads(p.read_text()) for p in (output / "_runs").glob("*/run.json")]
    trained = next(r for r in records if r["job"] == "train")
    rows = trained["rows"]
    assert rows["in"] == lines == rows["valid"] + rows["rejected"] + rows["duplicates"]
    rejects = table(output, "churn_rejects")
    assert len(rejects[rejects["run_id"] == trained["run_id"]]) == rows["rejected"] > 0
    assert rejects["rule"].notna().all()


def test_churn_metrics_hold_the_headline_numbers_with_intervals(output: Path) -> None:
    metrics = table(output, "churn_metrics")
    overall = metrics[(metrics["split"] == "test") & (metrics["slice"] == "all")].set_index("metric")
    for name in ("roc_auc", "pr_auc", "log_loss", "brier", "precision", "recall", "f1", "lift_10"):
        assert overall.loc[name, "ci_low"] <= overall.loc[name, "value"] <= overall.loc[name, "ci_high"], name
    compared = metrics[(metrics["split"] == "test") & (metrics["metric"] == "roc_auc")].set_index("slice")
    for variant in ("base rate", "logistic regression", "table only", "text only", "gain over table only"):
        assert compared.loc[variant, "ci_low"] <= compared.loc[variant, "ci_high"], variant
    assert compared.loc["base rate", "value"] == 0.5
    curves = table(output, "churn_curves")
    assert set(metrics["label_basis"]) | set(curves["label_basis"]) == {"cross_section"}
    assert {"roc", "pr", "gains", "calibration", "profit", "learning"} <= set(curves["curve"])


def test_churn_scores_have_one_row_per_usable_customer(output: Path, raw: Path) -> None:
    scores = table(output, "churn_scores")
    record = last_run(output)
    assert (
        len(scores) == scores["customer_id"].nunique() == record["rows"]["scored"] == record["rows"]["valid"]
    )
    assert scores["churn_probability"].between(0, 1).all()
    assert (scores["churn_prediction"] == (scores["churn_probability"] >= scores["threshold"])).all()
    assert sorted(scores["risk_rank"]) == list(range(1, len(scores) + 1))
    by_rank = scores.sort_values("risk_rank")["churn_probability"].to_numpy()
    assert (np.diff(by_rank) <= 0).all()
    assert set(scores["score_status"]) <= {"ok", "degraded"}
    degraded = scores[scores["score_status"] == "degraded"]
    assert degraded["status_detail"].str.len().gt(0).all()


def test_churn_reasons_add_up_to_the_raw_margin(output: Path) -> None:
    scores = table(output, "churn_scores").set_index("customer_id")
    sums = table(output, "churn_reasons").groupby("customer_id")["effect"].sum()
    assert len(sums) == len(scores)
    np.testing.assert_allclose(sums.loc[scores.index], scores["churn_score_raw"], atol=1e-4)


def test_scored_and_predicted_in_process_are_equal(output: Path, raw: Path) -> None:
    with raw.open(newline="") as file:
        records = {r["customer_id"]: r for r in csv.DictReader(file)}
    scores = table(output, "churn_scores").set_index("customer_id").sort_index()
    scores = scores[~scores["status_detail"].str.startswith("several rows", na=False)]  # a record has one
    answers = pd.DataFrame(ChurnModel.load(output / "models").predict([records[i] for i in scores.index]))
    answers = answers.set_index("customer_id")
    np.testing.assert_allclose(answers["churn_probability"], scores["churn_probability"], atol=1e-9, rtol=0)
    for column in ("risk_band", "reason_1", "reason_1_text", "ticket_summary", "text_status", "score_status"):
        pd.testing.assert_series_equal(answers[column], scores[column], check_dtype=False)


def test_a_second_train_computes_no_text_and_gives_the_same_model(own_output: Path, raw: Path) -> None:
    before = json.loads((own_output / "models/champion.json").read_text())
    first = last_run(own_output)["model_id"]
    assert main(["train", "-q", "--raw", str(raw), "--output", str(own_output), *FAST]) == 0
    record = last_run(own_output)
    assert record["text"]["summaries_computed"] == record["text"]["embeddings_computed"] == 0
    assert record["model_id"] == first
    assert json.loads((own_output / "models/champion.json").read_text()) == before


def test_a_second_score_of_a_date_gives_the_same_rows_and_can_be_rolled_back(
    own_output: Path, raw: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("churn_scores", "churn_reasons")
    before = {name: table(own_output, name) for name in names}
    place = ["-q", "--raw", str(raw), "--output", str(own_output), "--score-date", "2026-01-31"]
    assert main(["score", *place, *EVERYONE]) == 0
    for name in names:
        after = table(own_output, name)
        assert set(after["run_id"]).isdisjoint(before[name]["run_id"])
        lineage = ["run_id", *(["scored_at"] if name == "churn_scores" else [])]
        pd.testing.assert_frame_equal(before[name].drop(columns=lineage), after.drop(columns=lineage))
        order = ["customer_id", *(["rank"] if name == "churn_reasons" else [])]
        assert after.sort_values(order).index.is_monotonic_increasing
    assert main(["rollback", *place]) == 0
    assert before["churn_scores"]["run_id"].iloc[0] in capsys.readouterr().out
    for name in names:
        pd.testing.assert_frame_equal(before[name], table(own_output, name))


def test_dry_run_writes_nothing(spark, raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "never"
    assert main(["train", "-q", "--dry-run", "--raw", str(raw), "--output", str(folder)]) == 0
    told = capsys.readouterr().out
    assert "estimated_tokens" in told
    assert "about_seconds" in told
    assert not folder.exists()


def published_tree(folder: Path) -> dict[str, str]:
    """The files that readers see change only by a run that succeeds."""
    logs = ("churn_rejects", "churn_notes", "churn_runs")
    return {path: digest for path, digest in tree(folder).items() if not path.startswith(logs)}


def tree(folder: Path) -> dict[str, str]:
    """Every published file's hash; run folders apart."""
    files = [p for p in folder.rglob("*") if p.is_file() and "_runs" not in p.parts]
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.mark.parametrize(
    ("case", "code", "words"),
    [
        ("missing column", 20, "plan_type"),
        ("all-zero label", 20, "churn"),
        ("label copied", 20, "leak"),
        ("cancel date", 20, "cancel_date sounds like"),
        ("missing file", 20, "nowhere"),
        ("too many workers", 2, "workers"),
    ],
)
def test_train_that_cannot_work_says_why_and_publishes_nothing(
    own_output: Path,
    raw: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    case: str,
    code: int,
    words: str,
) -> None:
    frame = pd.read_csv(raw, dtype=str, keep_default_na=False)
    frame = frame[frame["churn"].isin(["0", "1"]) & ~frame["customer_id"].duplicated(keep=False)]
    arguments = ["--set", "validation.max_reject_share=0.5"]
    if case == "missing column":
        frame = frame.drop(columns="plan_type")
    elif case == "all-zero label":
        frame["churn"] = "0"
    elif case == "label copied":
        frame["state"] = frame["churn"].map({"0": "active", "1": "gone"})
        arguments += ["--set", "columns.state.role=categorical"]
    elif case == "cancel date":
        frame["cancel_date"] = "7"
        arguments += ["--set", "columns.cancel_date.role=numeric", "--set", "leakage=fail"]
    elif case == "too many workers":
        arguments += ["--set", "training.num_workers=64"]
    path = tmp_path / "bad.csv"
    frame.to_csv(path, index=False)
    name = str(tmp_path / "nowhere.csv") if case == "missing file" else str(path)
    published = published_tree(own_output)
    assert main(["train", "-q", "--raw", name, "--output", str(own_output), *arguments]) == code
    err = capsys.readouterr().err.strip().splitlines()
    assert words in "\n".join(err)
    assert sum(line.startswith(("error:", "where:", "next:")) for line in err) <= 3
    after = published_tree(own_output)
    assert after == published


def test_save_format_both_adds_a_pickle_nobody_reads(spark, raw: Path, tmp_path: Path) -> None:
    arguments = ["train", "-q", "--raw", str(raw), "--output", str(tmp_path / "o"), *FAST, "--limit", "400"]
    assert main([*arguments, "--set", "training.save_format=both", "--set", "columns.ticket_notes=null"]) == 0
    package = next((tmp_path / "o/models").glob("m-*"))
    assert (package / "model.pkl").exists()
    (package / "model.pkl").write_bytes(b"cos\nsystem\n(S'touch hacked'\ntR.")
    with pytest.raises(Exception, match=r"model\.pkl"):
        ChurnModel.load(package)


def test_the_model_learns_what_the_sample_hides(spark, output: Path, raw: Path, tmp_path: Path) -> None:
    """Held-out ROC-AUC stays near the attainable one: not far below, and not above it by a leak."""
    truth = tmp_path / "truth.csv"
    write_csv(truth, ROWS, seed=11, form="truth")
    scores = table(output, "churn_scores")
    rows = pd.read_csv(raw, dtype=str).drop_duplicates("customer_id", keep=False)
    known = rows[rows["churn"].isin(["0", "1"])].merge(pd.read_csv(truth), on="customer_id")
    from churn_spark.settings.layers import load_config
    from churn_spark.spark.training.splits import with_split

    ids = spark.createDataFrame(known[["customer_id"]])
    split = with_split(ids, load_config().contract, split=load_config().split).toPandas()
    held = known.merge(split[split["split"] == "test"], on="customer_id").merge(
        scores[["customer_id", "churn_probability"]], on="customer_id"
    )
    label = held["churn"].astype(int)
    attainable = roc_auc_score(label, held["true_probability"])
    reached = roc_auc_score(label, held["churn_probability"])
    assert len(held) > 100
    assert attainable - 0.15 < reached < attainable + 0.03


def test_train_repairs_a_damaged_package_of_the_same_content(spark, raw: Path, tmp_path: Path) -> None:
    arguments = ["train", "-q", "--raw", str(raw), "--output", str(tmp_path / "o"), *FAST, "--limit", "400",
                 "--set", "columns.ticket_notes=null"]  # fmt: skip
    assert main(arguments) == 0
    package = next((tmp_path / "o/models").glob("m-*"))
    (package / "model.json").write_text("{}")
    assert main(arguments) == 0
    assert ChurnModel.load(tmp_path / "o/models").model_id == package.name


def test_score_with_an_unknown_model_lists_the_known(
    own_output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["score", "-q", "--output", str(own_output), "--model", "m-nonsense"]) == 20
    assert "there is no such model" in capsys.readouterr().err


def test_explain_tells_one_customers_score_and_reasons(
    own_output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    customer = table(own_output, "churn_scores")["customer_id"].iloc[0]
    assert main(["explain", "--customer", customer, "--output", str(own_output)]) == 0
    out = capsys.readouterr().out
    assert "probability" in out
    assert "Where every customer starts" in out
    assert main(["explain", "--customer", "'; DROP TABLE x;--", "--output", str(own_output)]) == 20


def test_churn_scores_latest_is_the_newest_date(spark, output: Path) -> None:
    spark.sql((output / "churn_scores_latest.sql").read_text())
    latest = spark.table("churn_scores_latest")
    assert [str(r[0]) for r in latest.select("score_date").distinct().collect()] == ["2026-01-31"]
    assert latest.count() == len(table(output, "churn_scores"))
