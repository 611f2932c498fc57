"""One Spark session and one trained output for all tests. Those using them are marked `spark`, those with real models,
servers, pictures or subprocesses `slow`: `-m "not spark and not slow"` is the inner loop, a few seconds.
"""

from __future__ import annotations

import os

# Before numpy is loaded: threads that wait for each other cost more than they save.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import EVERYONE, FAST, ROWS, listing

from churn_spark import logs

SLOW = {"test_embedders", "test_remote", "test_summarizers", "test_project", "test_notebooks", "test_report",
        "test_figures", "test_verdict", "test_sample", "test_lives", "test_metrics", "test_redaction", "test_documents",
        "test_architecture", "test_interpretation", "test_endpoints"}  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.stem in SLOW:
            item.add_marker(pytest.mark.slow)
        if "spark" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.spark)


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    from churn_spark.spark.session import get_session

    os.environ["FAKE_KEY"] = "sk-secret-0123456789"  # Python workers see the environment of this moment
    folder: Path = tmp_path_factory.mktemp("spark")
    session = get_session(
        "churn_spark tests",
        conf={
            "spark.master": "local[2]",
            "spark.sql.shuffle.partitions": "2",
            "spark.sql.warehouse.dir": str(folder / "warehouse"),
            "spark.local.dir": str(folder / "local"),
            "spark.sql.catalogImplementation": "in-memory",
        },
    )
    yield session
    session.stop()


@pytest.fixture(scope="session")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small generated customer table as CSV."""
    from churn_spark.sample.customers import write_csv

    path = tmp_path_factory.mktemp("raw") / "customers.csv"
    write_csv(path, ROWS, seed=11)
    return path


@pytest.fixture(scope="session")
def output(spark: object, raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output folder after one training and two scoring runs; to be read only."""
    from churn_spark.cli import main

    folder = tmp_path_factory.mktemp("out") / "tables"
    place = ["-q", "--raw", str(raw), "--output", str(folder)]
    assert main(["train", *place, *FAST]) == 0
    for day in ("2026-01-30", "2026-01-31"):
        assert main(["score", *place, *EVERYONE, "--score-date", day]) == 0
    return folder


@pytest.fixture
def own_output(output: Path, tmp_path: Path) -> Path:
    """A copy of `output` for a test that runs a job on it."""
    return Path(shutil.copytree(output, tmp_path / "own"))


@pytest.fixture(autouse=True)
def _log_as_before_any_job() -> None:
    """A job of an earlier test keeps its lines from pytest's handlers, and whether once or twice depends on pytest."""
    log = logging.getLogger(logs.ROOT)
    log.handlers, log.propagate = [], True
    log.setLevel(logging.NOTSET)


@pytest.fixture(autouse=True)
def _output_stays_as_it_is(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail the test that changes what other tests read."""
    if "output" not in request.fixturenames or not (shared := request.getfixturevalue("output")).exists():
        yield
        return
    before = listing(shared)
    yield
    assert listing(shared) == before, "this test changed the shared output: take own_output"
