"""Who reads a run, so that nobody removes it meanwhile: shared locks that die with their process.

A reader holds a shared lock on a file of the run, who would remove it takes the lock alone. It is
the system's lock on an open file (``flock``): nothing is written, a folder that may only be read
will do. Where a file system has no such locks, readers are not known, and nothing else is amiss.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["held_for_reading", "unread"]


@contextlib.contextmanager
def held_for_reading(file: Path) -> Iterator[None]:
    """Be known as one who reads, until the block ends."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # it is being removed, or there are no locks
            fcntl.flock(_opened(file, stack), fcntl.LOCK_SH | fcntl.LOCK_NB)
        yield


@contextlib.contextmanager
def unread(file: Path) -> Iterator[bool]:
    """Say whether nobody reads; where that is so, nobody begins to before the block ends."""
    with contextlib.ExitStack() as stack:
        try:
            fcntl.flock(_opened(file, stack), fcntl.LOCK_EX | fcntl.LOCK_NB)
            free = True
        except BlockingIOError:
            free = False
        except OSError:  # there are no locks, so there is nobody to be known
            free = True
        yield free


def _opened(file: Path, stack: contextlib.ExitStack) -> int:
    handle = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    stack.callback(os.close, handle)
    return handle
