"""Moves on a file system that cannot rename, as some FUSE mounts."""

import errno
import os
import shutil
from pathlib import Path

import pytest

from churn_spark.spark import storage


@pytest.fixture
def no_rename(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **named: object) -> None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    for name in ("link", "rename", "replace", "chmod"):
        monkeypatch.setattr(os, name, refuse)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a/part").mkdir(parents=True)
    (tmp_path / "a/part/x").write_text("1")
    (tmp_path / "a/y").write_text("2")
    return tmp_path


def content(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*") if p.is_file()}


def test_move_copies_a_folder_where_nothing_is_renamed(folder: Path, no_rename: None) -> None:
    storage.move(str(folder / "a"), str(folder / "new/b"))
    assert content(folder) == {"new/b/part/x": "1", "new/b/y": "2"}


@pytest.mark.parametrize("killed_in", ["copyfile", "rmtree"])
def test_move_is_completed_after_a_kill(
    folder: Path, no_rename: None, monkeypatch: pytest.MonkeyPatch, killed_in: str
) -> None:
    def killed(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as during:
        during.setattr(shutil, killed_in, killed)
        with pytest.raises(KeyboardInterrupt):
            storage.move(str(folder / "a"), str(folder / "b"))
    if killed_in == "rmtree":  # which had begun
        (folder / "a/y").unlink()
    storage.move(str(folder / "a"), str(folder / "b"))
    assert content(folder) == {"b/part/x": "1", "b/y": "2"}


def test_move_does_not_replace_what_is_there(folder: Path, no_rename: None) -> None:
    (folder / "b").mkdir()
    with pytest.raises(FileExistsError):
        storage.move(str(folder / "a"), str(folder / "b"))
    assert (folder / "a/y").exists()


def test_move_passes_on_every_other_refusal(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise PermissionError(errno.EACCES, "no")

    monkeypatch.setattr(os, "rename", refuse)
    with pytest.raises(PermissionError):
        storage.move(str(folder / "a"), str(folder / "b"))


def test_move_if_free_gives_way(folder: Path, no_rename: None) -> None:
    assert storage.move_if_free(str(folder / "a/y"), str(folder / "z"))
    assert not storage.move_if_free(str(folder / "a/part/x"), str(folder / "z"))
    assert content(folder) == {"a/part/x": "1", "z": "2"}


def test_write_text_and_put_replace_a_file(folder: Path, no_rename: None) -> None:
    storage.write_text(str(folder / "a/y"), "3")
    storage.put(str(folder / "a/part/x"), str(folder / "a/y"))
    assert content(folder) == {"a/y": "1"}
