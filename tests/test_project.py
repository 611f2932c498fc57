"""The project around the package: set-up script, packaging, constraints."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from helpers import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def run(*command: str, **kwargs: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, **kwargs)  # type: ignore[call-overload, no-any-return]


def test_entry_points_exist() -> None:
    from churn_spark import cli

    assert PROJECT["project"]["scripts"] == {"churn-spark": "churn_spark.cli:console"}
    assert callable(cli.console)


def test_constraints_pin_the_cpu_torch_and_every_dependency() -> None:
    pins = dict(
        line.split("==")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line and line[0] != "#"
    )
    assert pins["torch"] == "2.13.0"
    for requirement in [
        *PROJECT["project"]["dependencies"],
        *PROJECT["project"]["optional-dependencies"]["spark"],
    ]:
        name = re.split(r"[<>=]", requirement)[0]
        assert name.lower() in {p.lower() for p in pins}, name


def test_spark_submit_script_prints_its_command(tmp_path: Path) -> None:
    (tmp_path / ".ready[spark]").touch()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python").symlink_to(sys.executable)
    environment = {**os.environ, "CHURN_SPARK_VENV": str(tmp_path), "SPARK_HOME": "/opt/spark"}
    done = run("./spark-submit.sh", "--dry-run", "jobs/train.py", "--raw", "a b.csv", env=environment)
    assert done.stdout.strip() == r"/opt/spark/bin/spark-submit jobs/train.py --raw a\ b.csv"
    assert run("./spark-submit.sh", env=environment).returncode == 2


@pytest.mark.parametrize(
    ("given", "is_local"),
    [
        (["--master", "local[2]"], True), (["--master=local"], True), ([], True), (["--master", "yarn"], False),
        (["--master=yarn"], False), (["--conf", "spark.master=k8s://x", "--py-files", "a.py"], False),
        (["--conf=spark.master=yarn"], False),
    ],
)  # fmt: skip
def test_spark_submit_script_gives_a_cluster_no_settings_of_a_laptop(
    tmp_path: Path, given: list[str], is_local: bool
) -> None:
    environment = stand_in(tmp_path, 'echo "${SPARK_CONF_DIR:-none};$LC_ALL;$CHURN_SPARK_SUBMIT"')
    done = run("./spark-submit.sh", *given, "jobs/train.py", "--raw", "x", env={**environment, "LC_ALL": "C"})
    conf, locale, submitted = done.stdout.strip().split(";")
    assert conf == (str(ROOT / "conf") if is_local else "none")
    assert locale == "C.UTF-8"
    assert shlex.split(submitted) == given


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_spark_submit_script_hands_signals_to_the_job(tmp_path: Path, number: signal.Signals) -> None:
    """And waits for the job's own end, so that a container does not go down before the lock is freed."""
    job = tmp_path / "job.py"
    job.write_text(
        "import signal, sys, time\n"
        "def end(number, frame):\n    print('freed', flush=True)\n    sys.exit(128 + number)\n"
        "for number in (signal.SIGTERM, signal.SIGINT): signal.signal(number, end)\n"
        "print('started', flush=True)\ntime.sleep(60)\n"
    )
    environment = stand_in(tmp_path, f"{sys.executable} {job} & wait $!; exit $?")
    script = subprocess.Popen(
        ["./spark-submit.sh", "x.py"], cwd=ROOT, env=environment, stdout=subprocess.PIPE
    )
    assert script.stdout
    assert script.stdout.readline() == b"started\n"
    script.send_signal(number)
    assert script.stdout.readline() == b"freed\n"
    assert script.wait(30) == 128 + number


def stand_in(folder: Path, spark_submit: str) -> dict[str, str]:
    """An environment for spark-submit.sh in which spark-submit is this line of shell."""
    (folder / ".ready[spark]").touch()
    (folder / "bin").mkdir()
    (folder / "bin/python").symlink_to(sys.executable)
    (folder / "bin/spark-submit").write_text(f"#!/bin/bash\n{spark_submit}\n")
    (folder / "bin/spark-submit").chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if name != "SPARK_CONF_DIR"}
    return {**kept, "CHURN_SPARK_VENV": str(folder), "SPARK_HOME": str(folder)}


def test_jobs_are_thin() -> None:
    jobs = sorted((ROOT / "jobs").glob("*.py"))
    assert [j.stem for j in jobs] == ["prepare", "score", "train"]
    for job in jobs:
        assert len(job.read_text().splitlines()) < 100
        assert f'main(["{job.stem}"' in job.read_text()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The names of the files in this project's wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    # setuptools leaves its work in build/; a copy keeps the clone clean and a stale one out of the wheel
    copy = shutil.copytree(
        ROOT, folder / "clone", ignore=shutil.ignore_patterns(".*", "build", "*.egg-info", "out")
    )
    done = subprocess.run([*pip, "-w", folder, copy], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(zipfile.ZipFile(next(folder.glob("*.whl"))).namelist())


def modules() -> set[str]:
    found = {str(p.relative_to(ROOT)) for p in (ROOT / "churn_spark").rglob("*.py")}
    assert len(found) > 60
    return found


def templates() -> set[str]:
    names = {str(p.relative_to(ROOT)) for p in (ROOT / "churn_spark/report/templates").iterdir()}
    assert names
    return names


def test_wheel_holds_every_module_template_and_setting(wheel: set[str]) -> None:
    assert modules() | templates() <= wheel
    conf = {p.relative_to(ROOT) for p in (ROOT / "conf").rglob("*") if p.is_file()}
    assert {f"churn_spark/{p}" for p in conf} <= wheel
    assert not {name for name in wheel if name.startswith(("tests/", "conf/"))}


def test_zip_for_executors_holds_every_module(tmp_path: Path) -> None:
    from churn_spark.spark.session import zip_package

    zip_package(ROOT / "churn_spark", tmp_path / "package.zip")
    names = set(zipfile.ZipFile(tmp_path / "package.zip").namelist())
    assert modules() | templates() <= names
    assert not {name for name in names if "__pycache__" in name}
