"""Convert errors of the operating system to `StorageError`, with a remedy for the user."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from miner.errors import MineError, StorageError

__all__ = [
    "NOT_PUBLISHED",
    "NOT_WRITTEN",
    "NO_MEMORY",
    "PUBLISHED_NOT_LATEST",
    "from_os_error",
    "lacks_memory",
    "publication_state",
    "raise_exhausted",
]

NOT_PUBLISHED = "nothing was published"
NOT_WRITTEN = "nothing was written"
PUBLISHED_NOT_LATEST = (
    "the run is published, but not the latest one yet; the same command makes it the latest"
)
NO_MEMORY = "out of memory; free some, raise a limit on it, or lower mining.memory or workers"
_publication_state = ContextVar("publication_state", default=NOT_PUBLISHED)

_FORBIDDEN = "allow it, or name a folder that you may write to"
_DAMAGED = "check the disk and its log, or name another --out"
_REMEDIES = {
    errno.ENOSPC: "free some space, or name another --out",
    errno.EDQUOT: "free some of your quota, or name another --out",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f), or name another --out",
    errno.EACCES: _FORBIDDEN,
    errno.EPERM: _FORBIDDEN,
    errno.EROFS: _FORBIDDEN,
    errno.EIO: _DAMAGED,
    errno.EMFILE: "raise the limit on open files (ulimit -n), or give fewer --workers",
    errno.ENFILE: "let the machine open more files, or give fewer --workers",
    errno.ENOMEM: "lower mining.memory or workers",
}

_SIGNS = (
    "cannot allocate memory",
    "can't start new thread",
    "failed to map segment",
    "out of memory",
    "outofmemory",
    "failed to allocate memory",
    "bad allocation",
    "bad_alloc",
    "zstd_dctx create failed",
    "zstd_cctx create failed",
    "failed to launch worker thread",
)
"""Text of errors that report a lack of memory without a type that says so."""


def from_os_error(error: OSError, where: object = "") -> StorageError:
    """Return a `StorageError` with the path, the reason and a remedy.

    Parameters
    ----------
    error : OSError
    where : object
        The path of the failed operation, used if `error` has none. The message says what was
        published (see `publication_state`) only if a path is known.
    """
    place = error.filename or where
    reason = error.strerror or str(error)
    remedy = _REMEDIES.get(error.errno or 0, "")
    known = [f"{place}: {reason}", _publication_state.get()] if place else [reason]
    return StorageError("; ".join([*known, remedy] if remedy else known))


def raise_exhausted(error: BaseException, where: object) -> None:
    """Raise a `StorageError` if too many files are open: the file that was read is not at fault.

    Parameters
    ----------
    error : BaseException
        An error while a file was read.
    where : object
        The path of the file.
    """
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        plain = OSError(error.errno, os.strerror(error.errno), str(where))
        raise from_os_error(plain) from error


@contextmanager
def publication_state(words: str) -> Iterator[None]:
    """Set what errors of the operating system inside the block say about what was published."""
    before = _publication_state.set(words)
    try:
        yield
    except OSError as error:
        raise from_os_error(error) from error
    finally:
        _publication_state.reset(before)


def lacks_memory(error: BaseException) -> bool:
    """Return whether an error, or an error that caused it, reports a lack of memory.

    The causes are searched too, because libraries often wrap the original error.
    """
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        if isinstance(one, MemoryError) or getattr(one, "errno", None) == errno.ENOMEM:
            return True
        said = f"{type(one).__name__} {one}".lower()
        if not isinstance(one, MineError) and any(sign in said for sign in _SIGNS):
            return True
        one = one.__cause__ or (None if one.__suppress_context__ else one.__context__)
    return False
