"""One run of a job: its id, folder, steps and record."""

from __future__ import annotations

import datetime as dt
import json
import logging
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

from churn_spark.contract import published
from churn_spark.errors import Cancelled
from churn_spark.jobs.lineage import emit
from churn_spark.jobs.lock import identity, is_running, lock
from churn_spark.jobs.places import try_place
from churn_spark.jobs.progress import watched
from churn_spark.jobs.record import exit_code, new_record, reason, run_row, write_rows
from churn_spark.jobs.signals import kept
from churn_spark.logs import CONTEXT
from churn_spark.settings.sections import Config
from churn_spark.spark import storage
from churn_spark.spark.classic import active_tasks
from churn_spark.spark.notes.cache import Cache
from churn_spark.spark.session import get_session
from churn_spark.spark.tables import Tables, small_table
from churn_spark.traces import trace

log = logging.getLogger(__name__)

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
        self.record = new_record(self.run_id, job, config, argv=argv, started_at=self.started_at)

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
            with self.step("spark"), kept():
                self._spark = get_session(settings.app_name, conf={**self._permissions(), **settings.conf})
        return self._spark

    @contextmanager
    def private(self) -> Iterator[None]:
        """Let only this user read what the body writes, unless settings or file system say otherwise."""
        before = os.umask(0o077) if self._is_private else None
        try:
            yield
        finally:
            if before is not None:
                os.umask(before)

    @cached_property
    def _is_private(self) -> bool:
        place = self.config.folder
        if not self.config.output.private or self.dry or not storage.is_local(place):
            return self.config.output.private and not self.dry
        refused = try_place(storage.local(place)).get("chmod")
        if refused:
            log.warning("output.private: %s does not know permissions (%s)", place, refused)
        return not refused

    def _permissions(self) -> dict[str, str]:
        """What a session that is started here writes with; one that runs already has its own."""
        return {"spark.hadoop.fs.permissions.umask-mode": "077"} if self._is_private else {}

    @property
    def tables(self) -> Tables:
        return Tables.of(self.config, work=self.work, run_id=self.run_id)

    @cached_property
    def cache(self) -> Cache:
        return Cache(self.config.text_cache, self.run_id)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the job's lock on the output folder, and tell that the run begins; a dry run does neither."""
        if self.dry:
            yield
            return
        with lock(self.config.folder, self.job, self.run_id):
            emit(self.record, self.config)
            yield

    @contextmanager
    def step(self, name: str) -> Iterator[dict[str, Any]]:
        """Time a step, with a log line before and after; the body adds what to report to the dict."""
        facts: dict[str, Any] = {}
        started = time.monotonic()
        outside = CONTEXT.set({"run_id": self.run_id, "job": self.job, "step": name})
        log.info("step=%s starts", name)
        try:
            with watched(name, self._tasks):
                yield facts
            seconds = round(time.monotonic() - started, 2)
            self.record["seconds"][name] = seconds
            self.steps.append({"step": name, "seconds": seconds, **facts})
            log.info("step=%s %s seconds=%.1f", name, " ".join(f"{k}={v}" for k, v in facts.items()), seconds)
        finally:
            CONTEXT.reset(outside)

    def _tasks(self) -> tuple[int, int]:
        return (0, 0) if self._spark is None else active_tasks(self._spark)

    def clear_up(self) -> list[str]:
        """Remove the scratch folders of runs that were killed, and claim this run's; returns their ids."""
        if self.dry or not storage.is_local(self.folder):
            return []
        storage.write_json(storage.join(self.work, OWNER), identity(self.run_id))
        runs = storage.local(self.folder).parent
        dead = [place.parent for place in runs.glob("*/work") if _is_dead(place / OWNER)]
        for folder in dead:
            storage.remove(str(folder / "work"))
        return [folder.name for folder in dead]

    def finish(self, problem: BaseException | None = None) -> int:
        """End the run as its outcome says: `run.json`, `error.txt`, its row in `churn_runs`, the session it started.

        Returns the exit code. What cannot be written any more is logged, so that the cause stays the last word.
        """
        code = 0 if problem is None else exit_code(problem)
        self._end(problem, code)
        if isinstance(problem, Cancelled | KeyboardInterrupt):
            self._interrupt()
        if self.dry:
            shutil.rmtree(storage.local(self.folder).parent, ignore_errors=True)
        else:
            for leave in (self._leave_row, lambda: self._leave_record(problem)):
                try:
                    leave()
                except Exception as failed:
                    log.warning("the run's record could not be written: %s", type(failed).__name__)
            emit(self.record, self.config)
        if self._spark is not None and self._owns_session:
            with suppress(Exception):  # its Java may be dead
                self._spark.stop()
        return code

    def _end(self, problem: BaseException | None, code: int) -> None:
        cancelled = isinstance(problem, Cancelled | KeyboardInterrupt)
        self.record |= {
            "status": "cancelled" if cancelled else "failed" if code else "succeeded",
            "reason": reason(problem),
            "exit_code": code,
            "finished_at": dt.datetime.now(dt.UTC).isoformat(),
        }
        self.record["seconds"]["total"] = round(time.monotonic() - self._clock, 2)

    def _interrupt(self) -> None:
        if self._spark is not None:
            with suppress(Exception):
                self._spark.interruptAll()

    def _leave_row(self) -> None:
        """Add this run to `churn_runs`: a local file without Spark, else by the session where there is one."""
        row = run_row(self.record)
        if (
            self.config.tables.format == "parquet"
            and storage.is_local(self.config.output.path)
            and not self.tables.in_catalog
        ):
            staged = storage.join(self.work, "churn_runs.parquet")
            write_rows([row], staged, published.RUNS)
            target = storage.join(self.tables.location("churn_runs"), f"{self.run_id}-00000.parquet")
            storage.move(staged, target)
        elif self._spark is not None:
            values = tuple(row[f.name] for f in published.RUNS)
            self.tables.append(small_table(self._spark, [values], published.RUNS), "churn_runs")

    def _leave_record(self, problem: BaseException | None) -> None:
        storage.remove(self.work)
        storage.write_json(storage.join(self.folder, "run.json"), self.record)
        if problem is not None:
            storage.write_text(storage.join(self.folder, "error.txt"), trace(problem))


def _is_dead(owner: Path) -> bool:
    """Whether the run of a scratch folder is gone; where its process cannot be seen, after a day."""
    try:
        holder = json.loads(owner.read_text(encoding="utf-8"))
        running = is_running(holder)
        age = time.time() - float(holder["time"])
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return True
    return age > STALE_HOURS * 3600 if running is None else not running
