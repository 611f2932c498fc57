"""The lock: one holder, no ghosts, and a way on every file system."""

import errno
import fcntl
import json
import os
import signal
import socket
import threading
from pathlib import Path

import pytest

from churn_spark.errors import LockedError
from churn_spark.jobs import lock as module
from churn_spark.jobs.doctor import place_checks
from churn_spark.jobs.lock import identity, is_running, lock, unlock
from churn_spark.jobs.places import ATTEMPTS, try_place

HERE = {"boot": module._boot(), "namespace": module._namespace(), "host": socket.gethostname()}
ELSEWHERE = {"boot": "another-kernel", "run_id": "theirs", "pid": 1, "host": HERE["host"]}


def left_behind(folder: Path, content: object, *, seconds_ago: float = 0) -> Path:
    place = folder / "_runs/train.lock"
    place.parent.mkdir(exist_ok=True)
    place.write_text(content if isinstance(content, str) else json.dumps(content))
    then = place.stat().st_mtime - seconds_ago
    os.utime(place, (then, then))
    return place


def run_id_in(folder: Path) -> str:
    return json.loads((folder / "_runs/train.lock").read_text())["run_id"]


def test_lock_refuses_a_second_holder_and_frees_itself(tmp_path):
    with (
        lock(str(tmp_path), "train", "r1"),
        pytest.raises(LockedError, match="run r1 holds the train lock"),
        lock(str(tmp_path), "train", "r2"),
    ):
        pass
    with lock(str(tmp_path), "train", "r3"):
        pass
    assert os.listdir(tmp_path / "_runs") == []


@pytest.mark.parametrize(
    "holder",
    [
        {**HERE, "run_id": "killed", "pid": 2**22 - 1, "started": 5},
        {
            **HERE,
            "run_id": "ghost",
            "pid": os.getpid(),
            "started": -1,
        },  # a restarted container has the same pid
        {**HERE, "run_id": "ghost", "pid": 1, "started": 5, "namespace": "pid:[1]"},  # another container's
    ],
)
def test_lock_of_a_dead_process_of_this_machine_is_taken_over_at_once(tmp_path, holder):
    left_behind(tmp_path, holder)
    with lock(str(tmp_path), "train", "r1"):
        assert run_id_in(tmp_path) == "r1"


def test_lock_of_a_killed_process_is_taken_over_at_once(tmp_path):
    child = os.fork()
    if not child:
        with lock(str(tmp_path), "train", "killed"):
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert run_id_in(tmp_path) == "killed"
    with lock(str(tmp_path), "train", "r1"):
        assert run_id_in(tmp_path) == "r1"


@pytest.mark.parametrize("content", [ELSEWHERE, "{half", ""])
def test_lock_that_cannot_be_judged_stands_for_the_lease_and_no_longer(tmp_path, content):
    left_behind(tmp_path, content, seconds_ago=module.LEASE_SECONDS - 10)
    with pytest.raises(LockedError), lock(str(tmp_path), "train", "r1"):
        pass
    left_behind(tmp_path, content, seconds_ago=module.LEASE_SECONDS + 10)
    with lock(str(tmp_path), "train", "r1"):
        assert run_id_in(tmp_path) == "r1"


def test_lock_that_another_process_has_locked_stands_however_old(tmp_path):
    place = left_behind(tmp_path, {**HERE, "run_id": "suspended", "pid": 1, "started": -1}, seconds_ago=9e6)
    with place.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(LockedError, match="suspended"), lock(str(tmp_path), "train", "r1"):
            pass


def test_lock_of_a_run_that_took_over_first_stands(tmp_path, monkeypatch):
    """Between the look at a stale lock and its removal, another run has taken it over."""
    place = left_behind(tmp_path, {**ELSEWHERE, "run_id": "new"})
    looks = iter([module.Look(b'{"run_id": "dead"}', 0)])
    real = module._look
    monkeypatch.setattr(module, "_look", lambda place: next(looks, None) or real(place))
    with pytest.raises(LockedError, match="run new"), lock(str(tmp_path), "train", "r1"):
        pass
    assert json.loads(place.read_text())["run_id"] == "new"
    assert os.listdir(place.parent) == ["train.lock"]


def refuse(*args, **kwargs):
    raise OSError(errno.ENOSYS, "not here")


def without_exclusive(path, flags, *args, **kwargs):
    if flags & os.O_EXCL:
        refuse()
    return OPEN(path, flags, *args, **kwargs)


OPEN = os.open
MISSING = {
    "link": [(os, "link", refuse)],
    "link and exclusive create": [(os, "link", refuse), (os, "open", without_exclusive)],
    "link and rename": [(os, "link", refuse), (Path, "rename", refuse)],
    "locks": [(fcntl, "flock", refuse)],
    "all": [
        (os, "link", refuse),
        (os, "open", without_exclusive),
        (Path, "rename", refuse),
        (fcntl, "flock", refuse),
    ],
}


@pytest.mark.parametrize("missing", MISSING)
def test_lock_knows_another_way_where_the_file_system_lacks(tmp_path, monkeypatch, missing):
    monkeypatch.setattr(module, "SETTLE_SECONDS", 0)
    for target, name, replacement in MISSING[missing]:
        monkeypatch.setattr(target, name, replacement)
    left_behind(tmp_path, {**HERE, "run_id": "killed", "pid": os.getpid(), "started": -1})
    with lock(str(tmp_path), "train", "r1"):
        with pytest.raises(LockedError, match="r1"), lock(str(tmp_path), "train", "r2"):
            pass
        assert run_id_in(tmp_path) == "r1"
    assert os.listdir(tmp_path / "_runs") == []


def test_lock_waits_for_a_mount_that_removes_no_open_file(tmp_path, monkeypatch):
    """As libfuse does where rename is missing: it lets go of a file some time after it was closed."""
    refusals = iter([True] * 3)

    def unlink(place, missing_ok=False):
        return refuse() if next(refusals, False) else UNLINK(place, missing_ok=missing_ok)

    monkeypatch.setattr(os, "link", refuse)
    with lock(str(tmp_path), "train", "r1"):
        monkeypatch.setattr(Path, "unlink", unlink)
    assert os.listdir(tmp_path / "_runs") == []


UNLINK = Path.unlink


def test_lock_that_was_taken_away_ends_the_run_and_stays_the_others(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "RENEW_SECONDS", 0.01)
    monkeypatch.setattr(signal, "getsignal", lambda number: signal.SIG_DFL)
    noticed = threading.Event()
    monkeypatch.setattr(module.log, "error", lambda *words: noticed.set())

    def hold():
        with lock(str(tmp_path), "train", "r1"):
            left_behind(tmp_path, {"run_id": "other"})
            noticed.wait(10)

    with pytest.raises(LockedError, match="took the lock over"):
        hold()
    assert run_id_in(tmp_path) == "other"


def test_renewal_makes_a_lock_young_again(tmp_path):
    lease = module._take(left_behind(tmp_path, "x").parent / "score.lock", "r1")
    os.utime(lease.place, (0, 0))
    assert module._renewed(lease)
    assert lease.place.stat().st_mtime > 1e9
    assert lease.place.read_bytes() == lease.content
    lease.place.unlink()
    assert not module._renewed(lease)
    os.close(lease.file)


def test_unlock_removes_what_is_left_behind_and_names_what_is_held(tmp_path):
    left_behind(tmp_path, {**HERE, "run_id": "killed", "pid": 2**22 - 1, "started": 5})
    with lock(str(tmp_path), "score", "alive"):
        with pytest.raises(LockedError, match="run alive still holds"):
            unlock(str(tmp_path))
        assert os.listdir(tmp_path / "_runs") == ["score.lock"]
        assert "of run alive" in unlock(str(tmp_path), force=True)[0]
    assert unlock(str(tmp_path)) == [f"no lock is held in {tmp_path}"]


def test_identity_is_that_of_a_running_process(tmp_path):
    me = json.loads(json.dumps(identity("r1")))
    assert is_running(me) is True
    assert is_running({**me, "started": me["started"] - 1}) is False
    assert is_running({**me, "pid": 2**22 - 1}) is False
    assert is_running({**me, "namespace": "pid:[1]"}) is None
    assert is_running({}) is None


@pytest.mark.parametrize(
    ("owner", "name", "ok"), [(os, "link", True), (Path, "rename", True), (Path, "chmod", False)]
)
def test_doctor_passes_a_place_for_which_another_way_is_known(tmp_path, monkeypatch, owner, name, ok):
    monkeypatch.setattr(owner, name, refuse)
    [check] = place_checks({"output": str(tmp_path)})
    assert check.ok is ok
    assert f"no {name}" in check.found


def test_try_place_names_what_a_file_system_refuses(tmp_path, monkeypatch):
    assert try_place(tmp_path / "new") == dict.fromkeys(ATTEMPTS, "")
    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(Path, "chmod", refuse)
    refused = {name: words for name, words in try_place(tmp_path / "new").items() if words}
    assert refused == {"link": "not here", "chmod": "not here"}
    assert os.listdir(tmp_path / "new") == []
    (tmp_path / "file").write_text("")
    assert "write" in try_place(tmp_path / "file" / "below")
