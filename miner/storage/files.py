"""Atomic, durable writes of files and folders on a local disk, and checksums of files.

A file is written under a temporary name (which never ends in ``.parquet``, so that no glob of a
data set matches it), flushed to disk, and renamed. So it is complete under its final name, or it
does not exist.
"""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from miner.storage.os_errors import NOT_PUBLISHED, from_os_error, publication_state

__all__ = [
    "atomic_file",
    "atomic_open",
    "publish_folder",
    "sha256_file",
    "storage_errors",
    "sync_folder",
]

_CHUNK = 1 << 20


def sha256_file(path: Path) -> str:
    """Return the SHA-256 (hex) of a file."""
    state = hashlib.sha256()
    with storage_errors(path), path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            state.update(chunk)
    return state.hexdigest()


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Convert an `OSError` to a `StorageError` that names the path."""
    try:
        yield
    except OSError as error:
        raise from_os_error(error, path) from error


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries (new names, renames) to disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to; on success flush it and rename it to `path`.

    If the block raises, the temporary file is removed and `path` is unchanged.
    """
    temporary = path.parent / f".{path.name}.{uuid.uuid4().hex[:8]}.tmp"
    try:
        with storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
            sync_folder(path.parent)
    finally:
        with suppress(OSError):  # a failing disk fails here too: keep the first error
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_open(path: Path) -> Iterator[IO[bytes]]:
    """Open a temporary file for writing; on success rename it to `path`, as `atomic_file`."""
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        yield file


def publish_folder(staged: Path, final: Path, then: str = NOT_PUBLISHED) -> None:
    """Move a finished folder to its published name, in one rename.

    `then` is the state that errors after the rename report; see `publication_state`.
    """
    with storage_errors(final):
        final.parent.mkdir(parents=True, exist_ok=True)
        sync_folder(staged)
        staged.rename(final)
    with publication_state(then), storage_errors(final):
        sync_folder(final.parent)
        sync_folder(staged.parent)
