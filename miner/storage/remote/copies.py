"""Local copies of objects: atomic, resumable, one for each version, limited in total size.

A copy is a folder named by the digest of its contents (names, sizes, tags), so that a changed
object leads to a new copy. A copy is in use as long as a process that requested it runs.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from filelock import FileLock

from miner.errors import DataError, StorageError
from miner.formatting import bytes_text
from miner.progress import Progress
from miner.storage.files import publish_folder, sha256_file, storage_errors, sync_folder
from miner.storage.locks import try_exclusive
from miner.storage.remote.base import Entry, Folder
from miner.storage.urls import fetched_folder

__all__ = ["SCRATCH", "copy_entries", "copy_entry", "hold_copy", "keep_copies_within", "safe_names"]

SCRATCH = ".scratch-"
"""Prefix of folders that only one process uses."""
_DAY = 86400
_THREADS = 8
_HELD: dict[Path, int] = {}
"""File descriptors of the locks on copies that this process uses; held until it ends."""


def safe_names(folder: Folder, entries: Iterable[Entry]) -> list[Entry]:
    """Return the entries that are files, without the markers of empty folders.

    Raises
    ------
    DataError
        If a name cannot be the path of a file below a folder.
    """
    files = [entry for entry in entries if entry.name and not entry.name.endswith("/")]
    names = {entry.name for entry in files}
    for name in names:
        parts = name.split("/")
        if {"", ".", ".."} & set(parts) or "\0" in name:
            raise DataError(f"{folder.url}/{name}: no file can have such a name; rename the object")
        above = ("/".join(parts[:depth]) for depth in range(1, len(parts)))
        if inside := next((part for part in above if part in names), None):
            raise DataError(f"{folder.url}/{inside} is an object and a folder; rename one")
    return files


def hold_copy(target: Path) -> None:
    """Keep a copy from being removed while this process lives."""
    mark = target.parent / f".{target.name}.used"
    with storage_errors(mark):
        mark.parent.mkdir(parents=True, exist_ok=True)
        while mark not in _HELD:
            handle = os.open(mark, os.O_RDWR | os.O_CREAT, 0o666)
            fcntl.flock(handle, fcntl.LOCK_SH)
            if mark.exists() and os.path.samestat(os.fstat(handle), mark.stat()):
                _HELD[mark] = handle
            else:  # removed together with the copy while we waited for the lock
                os.close(handle)
        os.utime(mark)  # the time of the last use


def copy_entries(folder: Folder, entries: Sequence[Entry], progress: Progress) -> Path:
    """Copy objects to this machine, and return the local folder that corresponds to `folder`.

    An interrupted copy is resumed, also within a file.

    Raises
    ------
    StorageError
        If the store or the disk fails.
    """
    listed = "\n".join(f"{entry.name}\t{entry.bytes}\t{entry.tag}" for entry in entries)
    target = fetched_folder(folder.url, f"{folder.url}\n{listed}")
    place = folder.url.partition("://")[2].lstrip("/")
    hold_copy(target)
    with FileLock(target.parent / f".{target.name}.lock"):
        if not target.exists():
            partial = target.with_name(f"{target.name}.partial")
            _check_room(folder, entries, target.parent)
            _copy(folder, entries, partial / place, progress)
            publish_folder(partial, target)
    return target / place


def _check_room(folder: Folder, entries: Sequence[Entry], disk: Path) -> None:
    needed, free = sum(entry.bytes for entry in entries), shutil.disk_usage(disk).free
    if needed > free:
        raise StorageError(
            f"{folder.url} has {bytes_text(needed)}, {disk} has room for "
            f"{bytes_text(free)}; free some, or set MINE_WORK to a folder on a larger disk"
        )


def _copy(folder: Folder, entries: Sequence[Entry], target: Path, progress: Progress) -> None:
    total, done = sum(entry.bytes for entry in entries), 0
    progress("fetching", 0, total)
    with storage_errors(target):
        target.mkdir(parents=True, exist_ok=True)
    pool = ThreadPoolExecutor(_THREADS)
    try:
        copied = pool.map(lambda entry: copy_entry(folder, entry, target / entry.name), entries)
        for entry, _ in zip(entries, copied, strict=True):
            done += entry.bytes
            progress("fetching", done, total)
    finally:
        pool.shutdown(cancel_futures=True)


def copy_entry(folder: Folder, entry: Entry, target: Path, *, sha256: str | None = None) -> None:
    """Copy one object to `target` atomically, unless `target` exists.

    Raises
    ------
    StorageError
        If the store or the disk fails, or the content does not match `sha256`.
    """
    if target.exists():
        return
    tag = hashlib.sha256(f"{entry.name}\n{entry.tag}".encode()).hexdigest()[:16]
    part = target.parent / f".{tag}.part"
    with storage_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with part.open("ab") as file:
            for chunk in folder.stream(entry, file.tell()):
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
            size = file.tell()
        if size != entry.bytes:
            part.unlink()
            raise StorageError(f"{folder.url}/{entry.name}: {size} bytes came, not {entry.bytes}")
        if sha256 is not None and sha256_file(part) != sha256:
            part.unlink()
            raise StorageError(f"{folder.url}/{entry.name} changed: its checksum does not match")
        part.replace(target)
        sync_folder(target.parent)


def keep_copies_within(most: int) -> None:
    """Remove the least recently used copies until all copies take at most `most` bytes.

    Copies that a process uses are kept.
    """
    home = fetched_folder("s3://", "").parent
    for left in home.glob(f"{SCRATCH}*"):  # of a process that was killed
        if time.time() - left.stat().st_mtime > _DAY:
            shutil.rmtree(left, ignore_errors=True)
    found = []
    for mark in home.glob(".*.used"):
        copy = home / mark.name.removeprefix(".").removesuffix(".used")
        both = [copy, copy.with_name(f"{copy.name}.partial")]
        size = sum(file.stat().st_size for one in both for file in one.rglob("*") if file.is_file())
        found.append((mark.stat().st_mtime, mark, both, size))
    total = sum(size for *_, size in found)
    for _, mark, both, size in sorted(found):
        if total > most:
            with try_exclusive(mark) as unused:
                if unused:
                    for folder in both:
                        shutil.rmtree(folder, ignore_errors=True)
                    mark.unlink(missing_ok=True)
                    total -= size
