"""A run's record, its lock, and what a user reads at the end."""

import json
import os
import socket

import pytest

from churn_spark.cli import main
from churn_spark.errors import InputError, LockedError
from churn_spark.jobs import run as run_module
from churn_spark.jobs.run import Run, lock
from churn_spark.settings.layers import load_config


def test_run_finish_records_success_and_clears_the_work_folder(tmp_path):
    run = Run("train", load_config(options={"output": str(tmp_path / "out")}), argv=["--output", "out"])
    (tmp_path / "out/_runs" / run.run_id / "work").mkdir(parents=True)
    with run.step("validate") as facts:
        facts["rows"] = 5
    assert run.finish() == 0
    record = json.loads((tmp_path / "out/_runs" / run.run_id / "run.json").read_text())
    assert (record["status"], record["exit_code"], record["job"]) == ("succeeded", 0, "train")
    assert "validate" in record["seconds"]
    assert os.listdir(run.folder) == ["run.json"]


def test_run_finish_records_a_failure_with_its_exit_code(tmp_path):
    run = Run("train", load_config(options={"output": str(tmp_path / "out")}))
    assert run.finish(InputError("a column is missing", where="x.csv", fix="add it")) == 20
    record = json.loads((tmp_path / "out/_runs" / run.run_id / "run.json").read_text())
    assert record["status"] == "failed"
    assert "a column is missing" in record["reason"]
    assert (tmp_path / "out/_runs" / run.run_id / "error.txt").exists()


def test_lock_refuses_a_second_holder_and_frees_itself(tmp_path):
    with (
        lock(str(tmp_path), "train", "r1"),
        pytest.raises(LockedError, match="r1"),
        lock(str(tmp_path), "train", "r2"),
    ):
        pass
    with lock(str(tmp_path), "train", "r3"):
        pass


@pytest.mark.parametrize(
    "holder",
    [
        {"run_id": "dead", "pid": 2**22 - 1, "host": socket.gethostname(), "time": 9e9},
        {"run_id": "old", "pid": 1, "host": "elsewhere", "time": 0},
        None,
    ],
)
def test_lock_takes_over_a_stale_one(tmp_path, holder):
    (tmp_path / "_runs").mkdir()
    (tmp_path / "_runs/train.lock").write_text(json.dumps(holder) if holder else "{half")
    with lock(str(tmp_path), "train", "r1"):
        assert json.loads((tmp_path / "_runs/train.lock").read_text())["run_id"] == "r1"


def test_lock_of_a_run_that_took_over_first_stands(tmp_path, monkeypatch):
    """Between the look at a stale lock and its removal, another run has taken it over."""
    place = tmp_path / "_runs/train.lock"
    place.parent.mkdir()
    place.write_text(json.dumps({"run_id": "new", "pid": os.getpid(), "host": socket.gethostname()}))
    monkeypatch.setattr(run_module, "_is_stale", lambda holder: True)
    monkeypatch.setattr(run_module, "_holder", Old(run_module._holder))
    with pytest.raises(LockedError), lock(str(tmp_path), "train", "r1"):
        pass
    assert json.loads(place.read_text())["run_id"] == "new"
    assert [p.name for p in place.parent.iterdir()] == ["train.lock"]


class Old:
    """The first look finds what was there before."""

    def __init__(self, look):
        self.look, self.looks = look, 0

    def __call__(self, place):
        self.looks += 1
        return {"run_id": "dead"} if self.looks == 1 else self.look(place)


@pytest.mark.parametrize(
    "holder",
    [
        {"run_id": "theirs", "pid": 1, "host": "elsewhere", "time": 9e9},
        {"run_id": "slow", "pid": os.getpid(), "host": socket.gethostname(), "time": 0},
    ],
)
def test_lock_of_a_living_holder_stands(tmp_path, holder):
    (tmp_path / "_runs").mkdir()
    (tmp_path / "_runs/score.lock").write_text(json.dumps(holder))
    with pytest.raises(LockedError), lock(str(tmp_path), "score", "r1"):
        pass


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["train", "--nonsense"], "unrecognized"),
        (["train", "--set", "training.max_dept=3"], "training.max_depth"),
        (["train", "--limit", "0"], "at least 1"),
        (["score", "--score-date", "yesterday"], "YYYY-MM-DD"),
        (["train", "--raw", "{{job.raw}}"], "placeholder"),
        (["train", "--output", "../../x"], "climbs"),
        (["train", "--config", "nowhere.yaml"], "tried"),
        ([], "required"),
    ],
)
def test_main_wrong_arguments_exit_2_in_three_lines(argv, words, capsys):
    assert main(argv) == 2
    err = capsys.readouterr().err
    assert words in err
    assert len(err.strip().splitlines()) <= 3


def test_main_help_and_version_exit_0(capsys):
    assert main(["--version"]) == 0
    assert main(["train", "--help"]) == 0
    assert "--score-date" in capsys.readouterr().out


def test_main_takes_underscores_in_option_names(capsys):
    assert main(["config", "show", "--set", "training.max_depth=3", "--log_format", "json"]) == 0
    assert "training.max_depth: 3  # --set training.max_depth" in capsys.readouterr().out


def test_main_score_without_a_champion_says_what_to_run(tmp_path, capsys):
    assert main(["score", "--output", str(tmp_path / "out")]) == 20
    assert "churn-spark train" in capsys.readouterr().err
