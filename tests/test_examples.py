"""The examples for schedulers: their commands are ours; with the scheduler installed they are imported and run, too."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
from pathlib import Path
from types import ModuleType

import pytest
from helpers import ROOT

from churn_spark.cli import _parser

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for churn-spark that notes its arguments, leaves a record and ends with the code in `code`."""
    (tmp_path / "code").write_text("0")
    script = tmp_path / "churn-spark"
    script.write_text(
        f'#!/bin/bash\necho "$*" >> {tmp_path}/calls\nmkdir -p {tmp_path}/out/_runs/r-$1\n'
        f'printf \'{{"job": "%s", "run_id": "r", "promoted": true}}\' $1 > {tmp_path}/out/_runs/r-$1/run.json\n'
        f"exit $(cat {tmp_path}/code)\n"
    )
    script.chmod(0o755)
    monkeypatch.setenv("CHURN_COMMAND", f"{script} {{job}}")
    monkeypatch.setenv("CHURN_OUTPUT", str(tmp_path / "out"))
    return tmp_path


def example(name: str) -> ModuleType:
    """The example as a scheduler imports it."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.name)
def test_every_example_compiles(path: Path) -> None:
    compile(path.read_text(), str(path), "exec")


def test_every_example_is_tested() -> None:
    assert [path.stem for path in EXAMPLES] == ["airflow_dag", "dagster_assets"]


def test_airflow_runs_our_commands_in_order(command: Path) -> None:
    pytest.importorskip("airflow.sdk")
    dag = example("airflow_dag")
    assert {t: sorted(dag.training.get_task(t).downstream_task_ids) for t in dag.training.task_ids} == {
        "train": ["is_promoted"], "is_promoted": ["score"], "score": [],
    }  # fmt: skip
    for task in (
        dag.training.get_task("train"),
        dag.training.get_task("score"),
        dag.scoring.get_task("score"),
    ):
        words = shlex.split(re.sub(r"\{\{.*?\}\}", "2026-01-31", task.bash_command))
        assert words[0] == str(command / "churn-spark")
        assert _parser().parse_args(words[1:]).output == str(command / "out")


@pytest.mark.parametrize("promoted", [True, False])
def test_airflow_scores_again_where_the_newest_training_was_promoted(command: Path, promoted: bool) -> None:
    pytest.importorskip("airflow.sdk")
    for run_id, job, value in (
        ("r1", "train", not promoted),
        ("r2", "train", promoted),
        ("r3", "score", None),
    ):
        record = command / "out/_runs" / run_id / "run.json"
        record.parent.mkdir(parents=True)
        record.write_text(json.dumps({"job": job, "promoted": value}))
    decides = example("airflow_dag").training.get_task("is_promoted").python_callable
    assert decides() == promoted


def test_dagster_materializes_both_assets(command: Path) -> None:
    dagster = pytest.importorskip("dagster")
    assets = example("dagster_assets")
    done = dagster.materialize([assets.churn_model])
    assert done.asset_materializations_for_node("churn_model")[0].metadata["promoted"].value
    assert dagster.materialize([assets.churn_model, assets.churn_scores], partition_key="2026-01-31",
                               selection=["churn_scores"]).success  # fmt: skip
    train, score = (
        _parser().parse_args(shlex.split(line)) for line in (command / "calls").read_text().splitlines()
    )
    assert train.output == score.output == str(command / "out")
    assert str(score.score_date) == "2026-01-31"


@pytest.mark.parametrize(("code", "again"), [(20, False), (23, True)])
def test_dagster_retries_only_what_a_second_try_may_mend(command: Path, code: int, again: bool) -> None:
    dagster = pytest.importorskip("dagster")
    (command / "code").write_text(str(code))
    with pytest.raises(dagster.Failure, match=f"exit code {code}") as failure:
        example("dagster_assets").run("train")
    assert failure.value.allow_retries is again
