"""Temporary folders that a later process removes if the process that made them was killed.

Each folder contains a file that its process keeps locked. The system releases the lock however the
process ends. A folder without such a file is not removed; it may belong to another program.
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
    """Make a temporary folder and remove it at the end; first remove folders of dead processes.

    Parameters
    ----------
    prefix : str
        The start of the folder's name; only folders with this prefix and of this user are removed.
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
    """Lock a new file in a folder, then give it the name that other processes search for."""
    fresh = folder / f"{_HELD}.new"
    handle = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    with suppress(OSError):  # without locks, the folder is never removed
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fresh.rename(folder / _HELD)
    return handle


def _remove_dead(folder: Path) -> None:
    with suppress(OSError):  # the folder is gone, in use, or another user's
        if folder.lstat().st_uid != os.getuid() or folder.is_symlink():
            return
        handle = os.open(folder / _HELD, os.O_RDWR | os.O_NOFOLLOW)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(handle)
