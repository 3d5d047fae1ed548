"""File locks: one for the writer of an output root, one for the readers of a run.

A reader holds a shared ``flock`` on a file of the run. A process that wants to remove the run takes
an exclusive one. Nothing is written, so a read-only folder works too. On a file system without
such locks, readers are not detected. The system releases all locks of a process that ends.
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
from miner.storage.os_errors import NOT_PUBLISHED

__all__ = ["lock_output", "reader_lock", "try_exclusive"]

_PATIENCE = 2.0
"""Seconds to wait until a lock's holder, which locks first, has recorded who it is."""


@contextmanager
def reader_lock(file: Path) -> Iterator[None]:
    """Hold a shared lock on a file of a run while the block reads the run."""
    with ExitStack() as stack:
        with suppress(OSError):  # the run is being removed, or the file system has no locks
            fcntl.flock(_opened(file, stack), fcntl.LOCK_SH | fcntl.LOCK_NB)
        yield


@contextmanager
def try_exclusive(file: Path) -> Iterator[bool]:
    """Yield whether no process reads; if so, none can begin to until the block ends."""
    with ExitStack() as stack:
        try:
            fcntl.flock(_opened(file, stack), fcntl.LOCK_EX | fcntl.LOCK_NB)
            free = True
        except BlockingIOError:
            free = False
        except OSError:  # the file system has no locks, so readers cannot be detected
            free = True
        yield free


def _opened(file: Path, stack: ExitStack) -> int:
    handle = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    stack.callback(os.close, handle)
    return handle


@contextmanager
def lock_output(root: Path, name: str = "") -> Iterator[None]:
    """Hold the writer's lock of an output root; the system releases it if the process dies.

    Parameters
    ----------
    root : Path
    name : str
        The name of the root in messages. Default: its path.

    Raises
    ------
    LockError
        If another process holds the lock; the message names the process.
    """
    holder = root / ".lock.json"
    lock = FileLock(root / ".lock")
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"{root} cannot be made: {error.strerror}; {NOT_PUBLISHED}, name another --out"
        ) from error
    with storage_errors(root):
        _acquire(lock, holder, name or str(root))
    try:
        write_json(holder, {"pid": os.getpid(), "host": socket.gethostname()})
        yield
    finally:
        with suppress(OSError):  # a file that remains names a process that no longer exists
            holder.unlink()
        lock.release()


def _acquire(lock: FileLock, holder: Path, name: str) -> None:
    """Take the lock, or raise a `LockError` that names its holder.

    The holder writes its name shortly after it takes the lock, so an unknown holder is read again.
    """
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
    """Return a description of the process that holds the lock, or '' if that process is dead."""
    try:
        who = json.loads(path.read_bytes())
        process, host = who["pid"], who["host"]
        if host == socket.gethostname():
            os.kill(process, 0)
    except PermissionError:  # the process exists and belongs to another user
        pass
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return ""
    return f"process {process} on {host}"
