"""Small files and renames on whatever file system a path is on: local disk by Python, others by Hadoop."""

from __future__ import annotations

import ctypes
import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import tempfile
from pathlib import Path
from typing import Any

from churn_spark.settings.locations import is_local as is_local
from churn_spark.spark.classic import hadoop

CANNOT_RENAME = (errno.EOPNOTSUPP, errno.ENOSYS, errno.EXDEV)  # some FUSE mounts; another file system
OBJECT_STORES = ("s3", "s3a", "s3n", "gs", "wasb", "wasbs", "oss", "cos")  # a rename copies there


def local(path: str) -> Path:
    """The plain path of a local location."""
    return Path(re.sub(r"^file:/*", "/", path))


def join(*parts: str) -> str:
    return "/".join(p.rstrip("/") if i == 0 else p.strip("/") for i, p in enumerate(parts) if p)


def exists(path: str) -> bool:
    if is_local(path):
        return local(path).exists()
    fs, hadoop_path = hadoop(path)
    return bool(fs.exists(hadoop_path))


def names(path: str) -> list[str]:
    """The names of a folder's entries, sorted; none where there is no folder."""
    if is_local(path):
        return sorted(os.listdir(local(path))) if local(path).is_dir() else []
    fs, hadoop_path = hadoop(path)
    return sorted(s.getPath().getName() for s in fs.listStatus(hadoop_path)) if fs.exists(hadoop_path) else []


def data_files(path: str) -> list[str]:
    """The names of a folder's Parquet files, sorted."""
    return [n for n in names(path) if n.endswith(".parquet") and not n.startswith(("_", "."))]


def size(path: str) -> int:
    """A file's bytes."""
    if is_local(path):
        return local(path).stat().st_size
    fs, hadoop_path = hadoop(path)
    return int(fs.getFileStatus(hadoop_path).getLen())


def sha256(path: str) -> str:
    """The hash of a file's content."""
    with tempfile.TemporaryDirectory() as folder, fetch(path, folder).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def data_size(path: str) -> int:
    """The bytes of a folder's Parquet files."""
    return sum(size(join(path, name)) for name in data_files(path))


def move(source: str, target: str) -> None:
    """Rename within one file system, making the target's parents; the target must not exist."""
    if is_local(source):
        local(target).parent.mkdir(parents=True, exist_ok=True)
        _rename(local(source), local(target))
        return
    fs, source_path = hadoop(source)
    _, target_path = hadoop(target)
    fs.mkdirs(target_path.getParent())
    if not fs.rename(source_path, target_path):
        raise OSError(f"could not rename {source} to {target}")


def _rename(source: Path, target: Path) -> None:
    """Rename; where the file system cannot, copy, in steps that the same call completes after a kill.

    A marker beside the target says whether it is whole. Raises FileExistsError where the target is another's.
    """
    try:
        os.rename(source, target)
        return
    except OSError as problem:
        if problem.errno not in CANNOT_RENAME:
            raise
    marker = target.with_name(f".{target.name}.copying")
    if target.exists() and not marker.exists():
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
    if not marker.exists() or marker.read_text() != "whole":
        marker.touch()
        remove(str(target))
        _copy(source, target)
        marker.write_text("whole")
    remove(str(source))
    marker.unlink()


def _replace(source: Path, target: Path) -> None:
    """Rename over a file that is there, or copy over it."""
    try:
        os.replace(source, target)
    except OSError as problem:
        if problem.errno not in CANNOT_RENAME:
            raise
        _copy(source, target)
        remove(str(source))


def _copy(source: Path, target: Path) -> None:
    """Copy a file or folder, names and content only: not every mount knows permissions and times."""
    if not source.is_dir():
        shutil.copyfile(source, target)
        return
    target.mkdir(exist_ok=True)
    for entry in source.iterdir():
        _copy(entry, target / entry.name)


def exchange(one: str, other: str) -> bool:
    """Let two folders change places in one step; False, and nothing done, where the file system cannot.

    Linux's renameat2 does it on ext4, XFS, Btrfs and tmpfs; network, FUSE and Hadoop file systems do not.
    """
    if not is_local(one):
        return False
    try:
        renameat2 = ctypes.CDLL(None).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    here, flag = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return bool(renameat2(here, os.fsencode(local(one)), here, os.fsencode(local(other)), flag) == 0)


def move_if_free(source: str, target: str) -> bool:
    """Rename, unless the target is there: then False. Of several that try at once, one succeeds."""
    if is_local(source):
        place = local(target)
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(local(source), place)
        except FileExistsError:
            return False
        except OSError:  # a file system without links
            if place.exists():
                return False
            _rename(local(source), place)
            return True
        local(source).unlink()
        return True
    fs, source_path = hadoop(source)
    _, target_path = hadoop(target)
    fs.mkdirs(target_path.getParent())
    if fs.exists(target_path):
        return False
    if fs.rename(source_path, target_path):
        return True
    if fs.exists(target_path):
        return False
    raise OSError(f"could not rename {source} to {target}")


def remove(path: str) -> None:
    """Delete a file or folder with all it holds; nothing where there is none."""
    if is_local(path):
        place = local(path)
        shutil.rmtree(place) if place.is_dir() else place.unlink(missing_ok=True)
        return
    fs, hadoop_path = hadoop(path)
    fs.delete(hadoop_path, True)


def read_text(path: str) -> str:
    if is_local(path):
        return local(path).read_text(encoding="utf-8", errors="replace")
    with tempfile.TemporaryDirectory() as folder:
        return fetch(path, folder).read_text(encoding="utf-8", errors="replace")


def write_text(path: str, text: str) -> None:
    """Write a small file so that a reader sees the old one or the new one, never half of it."""
    if is_local(path):
        target = local(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
        temporary.write_text(text, encoding="utf-8")
        _replace(temporary, target)
        return
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "file").write_text(text, encoding="utf-8")
        put(str(Path(folder) / "file"), path)


def write_json(path: str, value: Any) -> None:
    write_text(path, json.dumps(value, indent=2, default=str) + "\n")


def put(source: str, target: str) -> None:
    """Move a local file or folder to its place as a whole, replacing a file that is there."""
    if is_local(target):
        local(target).parent.mkdir(parents=True, exist_ok=True)
        _replace(local(source), local(target))
        return
    fs, hadoop_path = hadoop(target)
    _, source_path = hadoop(f"file://{Path(source).resolve()}")
    fs.copyFromLocalFile(True, True, source_path, hadoop_path)


def fetch(source: str, folder: str) -> Path:
    """The local path of a file or folder, copied into `folder` where it is not on local disk."""
    if is_local(source):
        return local(source)
    fs, hadoop_path = hadoop(source)
    target = Path(folder) / source.rstrip("/").rpartition("/")[2]
    _, target_path = hadoop(f"file://{target.resolve()}")
    fs.copyToLocalFile(False, hadoop_path, target_path, True)
    return target
