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
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def run(*command: str, **kwargs: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, **kwargs)  # type: ignore[call-overload, no-any-return]


def test_entry_points_exist() -> None:
    from churn_spark import cli

    assert PROJECT["project"]["scripts"] == {"churn-spark": "churn_spark.cli:console"}
    assert callable(cli.console)


def pinned(name: str) -> dict[str, Version]:
    """The versions that a file of constraints pins."""
    pins = re.findall(r"^([\w.-]+)==([\w.+-]+)", (ROOT / name).read_text(), re.M)
    return {canonicalize_name(package): Version(version) for package, version in pins}


def needed(*extras: str) -> dict[str, Requirement]:
    """What the project needs, with these extras."""
    optional = PROJECT["project"]["optional-dependencies"]
    lines = [*PROJECT["project"]["dependencies"], *(line for extra in extras for line in optional[extra])]
    found = {canonicalize_name(r.name): r for r in map(Requirement, lines)}
    return {name: r for name, r in found.items() if name != "churn-spark"}


def unfit(requirements: dict[str, Requirement], pins: dict[str, Version]) -> set[str]:
    """Packages whose pin is missing, or is none that the project allows."""
    return {n for n, r in requirements.items() if n not in pins or not r.specifier.contains(pins[n])}


@pytest.mark.parametrize("extras", [("spark",), tuple(PROJECT["project"]["optional-dependencies"])])
def test_constraints_pin_what_the_project_needs(extras: tuple[str, ...]) -> None:
    requirements = needed(*extras)
    assert not unfit(requirements, pinned("constraints.txt"))
    assert unfit(requirements, pinned("locked.txt")) == {"torch"}


def test_unfit_tells_a_missing_pin_and_a_wrong_one() -> None:
    assert unfit(needed(), {**pinned("constraints.txt"), "pandas": Version("3.0")}) == {"pandas"}
    assert "torch" in unfit(needed(), {})


def test_locked_versions_are_the_tested_ones_each_with_hashes_and_no_cuda() -> None:
    tested, locked = pinned("constraints.txt"), pinned("locked.txt")
    assert len(locked) > 80
    assert {n: v for n, v in locked.items() if tested.get(n, v) != v} == {}
    entries = re.split(r"^(?=[a-z])", (ROOT / "locked.txt").read_text(), flags=re.M)[1:]
    assert all("--hash=sha256:" in entry for entry in entries)
    assert not [name for name in locked if name.startswith(("torch", "nvidia", "cuda", "triton"))]


def test_databricks_constraints_are_versions_that_the_project_allows() -> None:
    pins = pinned("constraints-databricks.txt")
    requirements = needed("spark")
    assert set(pins) - {"transformers"} == set(requirements)
    assert not unfit(requirements, pins)
    assert str(pins["pyspark"]).startswith("4.0.")


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
        (["--conf=spark.master=yarn"], False), (["--remote", "sc://x"], False), (["--remote=sc://x"], False),
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


@pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="a machine with a GPU takes PyPI's torch")
@pytest.mark.parametrize("reached", [True, False])
def test_set_up_asks_for_torch_without_cuda_first(tmp_path: Path, reached: bool) -> None:
    """By a Python that writes down what it is called with, and answers for torch's index."""
    python, calls = tmp_path / "python", tmp_path / "calls"
    python.write_text(
        f'#!/bin/bash\necho "$*" >> {calls}\n'
        f'[[ "$*" != *venv* ]] || {{ mkdir -p {tmp_path}/venv/bin; cp {python} {tmp_path}/venv/bin/python; }}\n'
        f'[[ "$*" != *index-url* ]] || exit {0 if reached else 1}\n'
    )
    python.chmod(0o755)
    environment = {**os.environ, "PYTHON": str(python), "CHURN_SPARK_VENV": str(tmp_path / "venv")}
    done = run("./spark-submit.sh", "--setup", env=environment)
    assert done.returncode == 0, done.stderr
    _, torch, project = calls.read_text().splitlines()
    assert "--index-url https://download.pytorch.org/whl/cpu torch" in torch
    assert project.endswith("[dev]")
    assert ("torch comes from PyPI" in done.stderr) != reached


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
