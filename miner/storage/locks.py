"""Locks that die with their process: the one writer of an output root, and readers of a run.

A reader holds a shared lock on a file of the run, who would remove it takes the lock alone. It is
the system's lock on an open file (``flock``): nothing is written, a folder that may only be read
will do. Where a file system has no such locks, readers are not known, and nothing else is amiss.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from miner.errors import LockError, StorageError
from miner.storage.files import storage_errors
from miner.storage.json_files import write_json
from miner.storage.os_errors import NOTHING

__all__ = ["held_for_reading", "lock_output", "unread"]

_PATIENCE = 2.0
"""Seconds to wait for the name of a lock's holder: it takes the lock first."""


@contextmanager
def held_for_reading(file: Path) -> Iterator[None]:
    """Be known as one who reads, until the block ends."""
    with ExitStack() as stack:
        with suppress(OSError):  # it is being removed, or there are no locks
            fcntl.flock(_opened(file, stack), fcntl.LOCK_SH | fcntl.LOCK_NB)
        yield


@contextmanager
def unread(file: Path) -> Iterator[bool]:
    """Say whether nobody reads; where that is so, nobody begins to before the block ends."""
    with ExitStack() as stack:
        try:
            fcntl.flock(_opened(file, stack), fcntl.LOCK_EX | fcntl.LOCK_NB)
            free = True
        except BlockingIOError:
            free = False
        except OSError:  # there are no locks, so there is nobody to be known
            free = True
        yield free


def _opened(file: Path, stack: ExitStack) -> int:
    handle = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    stack.callback(os.close, handle)
    return handle


@contextmanager
def lock_output(root: Path, name: str = "") -> Iterator[None]:
    """Hold the one-writer lock of an output root; it dies with the process.

    Parameters
    ----------
    root : Path
    name : str
        What messages call it, if not by its path.

    Raises
    ------
    LockError
        When another process holds it; the message names that process.
    """
    holder = root / ".lock.json"
    lock = FileLock(root / ".lock")
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"{root} cannot be made: {error.strerror}; {NOTHING}, name another --out"
        ) from error
    with storage_errors(root):
        _acquire(lock, holder, name or str(root))
    try:
        write_json(holder, {"pid": os.getpid(), "host": socket.gethostname()})
        yield
    finally:
        with suppress(OSError):  # what is left names a process that is gone
            holder.unlink()
        lock.release()


def _acquire(lock: FileLock, holder: Path, name: str) -> None:
    """Take a lock that is free; else say who holds it, which may stand there a moment later."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            lock.acquire(timeout=0)
            return
        except Timeout:
            who = _holder(holder)
        if who or time.monotonic() > deadline:
            who = who or "another run"
            raise LockError(f"{name} is in use by {who}; wait, or use --out")
        time.sleep(0.02)


def _holder(path: Path) -> str:
    """Name the process that holds a lock; empty while what stands there is of one that died."""
    try:
        who = json.loads(path.read_bytes())
        process, host = who["pid"], who["host"]
        if host == socket.gethostname():
            os.kill(process, 0)
    except PermissionError:  # it is there, and another user's
        pass
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return ""
    return f"process {process} on {host}"
