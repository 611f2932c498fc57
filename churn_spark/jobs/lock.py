"""The one lock of a job and output folder: a lease that its holder renews, and that a dead holder cannot keep.

Whether the holder lives is asked of the kernel first: it holds the file's lock (flock), which no crash survives and
which reaches across containers. Where that cannot tell, the process by number and start time decides, and for a
holder on another machine the age of the lease, by the file system's own clock.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from churn_spark.errors import LockedError
from churn_spark.spark import storage

log = logging.getLogger(__name__)

RENEW_SECONDS, LEASE_SECONDS = 60, 300
SETTLE_SECONDS = 2.0  # how long two that write at once, where nothing is exclusive, wait for each other
UNSUPPORTED = (errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


class Lease(NamedTuple):
    """A lock that is held: its file, open and locked by this process, and what stands in it."""

    place: Path
    file: int
    content: bytes


class Look(NamedTuple):
    """A lock file as it was at one moment; a renewal or another holder makes another look."""

    content: bytes
    changed: int

    @property
    def holder(self) -> dict[str, Any]:
        """Who wrote it; empty where that cannot be read."""
        try:
            return dict(json.loads(self.content))
        except (ValueError, TypeError):
            return {}


@contextmanager
def lock(folder: str, job: str, run_id: str) -> Iterator[None]:
    """Hold the one lock of a job and output folder; a lock whose holder is gone is taken over.

    Raises LockedError while another run holds it, and at the end where another took it meanwhile. On object stores
    there is no exclusive create: there the scheduler must not start two runs at once.
    """
    path = storage.join(folder, "_runs", f"{job}.lock")
    if not storage.is_local(path):
        yield
        return
    place = storage.local(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    lease = _take(place, run_id)
    done, lost = threading.Event(), threading.Event()
    renewal = threading.Thread(target=_keep, args=(lease, done, lost), daemon=True)
    renewal.start()
    try:
        yield
    finally:
        done.set()
        renewal.join()
        _release(lease)
        if lost.is_set():
            raise LockedError("another run took the lock over", where=path, fix="run again when it has ended")


def unlock(folder: str, *, force: bool = False) -> list[str]:
    """Remove the locks of an output folder whose holders are gone, or all with `force`; returns a line for each.

    Raises LockedError for a lock that is held, after the others were removed.
    """
    places = sorted((storage.local(folder) / "_runs").glob("*.lock")) if storage.is_local(folder) else []
    lines, held = [], []
    for place in places:
        look = _look(place)
        if look is None:
            continue
        if force or _is_stale(place, look, now=time.time()):
            place.unlink(missing_ok=True)
            lines.append(f"removed {place}, of {_named(look)}")
        else:
            held.append((place, look))
    if held:
        raise LockedError(
            f"{_named(held[0][1])} still holds it",
            where=str(held[0][0]),
            fix="end that run; or, if it is gone for certain: churn-spark unlock --force",
        )
    return lines or [f"no lock is held in {folder}"]


def identity(run_id: str) -> dict[str, Any]:
    """This process, so that neither its successor nor a restarted container can be taken for it."""
    return {
        "run_id": run_id, "pid": os.getpid(), "host": socket.gethostname(), "boot": _boot(),
        "namespace": _namespace(), "started": _started(os.getpid()), "time": time.time(),
    }  # fmt: skip


def is_running(holder: Mapping[str, Any]) -> bool | None:
    """Whether the process that wrote `identity` runs; None where that cannot be seen from here."""
    here = (_boot(), _namespace())
    if (holder.get("boot"), holder.get("namespace")) != here or not isinstance(holder.get("pid"), int):
        return None
    return _started(holder["pid"]) == holder.get("started")


# -- taking ---------------------------------------------------------------------------------------------


def _take(place: Path, run_id: str) -> Lease:
    content = json.dumps(identity(run_id)).encode()
    candidate = place.with_name(f".{place.name}.{run_id}")
    candidate.unlink(missing_ok=True)
    written = _written(candidate, content, os.O_CREAT | os.O_TRUNC)
    file = None
    try:
        file = _put(candidate, place, written, content)
        if file is None:
            _refuse_or_set_aside(place, run_id, now=candidate.stat().st_mtime)
            file = _put(candidate, place, written, content)
        if file is None:
            raise _held(place, _look(place))
    finally:
        if file != written:
            os.close(written)
        _unlink(candidate)
    return Lease(place, file, content)


def _written(place: Path, content: bytes, flags: int) -> int:
    """Open, lock and write a file; stays open, since closing it would free the lock."""
    file = os.open(place, os.O_RDWR | flags, 0o600)
    with suppress(OSError):  # a file system without locks
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.write(file, content)
    return file


def _put(candidate: Path, place: Path, written: int, content: bytes) -> int | None:
    """Make the lock file in one step, as a link or else by exclusive create; None where there is one already."""
    try:
        os.link(candidate, place)
        return written
    except FileExistsError:
        return None
    except OSError as problem:
        log.debug("no hard links in %s: %s", place.parent, problem.strerror)
    try:
        return _written(place, content, os.O_CREAT | os.O_EXCL)
    except FileExistsError:
        return None
    except OSError as problem:
        if problem.errno not in UNSUPPORTED:
            raise
    return _written_last(place, content)


def _written_last(place: Path, content: bytes) -> int | None:
    """Where nothing is exclusive: of several that write at once, the last one holds the lock."""
    if place.exists():
        return None
    file = _written(place, content, os.O_CREAT)
    time.sleep(SETTLE_SECONDS)
    if place.read_bytes() == content:
        return file
    os.close(file)
    return None


def _refuse_or_set_aside(place: Path, run_id: str, *, now: float) -> None:
    """Remove a stale lock, and only that one. Raises LockedError for one that is held."""
    look = _look(place)
    if look is None:
        return
    if not _is_stale(place, look, now=now):
        raise _held(place, look)
    aside = place.with_name(f"{place.name}.{run_id}")
    try:
        place.rename(aside)
    except FileNotFoundError:
        return
    except OSError:  # a file system without rename
        place.unlink(missing_ok=True)
        return
    if _look(aside) == look:
        aside.unlink()
        return
    _put_back(aside, place)  # another run was quicker, and this is its lock
    raise _held(place, _look(place))


def _put_back(aside: Path, place: Path) -> None:
    try:
        os.link(aside, place)
    except FileExistsError:
        pass
    except OSError:
        if not place.exists():
            aside.rename(place)
    aside.unlink(missing_ok=True)


# -- keeping --------------------------------------------------------------------------------------------


def _keep(lease: Lease, done: threading.Event, lost: threading.Event) -> None:
    """Renew the lease until the work is done; a lost one ends the run as SIGTERM would."""
    while not done.wait(RENEW_SECONDS):
        if not _renewed(lease):
            lost.set()
            log.error("another run took the lock %s over", lease.place)
            if callable(signal.getsignal(signal.SIGTERM)):
                os.kill(os.getpid(), signal.SIGTERM)
            return


def _renewed(lease: Lease) -> bool:
    """Write the same bytes again, so that no reader sees half of them; False where the lock is another's."""
    try:
        if lease.place.read_bytes() != lease.content:
            return False
        os.pwrite(lease.file, lease.content, 0)
        os.fsync(lease.file)
    except FileNotFoundError:
        return False
    except OSError as problem:
        log.warning("the lock %s could not be renewed: %s", lease.place, problem.strerror)
    return True


def _release(lease: Lease) -> None:
    """Remove the lock file while it is still locked, so that nobody takes over what is about to go; else after that."""
    try:
        if lease.place.read_bytes() == lease.content:
            lease.place.unlink()
    except OSError:
        os.close(lease.file)
        with suppress(OSError):
            if lease.place.read_bytes() == lease.content:
                _unlink(lease.place)
    else:
        os.close(lease.file)


def _unlink(place: Path) -> None:
    """Remove a file. A mount without rename refuses while it is open there, which lasts longer than it is here."""
    for _ in range(100):
        try:
            place.unlink(missing_ok=True)
            return
        except OSError as problem:
            if problem.errno not in UNSUPPORTED:
                raise
        time.sleep(0.02)
    log.warning("%s could not be removed", place)


# -- judging --------------------------------------------------------------------------------------------


def _is_stale(place: Path, look: Look, *, now: float) -> bool:
    if look.holder.get("boot") == _boot():
        lives = _is_locked(place)
        lives = is_running(look.holder) if lives is None else lives
        if lives is not None:
            return not lives
    return now - look.changed / 1e9 > LEASE_SECONDS


def _is_locked(place: Path) -> bool | None:
    """Whether some process of this machine has the file locked; None where its file system has no locks."""
    try:
        file = os.open(place, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return None
    finally:
        os.close(file)
    return False


def _look(place: Path) -> Look | None:
    """The lock file now; None where there is none."""
    try:
        return Look(place.read_bytes(), place.stat().st_mtime_ns)
    except FileNotFoundError:
        return None
    except OSError:
        return Look(b"", place.stat().st_mtime_ns)


def _held(place: Path, look: Look | None) -> LockedError:
    return LockedError(
        f"{_named(look)} holds the {place.stem} lock",
        where=str(place),
        fix="wait for it to end; if it is gone for certain: churn-spark unlock --output FOLDER",
    )


def _named(look: Look | None) -> str:
    return f"run {look.holder['run_id']}" if look and look.holder.get("run_id") else "an unknown run"


def _boot() -> str:
    """The running kernel; a machine without /proc is known by its name."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return socket.gethostname()


def _namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _started(pid: int) -> int | None:
    """When a process started, in ticks since boot; None where it does not run."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return None
