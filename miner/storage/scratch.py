"""Temporary folders that the next process removes if their own was killed.

In each lies a file that its process holds a lock on: the system lets go of that however the process
ends. What holds no such file is left alone; it may be another program's.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["scratch_folder"]

_HELD = ".held"


@contextmanager
def scratch_folder(prefix: str) -> Iterator[Path]:
    """Make a temporary folder; remove it at the end, and now those of processes that died.

    Parameters
    ----------
    prefix : str
        How the folder's name begins; only such folders of the same user are removed.
    """
    for left in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        _remove_dead(left)
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    handle = _hold(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(handle)


def _hold(folder: Path) -> int:
    """Lock a file in a folder, under a name that nobody looks for before it is locked."""
    fresh = folder / f"{_HELD}.new"
    handle = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    with suppress(OSError):  # a file system without locks: it is never removed
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fresh.rename(folder / _HELD)
    return handle


def _remove_dead(folder: Path) -> None:
    with suppress(OSError):  # it is gone, or alive, or another user's
        if folder.lstat().st_uid != os.getuid() or folder.is_symlink():
            return
        handle = os.open(folder / _HELD, os.O_RDWR | os.O_NOFOLLOW)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(handle)
