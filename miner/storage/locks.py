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
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from miner.errors import LockError, StorageError
from miner.storage.files import storage_errors
from miner.storage.json_files import write_json
from miner.storage.os_errors import NOT_PUBLISHED

__all__ = ["LONGEST_WAIT", "Say", "lock_output", "reader_lock", "say_nothing", "try_exclusive"]

_PATIENCE = 2.0
"""Seconds to wait until a lock's holder, which locks first, has recorded who it is."""
LONGEST_WAIT = 600.0
"""Seconds to wait for a brief holder: one that only removes files."""

Say = Callable[[str], None]
"""Called with a line that says why a process waits."""


def say_nothing(text: str) -> None:
    """Print nothing."""


@contextmanager
def reader_lock(file: Path) -> Iterator[None]:
    """Hold a shared lock on a file of a run while the block reads the run.

    If a process is about to remove the run, wait for it first.
    """
    with ExitStack() as stack:
        with suppress(OSError):  # the run was removed, or the file system has no locks
            _share(_opened(file, stack))
        yield


def _share(handle: int) -> None:
    deadline = time.monotonic() + LONGEST_WAIT
    while True:
        try:
            return fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


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
def lock_output(
    root: Path, name: str = "", *, brief: bool = False, say: Say = say_nothing
) -> Iterator[None]:
    """Hold the writer's lock of an output root; the system releases it if the process dies.

    The call waits for a brief holder, which is not a run.

    Parameters
    ----------
    root : Path
    name : str
        The name of the root in messages. Default: its path.
    brief : bool
        Whether others wait for this holder, because it is not a run.
    say : callable
        Called with a line that says why this process waits.

    Raises
    ------
    LockError
        If another run holds the lock; the message names its process.
    """
    holder = root / ".lock.json"
    lock = FileLock(root / ".lock")
    try:
        root.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise StorageError(
            f"{root} is a file or lies below one; {NOT_PUBLISHED}, name another --out"
        ) from error
    except OSError as error:
        raise StorageError(
            f"{root} cannot be made: {error.strerror}; {NOT_PUBLISHED}, name another --out"
        ) from error
    with storage_errors(root):
        _acquire(lock, holder, name or str(root), say)
    try:
        facts = {"pid": os.getpid(), "host": socket.gethostname(), "brief": brief}
        write_json(holder, facts)
        yield
    finally:
        with suppress(OSError):  # a file that remains names a process that no longer exists
            holder.unlink()
        lock.release()


def _acquire(lock: FileLock, holder: Path, name: str, say: Say) -> None:
    """Take the lock, wait for a brief holder, or raise a `LockError` that names the holder.

    The holder writes its name shortly after it takes the lock, so an unknown holder is read again.
    """
    until = time.monotonic() + LONGEST_WAIT
    named = time.monotonic() + _PATIENCE
    said = False
    while True:
        try:
            lock.acquire(timeout=0)
            return
        except Timeout:
            who, brief = _holder(holder)
        now = time.monotonic()
        if brief and now < until:
            if not said:
                say(f"waiting for {who}, which is pruning {name}")
            named, said = now + _PATIENCE, True
        elif who or now > named:
            raise LockError(f"{name} is in use by {who or 'another run'}; wait, or use --out")
        time.sleep(0.02)


def _holder(path: Path) -> tuple[str, bool]:
    """Return a description of the process that holds the lock, or '' if that process is dead.

    Second, whether the holder is brief.
    """
    try:
        who = json.loads(path.read_bytes())
        process, host, brief = who["pid"], who["host"], who.get("brief") is True
        if host == socket.gethostname():
            os.kill(process, 0)
    except PermissionError:  # the process exists and belongs to another user
        pass
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return "", False
    return f"process {process} on {host}", brief
