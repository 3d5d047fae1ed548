"""Durable writes on a local disk: atomic files, checksums, canonical JSON, the output lock.

Every file appears under its final name whole or not at all: it is written under a temporary name
(which never ends in ``.parquet``, so that no data set glob can meet it), flushed to disk, and
renamed.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from filelock import FileLock, Timeout

from miner.errors import LockError, StorageError
from miner.storage.os_errors import NOTHING, PUBLISHED, outcome, refused

__all__ = [
    "atomic_file",
    "atomic_open",
    "canonical_json",
    "digest",
    "lock_output",
    "parse_json",
    "pretty_json",
    "publish_folder",
    "read_json",
    "sha256_file",
    "storage_errors",
    "sync_folder",
    "write_json",
    "write_pointers",
]

_CHUNK = 1 << 20
_SWITCHED = "the run is published and the latest one, which a loss of power could undo"
_PATIENCE = 2.0
"""Seconds to wait for the name of a lock's holder: it takes the lock first."""


def canonical_json(value: Any) -> bytes:
    """Serialise to JSON with sorted keys and no spaces: equal values give equal bytes."""
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode()


def digest(value: Any) -> str:
    """Return the SHA-256 (hex) of a value's canonical JSON."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


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


def write_json(path: Path, value: Any) -> None:
    """Write readable JSON atomically."""
    with atomic_file(path) as temporary:
        temporary.write_bytes(pretty_json(value))


def read_json(path: Path) -> Any:
    """Read a JSON file; a `StorageError` names a file that is missing or is not JSON."""
    with storage_errors(path):
        data = path.read_bytes()
    return parse_json(data, str(path))


def parse_json(data: bytes, where: str) -> Any:
    """Read JSON; a `StorageError` says where it is none."""
    try:
        return json.loads(data, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:  # tables in tables in tables...
        raise StorageError(f"{where} is not valid JSON ({error}); the file is damaged") from error


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


def pretty_json(value: Any) -> bytes:
    """Serialise to JSON that is read by people."""
    return (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


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


def write_pointers(root: Path, run_id: str) -> None:
    """Point ``latest.json`` and then the symlink ``latest`` to a published run."""
    relative = f"runs/{run_id}"
    with outcome(PUBLISHED):
        write_json(root / "latest.json", {"run_id": run_id, "path": relative})
        with storage_errors(root / "latest"):
            temporary = root / f".latest.{uuid.uuid4().hex[:8]}.tmp"
            temporary.symlink_to(relative, target_is_directory=True)
            temporary.replace(root / "latest")
    with outcome(_SWITCHED), storage_errors(root / "latest"):
        sync_folder(root)


@contextmanager
def lock_output(root: Path, name: str = "") -> Iterator[None]:
    """Hold the one-writer lock of an output root; it dies with the process.

    Parameters
    ----------
    root : Path
    name : str
        What messages call it, if not by its path.

    Raises
    ------
    LockError
        When another process holds it; the message names that process.
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
        _acquire(lock, holder, name or str(root))
    try:
        write_json(holder, {"pid": os.getpid(), "host": socket.gethostname()})
        yield
    finally:
        with suppress(OSError):  # what is left names a process that is gone
            holder.unlink()
        lock.release()


def _acquire(lock: FileLock, holder: Path, name: str) -> None:
    """Take a lock that is free; else say who holds it, which may stand there a moment later."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            lock.acquire(timeout=0)
            return
        except Timeout:
            who = _holder(holder)
        if who or time.monotonic() > deadline:
            who = who or "another run"
            raise LockError(f"{name} is in use by {who}; wait, or use --out")
        time.sleep(0.02)


def _holder(path: Path) -> str:
    """Name the process that holds a lock; empty while what stands there is of one that died."""
    try:
        who = json.loads(path.read_bytes())
        process, host = who["pid"], who["host"]
        if host == socket.gethostname():
            os.kill(process, 0)
    except PermissionError:  # it is there, and another user's
        pass
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return ""
    return f"process {process} on {host}"
