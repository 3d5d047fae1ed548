"""Files that a user names for output: what may be replaced, and how they are written.

A file that `mine` did not make is replaced only by force. A stream (``/dev/stdout``, a pipe, a
device) takes what is written; a file appears whole, or stays as it was.
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

__all__ = ["PAGE_MARK", "check_output", "check_place", "is_page", "keeps", "write_output"]

PAGE_MARK = '<meta name="generator" content="mine">'
"""What a page of ours has in its head."""
_HEAD = 4096
_RUN = ("manifest.json", "census.parquet")
"""The folder of a finished run has both of these."""
_STREAM = re.compile(r"/dev/(stdout|stderr)|/(?:dev|proc/self)/fd/(\d+)")


def is_page(head: bytes) -> bool:
    """Whether a file that begins so is a page of ours."""
    return head.startswith(b"<!doctype html>") and PAGE_MARK.encode() in head


def check_output(
    path: str | Path,
    option: str,
    is_ours: Callable[[bytes], bool] | None = None,
    *,
    force: bool | None = False,
) -> Path:
    """Return a path that may be written to, with ``~`` written out.

    Parameters
    ----------
    path : str or Path
    option : str
        The option that names it, for the message.
    is_ours : callable, optional
        Whether a file that begins with some bytes was made by `mine`, so that it may be replaced.
    force : bool or None
        Replace any file; None where the command has no such option.

    Raises
    ------
    UsageError
        When it is a URL or a folder, lies in a run or below a file, or may not be replaced.
    StorageError
        When what is there cannot be read.
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
            raise UsageError(f"{path} is there already; {remedy}")
        with path.open("rb") as file:
            if not is_ours(file.read(_HEAD)):
                raise UsageError(f"{path} was not made by mine; {remedy}")
        if not path.stat().st_mode & 0o222:
            raise UsageError(f"{path} is read-only; {remedy}")
    return path


def check_place(path: Path, option: str) -> None:
    """Refuse a path that lies in a run, which is sealed, or below a file.

    Raises
    ------
    UsageError
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
    """Whether a path is, or will be, a file that keeps what is written; not a pipe or a device."""
    return _descriptor(path) is None and (path.is_file() or not path.exists())


def write_output(path: Path, content: bytes) -> None:
    """Write a file whole; links are followed, and the permissions of what is replaced stay.

    Raises
    ------
    StorageError
        When it cannot be written.
    """
    number = _descriptor(path)
    with storage_errors(path):
        if number in (1, 2):  # by the stream itself, which a reader may have left
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


def _descriptor(path: Path) -> int | None:
    """Return the number of the open stream that a path names, None for any other path."""
    found = _STREAM.fullmatch(str(path))
    return found and (int(found[2]) if found[2] else {"stdout": 1, "stderr": 2}[found[1]])
