"""A FUSE mount that shows a folder without links, rename and permissions: `python refusing_fs.py FOLDER MOUNT`.

Changes of permissions are ignored, as most mounts do: where they are an error, Spark itself makes no folder. Needs
libfuse and the package mfusepy.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from typing import Any

from mfusepy import FUSE, FuseOSError, Operations

STAT = ("st_mode", "st_nlink", "st_size", "st_uid", "st_gid")
TIMES = ("st_atime", "st_mtime", "st_ctime")
SPACE = ("f_bavail", "f_bfree", "f_blocks", "f_bsize", "f_files", "f_ffree", "f_frsize", "f_namemax")


def asked(work: Callable[..., Any], *arguments: Any) -> Any:
    """What the folder below answers, its errors as FUSE's."""
    try:
        return work(*arguments)
    except OSError as problem:
        raise FuseOSError(problem.errno) from None


class Refusing(Operations):  # type: ignore[misc]
    """Passes on what it is asked for, but for what it refuses."""

    use_ns = True

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def _at(self, path: str) -> str:
        return os.path.join(self.folder, path.lstrip("/"))

    def getattr(self, path: str, fh: int | None = None) -> dict[str, int]:
        found = asked(os.lstat, self._at(path))
        return {n: getattr(found, n) for n in STAT} | {n: getattr(found, f"{n}_ns") for n in TIMES}

    def readdir(self, path: str, fh: int) -> list[str]:
        return [".", "..", *asked(os.listdir, self._at(path))]

    def mkdir(self, path: str, mode: int) -> None:
        asked(os.mkdir, self._at(path), mode)

    def rmdir(self, path: str) -> None:
        asked(os.rmdir, self._at(path))

    def unlink(self, path: str) -> None:
        asked(os.unlink, self._at(path))

    def create(self, path: str, mode: int, fi: object = None) -> int:
        return int(asked(os.open, self._at(path), os.O_RDWR | os.O_CREAT, mode))

    def open(self, path: str, flags: int) -> int:
        return int(asked(os.open, self._at(path), flags & ~os.O_APPEND))

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        return bytes(asked(os.pread, fh, size, offset))

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        return int(asked(os.pwrite, fh, data, offset))

    def truncate(self, path: str, length: int, fh: int | None = None) -> None:
        asked(os.truncate, self._at(path), length)

    def fsync(self, path: str, datasync: bool, fh: int) -> None:
        asked(os.fsync, fh)

    def release(self, path: str, fh: int) -> None:
        os.close(fh)

    def utimens(self, path: str, times: tuple[int, int] | None = None) -> None:
        asked(lambda: os.utime(self._at(path), ns=times) if times else os.utime(self._at(path)))

    def statfs(self, path: str) -> dict[str, int]:
        found = asked(os.statvfs, self._at(path))
        return {name: getattr(found, name) for name in SPACE}

    def _refuse(self, *arguments: object) -> None:
        raise FuseOSError(errno.EOPNOTSUPP)

    def _ignore(self, *arguments: object) -> None:
        pass

    link = symlink = rename = _refuse
    chmod = chown = _ignore


if __name__ == "__main__":
    FUSE(Refusing(sys.argv[1]), sys.argv[2], foreground=True)
