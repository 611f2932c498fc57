"""One run of a job: its id, folder, lock, steps and record."""

from __future__ import annotations

import datetime as dt
import json
import logging
import os
import platform
import secrets
import shutil
import socket
import tempfile
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

from churn_spark import __version__
from churn_spark.contract import published as schemas
from churn_spark.errors import ChurnError, LockedError
from churn_spark.settings.sections import Config
from churn_spark.spark import storage
from churn_spark.spark.notes.cache import Cache
from churn_spark.spark.session import get_session
from churn_spark.spark.tables import Tables, small_table

log = logging.getLogger(__name__)

VERSIONS = (
    "pyspark",
    "xgboost",
    "pandas",
    "pyarrow",
    "numpy",
    "torch",
    "sentence-transformers",
    "scikit-learn",
)
STALE_HOURS = 24
OWNER = "owner.json"  # in a scratch folder: the process it belongs to


class Run:
    """What every job needs to know of its own run, and the record it leaves in `run.json`."""

    def __init__(
        self,
        job: str,
        config: Config,
        *,
        argv: Sequence[str] = (),
        limit: int | None = None,
        dry: bool = False,
    ) -> None:
        self.job, self.config, self.limit, self.dry = job, config, limit, dry
        self.started_at = dt.datetime.now(dt.UTC)
        self.run_id = f"{self.started_at:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
        self._clock = time.monotonic()
        self._spark: SparkSession | None = None
        self._owns_session = False
        base = tempfile.mkdtemp(prefix="churn_spark-") if dry else storage.join(config.folder, "_runs")
        self.folder = storage.join(base, self.run_id)
        self.steps: list[dict[str, Any]] = []
        self.record: dict[str, Any] = {
            "run_id": self.run_id,
            "job": job,
            "status": "running",
            "reason": None,
            "exit_code": None,
            "started_at": self.started_at.isoformat(),
            "finished_at": None,
            "argv": list(argv),
            "config": config.model_dump(mode="json", by_alias=True),
            "config_hash": config.fingerprint(),
            "code_version": __version__,
            "versions": {"python": platform.python_version(), **{n: _version(n) for n in VERSIONS}},
            "input": config.raw,
            "label_basis": config.contract.label_basis,
            "rows": {"in": 0, "valid": 0, "rejected": 0, "duplicates": 0, "scored": 0},
            "text": {},
            "seconds": {},
            "model_id": None,
            "metrics": {},
        }

    @property
    def work(self) -> str:
        """The run's scratch folder, removed when the run ends."""
        return storage.join(self.folder, "work")

    @property
    def spark(self) -> SparkSession:
        """The session, started when first needed."""
        if self._spark is None:
            settings = self.config.spark
            self._owns_session = SparkSession.getActiveSession() is None
            with self.step("spark"):
                self._spark = get_session(settings.app_name, conf=settings.conf)
        return self._spark

    @property
    def tables(self) -> Tables:
        return Tables.of(self.config, work=self.work, run_id=self.run_id)

    @cached_property
    def cache(self) -> Cache:
        return Cache(self.config.text_cache, self.run_id)

    def locked(self) -> AbstractContextManager[None]:
        """Hold the job's lock on the output folder; a dry run needs none."""
        return nullcontext() if self.dry else lock(self.config.folder, self.job, self.run_id)

    @contextmanager
    def step(self, name: str) -> Iterator[dict[str, Any]]:
        """Time a step and log one line when it is done; the body adds what to report to the dict."""
        facts: dict[str, Any] = {}
        started = time.monotonic()
        yield facts
        seconds = round(time.monotonic() - started, 2)
        self.record["seconds"][name] = seconds
        self.steps.append({"step": name, "seconds": seconds, **facts})
        log.info("step=%s %s seconds=%.1f", name, " ".join(f"{k}={v}" for k, v in facts.items()), seconds)

    def clear_up(self) -> list[str]:
        """Remove the scratch folders of runs that were killed, and claim this run's; returns their ids."""
        if self.dry or not storage.is_local(self.folder):
            return []
        storage.write_json(storage.join(self.work, OWNER), _me(self.run_id))
        runs = storage.local(self.folder).parent
        dead = [p.parent for p in runs.glob("*/work") if _is_stale(_holder(p / OWNER))]
        for folder in dead:
            storage.remove(str(folder / "work"))
        return [folder.name for folder in dead]

    def publish(self) -> None:
        """Add the row of a run that succeeded to `churn_runs`."""
        if self.dry:
            return
        record, rows, text = self.record, self.record["rows"], self.record["text"]
        day = record.get("score_date")
        values = (
            self.run_id, self.job, "succeeded", None, 0, self.started_at, dt.datetime.now(dt.UTC),
            round(time.monotonic() - self._clock, 2), record["config_hash"], record["code_version"],
            record["input"], record["model_id"], record["label_basis"], dt.date.fromisoformat(day) if day else None,
            rows["in"], rows["valid"], rows["rejected"], rows["duplicates"], rows["scored"],
            text.get("notes"), text.get("distinct"), text.get("summaries_computed"),
            text.get("embeddings_computed"), record["metrics"].get("roc_auc"),
        )  # fmt: skip
        self.tables.append(small_table(self.spark, [values], schemas.RUNS), "churn_runs")

    def finish(self, problem: BaseException | None = None) -> int:
        """Write `run.json` (and `error.txt`), remove the scratch folder, stop a session that this run started.

        Returns the exit code.
        """
        code = 0 if problem is None else exit_code(problem)
        finished = dt.datetime.now(dt.UTC)
        self.record |= {
            "status": "failed" if code else "succeeded",
            "reason": str(problem)
            if isinstance(problem, ChurnError)
            else type(problem).__name__
            if problem
            else None,
            "exit_code": code,
            "finished_at": finished.isoformat(),
        }
        self.record["seconds"]["total"] = round(time.monotonic() - self._clock, 2)
        if self.dry:
            shutil.rmtree(storage.local(self.folder).parent, ignore_errors=True)
        else:
            try:
                self._leave_record(problem)
            except OSError as failed:
                log.warning("the run record could not be written: %s", type(failed).__name__)
        if self._spark is not None and self._owns_session:
            self._spark.stop()
        return code

    def _leave_record(self, problem: BaseException | None) -> None:
        storage.remove(self.work)
        storage.write_json(storage.join(self.folder, "run.json"), self.record)
        if problem is not None:
            text = "".join(traceback.format_exception(problem))
            storage.write_text(storage.join(self.folder, "error.txt"), text)


def exit_code(problem: BaseException) -> int:
    return problem.exit_code if isinstance(problem, ChurnError) else 1


@contextmanager
def lock(folder: str, job: str, run_id: str) -> Iterator[None]:
    """Hold the one lock of a job and output folder. Raises LockedError while another run holds it.

    A lock whose process is gone (same host), or that is older than a day, is stale and taken over. On object
    stores there is no exclusive create: there the scheduler must not start two runs at once.
    """
    path = storage.join(folder, "_runs", f"{job}.lock")
    if not storage.is_local(path):
        yield
        return
    place = storage.local(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    mine = _me(run_id)
    try:
        _create(place, mine)
    except FileExistsError:
        holder = _holder(place)
        if not _is_stale(holder) or not _taken_over(place, holder, mine):
            raise LockedError(
                f"run {holder.get('run_id')} holds the {job} lock",
                where=path,
                fix="wait for it to end; if it is gone for certain, delete the file",
            ) from None
    try:
        yield
    finally:
        if _holder(place).get("run_id") == run_id:
            place.unlink(missing_ok=True)


def _me(run_id: str) -> dict[str, Any]:
    return {"run_id": run_id, "pid": os.getpid(), "host": socket.gethostname(), "time": time.time()}


def _create(place: Path, content: Mapping[str, Any]) -> None:
    """Make the lock with its content in one step, so that nobody reads half of it."""
    written = place.with_name(f".{place.name}.{content['run_id']}")
    written.write_text(json.dumps(content), encoding="utf-8")
    try:
        os.link(written, place)
    finally:
        written.unlink()


def _taken_over(place: Path, stale: Mapping[str, Any], mine: Mapping[str, Any]) -> bool:
    """Put one's own lock in the place of a stale one; only one of several runs that try succeeds."""
    aside = place.with_name(f"{place.name}.{mine['run_id']}")
    try:
        place.rename(aside)
        if _holder(aside) != stale:  # another run was quicker, and this is its lock
            os.link(aside, place)
            return False
        _create(place, mine)
    except (FileNotFoundError, FileExistsError):
        return False
    finally:
        aside.unlink(missing_ok=True)
    return True


def _holder(place: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(place.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def _is_stale(holder: Mapping[str, Any]) -> bool:
    """Here the process decides; for a lock of another machine, or one that cannot be read, its age."""
    if holder.get("host") != socket.gethostname():
        return time.time() - float(holder.get("time", 0)) > STALE_HOURS * 3600
    try:
        os.kill(int(holder["pid"]), 0)
    except ProcessLookupError:
        return True
    except (PermissionError, KeyError, ValueError):
        return False
    return False


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
