"""Durable writes on a local disk: files and folders that appear whole, and their checksums.

Every file appears under its final name whole or not at all: it is written under a temporary name
(which never ends in ``.parquet``, so that no data set glob can meet it), flushed to disk, and
renamed.
"""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from miner.storage.os_errors import NOTHING, outcome, refused

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
    """Return the SHA-256 (hex) of a file, read in chunks."""
    state = hashlib.sha256()
    with storage_errors(path), path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            state.update(chunk)
    return state.hexdigest()


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn an operating system error into a `StorageError` that names the path."""
    try:
        yield
    except OSError as error:
        raise refused(error, path) from error


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries (new names, renames) to disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Give a temporary path to write to; on success flush it and rename it to `path`.

    When the block raises, the temporary file is removed and `path` is left as it was.
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
        with suppress(OSError):  # a disk that fails refuses this too: what failed first is told
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_open(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for writing that appears whole under its name when the block ends well."""
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        yield file


def publish_folder(staged: Path, final: Path, then: str = NOTHING) -> None:
    """Move a finished folder to its published name, in one rename.

    `then` is what an error says that comes after it.
    """
    with storage_errors(final):
        final.parent.mkdir(parents=True, exist_ok=True)
        sync_folder(staged)
        staged.rename(final)
    with outcome(then), storage_errors(final):
        sync_folder(final.parent)
        sync_folder(staged.parent)
