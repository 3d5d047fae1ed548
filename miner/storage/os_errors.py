"""What the operating system refuses, in the words of our errors."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from miner.errors import StorageError

__all__ = ["NOTHING", "PUBLISHED", "UNWRITTEN", "outcome", "refused"]

NOTHING = "nothing was published"
UNWRITTEN = "nothing was written"
PUBLISHED = "the run is published, but not the latest one yet; the same command makes it that"
_outcome = ContextVar("outcome", default=NOTHING)

_FORBIDDEN = "allow it, or name a folder that you may write to"
_DAMAGED = "look at the disk (its log), or name another --out"
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


def refused(error: OSError, where: object = "") -> StorageError:
    """Put an error of the operating system so that a user knows what to do.

    Parameters
    ----------
    error : OSError
    where : object
        The path at which it happened, where the error does not know. Where nobody does, it is not
        said either whether anything was published; see `outcome`.
    """
    place = error.filename or where
    reason = error.strerror or str(error)
    remedy = _REMEDIES.get(error.errno or 0, "")
    known = [f"{place}: {reason}", _outcome.get()] if place else [reason]
    return StorageError("; ".join([*known, remedy] if remedy else known))


@contextmanager
def outcome(words: str) -> Iterator[None]:
    """Say by other words what is published, of whatever the system refuses within."""
    before = _outcome.set(words)
    try:
        yield
    except OSError as error:
        raise refused(error) from error
    finally:
        _outcome.reset(before)
