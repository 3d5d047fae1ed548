"""Check and write files that a user names for output.

A file that `mine` did not make is replaced only with ``--force``. A stream (``/dev/stdout``, a
pipe, a device) is written to directly, a file atomically.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from miner.errors import UsageError
from miner.storage.files import atomic_file, storage_errors
from miner.storage.urls import expanded, is_url

__all__ = [
    "PAGE_MARK",
    "check_output",
    "check_place",
    "is_page",
    "is_stream",
    "keeps",
    "write_output",
]

PAGE_MARK = '<meta name="generator" content="mine">'
"""The tag in the head of each HTML page that `mine` writes."""
_HEAD = 4096
_RUN = ("manifest.json", "census.parquet")
"""Files that the folder of a finished run contains."""
_STREAM = re.compile(r"/dev/(stdout|stderr)|/(?:dev|proc/self)/fd/(\d+)")


def is_page(head: bytes) -> bool:
    """Return whether a file with these first bytes is an HTML page that `mine` wrote."""
    return head.startswith(b"<!doctype html>") and PAGE_MARK.encode() in head


def check_output(
    path: str | Path,
    option: str,
    is_ours: Callable[[bytes], bool] | None = None,
    *,
    force: bool | None = False,
) -> Path:
    """Return the path with ``~`` expanded, after a check that it may be written to.

    Parameters
    ----------
    path : str or Path
    option : str
        The option that names the path, for messages.
    is_ours : callable, optional
        Takes the first bytes of an existing file; returns whether `mine` made it, so that it may be
        replaced.
    force : bool or None
        Whether to replace any file. None: the command has no option ``--force``.

    Raises
    ------
    UsageError
        If the path is a URL or a folder, lies in a run or below a file, or names a file that may
        not be replaced.
    StorageError
        If an existing file cannot be read.
    """
    if is_url(path):
        raise UsageError(f"{option} {path} is a URL; name a file of this machine")
    path = expanded(path)
    if _descriptor(path) is not None:
        return path
    with storage_errors(path):
        if path.is_dir():
            raise UsageError(f"{path} is a folder; name a file with {option}")
        check_place(path, option)
        if force or not path.is_file() or not path.stat().st_size:
            return path
        other = f"name another file with {option}"
        remedy = f"{other}, or remove this one" if force is None else f"use --force, or {other}"
        if is_ours is None:
            raise UsageError(f"{path} exists already; {remedy}")
        with path.open("rb") as file:
            if not is_ours(file.read(_HEAD)):
                raise UsageError(f"{path} was not made by mine; {remedy}")
        if not path.stat().st_mode & 0o222:
            raise UsageError(f"{path} is read-only; {remedy}")
    return path


def check_place(path: Path, option: str) -> None:
    """Check that a path lies neither in the folder of a run nor below a file.

    Raises
    ------
    UsageError
        If it does: a finished run must not change.
    """
    try:
        target = path.resolve()
    except RuntimeError as error:  # before Python 3.13
        raise UsageError(f"{path} is a link to itself; name another path with {option}") from error
    for folder in target.parents:
        if all((folder / name).exists() for name in _RUN):
            why = f"{path} lies in the run {folder}, which is sealed"
        elif folder.exists() and not folder.is_dir():
            why = f"{path}: {folder} is a file, not a folder"
        else:
            continue
        raise UsageError(f"{why}; name another path with {option}")


def keeps(path: Path) -> bool:
    """Return whether a path is, or will be, a regular file; not a stream, a pipe or a device."""
    return _descriptor(path) is None and (path.is_file() or not path.exists())


def write_output(path: Path, content: bytes) -> None:
    """Write a file atomically, or to a stream; follow links and keep a file's permissions.

    Raises
    ------
    StorageError
        If the path cannot be written.
    """
    number = _descriptor(path)
    with storage_errors(path):
        if number in (1, 2):  # the stream object drops the bytes if its reader has left
            stream = (sys.stdout if number == 1 else sys.stderr).buffer
            stream.write(content)
            stream.flush()
        elif number is not None:
            with os.fdopen(os.dup(number), "wb") as file:
                file.write(content)
        elif not keeps(path):
            path.write_bytes(content)
        else:
            target = path.resolve()
            with atomic_file(target) as temporary:
                temporary.write_bytes(content)
                if target.exists():
                    shutil.copymode(target, temporary)


def is_stream(path: str | Path) -> bool:
    """Return whether a path names an open file of this process, such as ``/dev/stdout``."""
    return _descriptor(Path(path)) is not None


def _descriptor(path: Path) -> int | None:
    """Return the file descriptor that a path such as ``/dev/stdout`` names, else None."""
    found = _STREAM.fullmatch(str(path))
    return found and (int(found[2]) if found[2] else {"stdout": 1, "stderr": 2}[found[1]])
