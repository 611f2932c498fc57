"""A run's record, its lock, and what a user reads at the end."""

import errno
import io
import json
import logging
import os
import signal
import sys
import time

import pyarrow.parquet as pq
import pytest

from churn_spark import last_words, logs
from churn_spark.cli import console, main
from churn_spark.errors import Cancelled, InputError
from churn_spark.jobs import progress
from churn_spark.jobs.lock import identity
from churn_spark.jobs.record import SPARK_SCHEMA
from churn_spark.jobs.run import Run
from churn_spark.jobs.signals import cancellable
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
    assert [r["rows_in"] for r in rows_of(tmp_path)] == [0]


def test_run_finish_records_a_failure_with_its_exit_code(tmp_path):
    run = Run("train", load_config(options={"output": str(tmp_path / "out")}))
    assert run.finish(InputError("a column is missing", where="x.csv", fix="add it")) == 20
    record = json.loads((tmp_path / "out/_runs" / run.run_id / "run.json").read_text())
    assert record["status"] == "failed"
    assert "a column is missing" in record["reason"]
    assert (tmp_path / "out/_runs" / run.run_id / "error.txt").exists()


def test_error_txt_and_verbose_output_hold_no_row_value(tmp_path, monkeypatch, capsys, raw):
    note = "Anna was rude"

    def fail(run, options):
        raise ValueError(f"could not convert string to float: {note!r}") from KeyError(note)

    monkeypatch.setattr("churn_spark.commands._work", fail)
    assert main(["train", "-v", "--raw", str(raw), "--output", str(tmp_path / "out")]) == 1
    logs.set_up(as_json=False, level=logging.INFO)
    for text in (next((tmp_path / "out/_runs").glob("*/error.txt")).read_text(), capsys.readouterr().err):
        assert "in fail" in text
        assert "ValueError" in text
        assert note not in text


def test_run_json_keeps_no_secret_of_the_command_line(tmp_path):
    given = [
        "--set",
        "spark.conf.spark.hadoop.fs.s3a.secret.key=abc",
        "--set=text.api_key=abc==",
        "--raw=x=1.csv",
    ]
    run = Run("train", load_config(options={"output": str(tmp_path / "out")}), argv=given)
    kept = [
        "--set",
        "spark.conf.spark.hadoop.fs.s3a.secret.key=***",
        "--set=text.api_key=***",
        "--raw=x=1.csv",
    ]
    assert run.record["argv"] == kept


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_cancels_a_run_which_leaves_its_record_and_row(tmp_path, number):
    run = Run("train", load_config(options={"output": str(tmp_path / "out")}))
    before = signal.getsignal(number)
    with cancellable():
        with pytest.raises(Cancelled) as caught, run.locked():
            os.kill(os.getpid(), number)
        assert run.finish(caught.value) == 128 + number
    assert signal.getsignal(number) is before
    record = json.loads((tmp_path / "out/_runs" / run.run_id / "run.json").read_text())
    assert (record["status"], record["exit_code"]) == ("cancelled", 128 + number)
    assert sorted(os.listdir(tmp_path / "out/_runs")) == [run.run_id]
    assert rows_of(tmp_path)[0]["status"] == "cancelled"


def test_runs_table_holds_every_outcome_with_comments_and_without_spark(tmp_path):
    for problem in (None, InputError("a column is missing"), Cancelled(15)):
        run = Run("train", load_config(options={"output": str(tmp_path / "out")}))
        run.finish(problem)
    rows = sorted(rows_of(tmp_path), key=lambda row: row["status"])
    assert [(r["status"], r["exit_code"]) for r in rows] == [
        ("cancelled", 143),
        ("failed", 20),
        ("succeeded", 0),
    ]
    assert [r["reason"] for r in rows] == ["signal 15", "error: a column is missing", None]
    folder = tmp_path / "out/churn_runs"
    footer = pq.read_schema(next(folder.iterdir())).metadata[SPARK_SCHEMA.encode()]
    assert json.loads(footer)["fields"][0]["metadata"] == {"comment": "the run"}


def rows_of(tmp_path):
    return pq.read_table(tmp_path / "out/churn_runs").to_pylist()


def test_clear_up_removes_what_dead_runs_left_and_nothing_else(tmp_path):
    runs = tmp_path / "out/_runs"
    for name, owner in {
        "dead": json.dumps({**identity("dead"), "started": -1}),
        "alive": json.dumps(identity("alive")),
        "damaged": "{half",
    }.items():
        (runs / name / "work").mkdir(parents=True)
        (runs / name / "work/owner.json").write_text(owner)
    run = Run("score", load_config(options={"output": str(tmp_path / "out")}))
    assert sorted(run.clear_up()) == ["damaged", "dead"]
    assert (runs / "alive/work").is_dir()


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


@pytest.mark.parametrize("raw", ["nowhere.csv", "nowhere/*.csv", "file:///nowhere.csv"])
def test_input_that_is_not_there_is_refused_before_spark_starts(tmp_path, raw, capsys, monkeypatch):
    monkeypatch.setattr(
        "churn_spark.spark.session.get_session", lambda *a, **k: pytest.fail("Spark was started")
    )
    for command in ("train", "score", "prepare", "init"):
        assert main([command, "--raw", raw, "--output", str(tmp_path / "out")]) == 20
        assert f"where: {raw}" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EACCES, "write permission"),
        (errno.ENOSPC, "the disk is full"),
        (errno.EROFS, "--output FOLDER"),
    ],
)
def test_folder_that_cannot_be_written_ends_with_23_its_place_and_a_way_out(
    tmp_path, monkeypatch, capsys, raw, number, words
):
    def refuse(*args, **kwargs):
        raise OSError(number, os.strerror(number), "/the/place")

    monkeypatch.setattr("churn_spark.jobs.lock._take", refuse)
    assert main(["train", "--raw", str(raw), "--output", str(tmp_path / "out")]) == 23
    err = capsys.readouterr().err
    assert words in err
    assert "where: /the/place" in err


@pytest.mark.parametrize("command", [["history"], ["rollback"], ["export"], ["unlock"]])
def test_commands_explain_what_was_not_foreseen(tmp_path, monkeypatch, capsys, command):
    def fail(*args, **kwargs):
        raise ValueError("row value 4711")

    monkeypatch.setattr("churn_spark.commands.load_config", fail)
    assert main([*command, "--output", str(tmp_path)]) == 1
    err = capsys.readouterr().err
    assert "ValueError, which was not foreseen" in err
    assert "4711" not in err


def test_command_without_spark_says_what_to_install(tmp_path, monkeypatch, capsys, raw):
    def absent(*args, **kwargs):
        raise ModuleNotFoundError("No module named 'pyspark'", name="pyspark")

    monkeypatch.setattr("churn_spark.commands._work", absent)
    assert main(["train", "--raw", str(raw), "--output", str(tmp_path / "out")]) == 23
    assert "churn-spark[spark]" in capsys.readouterr().err


def test_console_returns_normally_on_success(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["churn-spark", "--version"])
    assert console() is None
    monkeypatch.setattr(sys, "argv", ["churn-spark", "--nonsense"])
    with pytest.raises(SystemExit, match="2"):
        console()


def test_next_command_repeats_every_option_but_secrets(monkeypatch):
    options = ["--raw", "my file.csv", "--set", "a=b"]
    monkeypatch.setattr(sys, "argv", ["/bin/churn-spark"])
    assert last_words.job_command("score", options) == "churn-spark score --raw 'my file.csv' --set a=b"
    monkeypatch.setattr(sys, "argv", ["jobs/train.py"])
    given = "--master yarn --conf spark.a=1 --conf spark.hadoop.fs.s3a.secret.key=abcdef"
    monkeypatch.setenv(last_words.SUBMITTED, given)
    assert last_words.job_command("score", ["--raw", "x"]) == (
        "./spark-submit.sh --master yarn --conf spark.a=1 jobs/score.py --raw x"
    )
    monkeypatch.setenv(last_words.SUBMITTED, "")  # as the README's first command leaves it
    assert last_words.job_command("score", []) == "./spark-submit.sh jobs/score.py"


def test_json_lines_have_a_messages_fields_and_those_of_the_run(tmp_path):
    handler = logging.StreamHandler(stream := io.StringIO())
    handler.setFormatter(logs.JsonLines())
    log = logging.getLogger("churn_spark")
    log.addHandler(handler)
    level, _ = log.level, log.setLevel(logging.INFO)
    run = Run("train", load_config(options={"output": str(tmp_path / "out")}))
    try:
        with run.step("validate") as facts:
            facts |= {"rows": 5, "table": "a/b"}
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
    first, last = (json.loads(line) for line in stream.getvalue().splitlines())
    assert first["message"] == "step=validate starts"
    expected = {
        "run_id": run.run_id,
        "job": "train",
        "step": "validate",
        "rows": 5,
        "table": "a/b",
        "level": "INFO",
    }
    assert expected.items() <= last.items()
    assert last["seconds"] >= 0


def test_bar_shows_a_steps_share(capsys):
    assert progress.bar("fit", 2.04, 3, 4) == f"fit           2.0 s  [{'=' * 18}{' ' * 6}] 3/4 tasks"
    assert progress.bar("fit", 2.0, 0, 0).endswith("0/0 tasks")


def test_long_step_is_heard_of_where_nobody_looks(monkeypatch, caplog):
    monkeypatch.setattr(progress, "HEARTBEAT_SECONDS", 0.001)
    caplog.set_level(logging.INFO, "churn_spark")
    with progress.watched("fit", lambda: (3, 4)):
        while not caplog.records:
            time.sleep(0.001)
    assert "step=fit goes on" in caplog.text
    assert "tasks=3/4" in caplog.text


def test_files_are_for_this_user_only_unless_settings_say_otherwise(tmp_path):
    for private, mode in ((True, 0o600), (False, 0o644)):
        options = {"output": str(tmp_path / str(private)), "output.private": private}
        run = Run("train", load_config(options=options))
        before = os.umask(0o022)
        with run.private():
            run.finish()
        assert os.umask(before) == 0o022
        files = [p for p in (tmp_path / str(private)).rglob("*") if p.is_file()]
        assert {p.stat().st_mode & 0o777 for p in files} == {mode}
        assert run._permissions() == ({"spark.hadoop.fs.permissions.umask-mode": "077"} if private else {})


def test_files_are_as_the_mount_has_them_where_chmod_fails(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("churn_spark.jobs.run.try_place", lambda place: {"chmod": "not supported"})
    run = Run("train", load_config(options={"output": str(tmp_path)}))
    assert run._permissions() == {}
