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
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from miner.errors import LockError, StorageError
from miner.storage.files import storage_errors
from miner.storage.json_files import write_json
from miner.storage.os_errors import NOTHING

__all__ = ["LONGEST_WAIT", "Say", "held_for_reading", "lock_output", "say_nothing", "unread"]

_PATIENCE = 2.0
"""Seconds to wait for the name of a lock's holder: it takes the lock first."""
LONGEST_WAIT = 600.0
"""Seconds to wait for a holder that is brief: one that removes what is not needed."""

Say = Callable[[str], None]
"""Called with a line that says what is waited for."""


def say_nothing(text: str) -> None:
    """Say nothing."""


@contextmanager
def held_for_reading(file: Path) -> Iterator[None]:
    """Be known as one who reads, until the block ends; wait first for one who may remove it."""
    with ExitStack() as stack:
        with suppress(OSError):  # it was removed, or there are no locks
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
def lock_output(
    root: Path, name: str = "", *, brief: bool = False, say: Say = say_nothing
) -> Iterator[None]:
    """Hold the one-writer lock of an output root; it dies with the process.

    A holder that is no run, but brief, is waited for.

    Parameters
    ----------
    root : Path
    name : str
        What messages call it, if not by its path.
    brief : bool
        Whether others wait for this holder, as it is no run.
    say : callable
        Called with a line that says what is waited for.

    Raises
    ------
    LockError
        When another run holds it; the message names its process.
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
        _acquire(lock, holder, name or str(root), say)
    try:
        facts = {"pid": os.getpid(), "host": socket.gethostname(), "brief": brief}
        write_json(holder, facts)
        yield
    finally:
        with suppress(OSError):  # what is left names a process that is gone
            holder.unlink()
        lock.release()


def _acquire(lock: FileLock, holder: Path, name: str, say: Say) -> None:
    """Take a lock that is free, or soon will be; else say who holds it."""
    until = time.monotonic() + LONGEST_WAIT
    named = time.monotonic() + _PATIENCE  # who holds it may stand there a moment later
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
    """Name the process that holds a lock; empty while what stands there is of one that died.

    Second, whether it is brief.
    """
    try:
        who = json.loads(path.read_bytes())
        process, host, brief = who["pid"], who["host"], who.get("brief") is True
        if host == socket.gethostname():
            os.kill(process, 0)
    except PermissionError:  # it is there, and another user's
        pass
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return "", False
    return f"process {process} on {host}", brief
