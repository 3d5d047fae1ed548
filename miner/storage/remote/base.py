"""Folders in object storage: all objects of a bucket with a common prefix.

Objects cannot be renamed, and an upload is atomic. `Folder.create` is the only operation that
exactly one of several concurrent writers completes.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from miner.errors import StorageError
from miner.registry import Registry
from miner.storage.urls import check_url

__all__ = ["FOLDERS", "TRIES", "Changed", "Entry", "Exists", "Folder", "Missing", "open_folder"]

TRIES = 5
"""Attempts for a request that fails, unless AWS_MAX_ATTEMPTS is set."""
_CHUNK = 1 << 20
_PART, _MOST_PARTS = 8 << 20, 10_000
"""Bytes of one part of a multipart upload, and the number of parts that S3 allows."""
_AT_ONCE = 4
"""Parts sent concurrently; each must arrive within the read timeout."""

FOLDERS = Registry("object store")
for _scheme, _summary in (
    ("s3", "S3's protocol"),
    ("gs", "Google Cloud Storage"),
    ("az", "Azure Blob Storage"),
):
    FOLDERS.register(
        _scheme,
        "miner.storage.remote.stores:bucket_folder",
        _summary,
        needs=("obstore",),
        extra="remote",
    )


class Missing(StorageError):
    """The object does not exist."""


class Exists(StorageError):
    """The object exists already."""


class Changed(StorageError):
    """The object was replaced in the meantime."""


@dataclass(frozen=True, slots=True)
class Entry:
    """The metadata of an object.

    Attributes
    ----------
    name : str
        Relative to the folder.
    bytes : int
    tag : str
        The entity tag: changes whenever the content changes; its form depends on the store.
    modified : float
        The time of the last write, in seconds since 1970, by the store's clock.
    """

    name: str
    bytes: int
    tag: str
    modified: float


class Folder:
    """The objects below one URL; names are relative to the URL, with slashes.

    All methods raise subclasses of `MineError` only.

    Parameters
    ----------
    url : str
        The URL, without a slash at its end.
    bucket : Bucket
        `bucket.store` is an obstore store; `bucket.call` runs an operation and converts its errors.
    """

    def __init__(self, url: str, bucket: Any) -> None:
        self.url = url
        self._bucket = bucket
        prefix = url.partition("://")[2].partition("/")[2]
        self._base = f"{prefix}/" if prefix else ""

    def _call(self, name: str, operation: str, **arguments: Any) -> Any:
        """Call an operation of the store on an object."""
        bound = partial(getattr(self._bucket.store, operation), self._base + name, **arguments)
        return self._bucket.call(f"{self.url}/{name}", bound)

    def _entry(self, meta: Any) -> Entry:
        name = meta["path"].removeprefix(self._base)
        return Entry(
            name, meta["size"], meta["e_tag"].strip('"'), meta["last_modified"].timestamp()
        )

    def entries(self, under: str = "") -> list[Entry]:
        """Return all objects whose name begins with `under`, sorted by name."""
        begin = self._base + under
        place = begin.rpartition("/")[0] or None
        metas = self._bucket.call(self.url, lambda: self._bucket.store.list(place).collect())
        found = {
            meta["path"]: self._entry(meta) for meta in metas if meta["path"].startswith(begin)
        }
        # obstore drops the slash of an empty folder's marker, so no object has the listed name.
        return [
            entry
            for _, entry in sorted(found.items())
            if entry.bytes or self.entry(entry.name) is not None
        ]

    def children(self) -> list[str]:
        """Return the names of the objects and folders directly below this folder, sorted."""
        listed = self._bucket.call(
            self.url, lambda: self._bucket.store.list_with_delimiter(self._base or None)
        )
        paths = [*listed["common_prefixes"], *(meta["path"] for meta in listed["objects"])]
        return sorted(path.removeprefix(self._base) for path in paths)

    def entry(self, name: str) -> Entry | None:
        """Return the metadata of an object, or None if it does not exist."""
        try:
            return self._entry(self._call(name, "head"))
        except Missing:
            return None

    def read(self, name: str) -> bytes | None:
        """Return the content of a small object, or None if it does not exist."""
        try:
            found = self._call(name, "get")
        except Missing:
            return None
        return bytes(self._bucket.call(f"{self.url}/{name}", found.bytes))

    def stream(self, entry: Entry, start: int) -> Iterator[bytes]:
        """Yield the bytes of an object from `start`; reconnect if the transfer breaks off."""
        url, place, tries = f"{self.url}/{entry.name}", start, 0
        while place < entry.bytes:
            chunks = self._get(entry, {"offset": place}).stream(min_chunk_size=_CHUNK)
            try:
                while chunk := self._bucket.call(url, partial(next, chunks, b"")):
                    place, tries = place + len(chunk), 0
                    yield chunk
            except StorageError:
                tries += 1
                if tries == TRIES:
                    raise
                time.sleep(0.2 * 2**tries)

    def part(self, entry: Entry, start: int, end: int) -> bytes:
        """Return bytes `start` to `end` of an object; raise `StorageError` if it was replaced."""
        found = self._get(entry, (start, end))
        return bytes(self._bucket.call(f"{self.url}/{entry.name}", found.bytes))

    def _get(self, entry: Entry, part: Any) -> Any:
        try:
            return self._call(
                entry.name, "get", options={"range": part, "if_match": f'"{entry.tag}"'}
            )
        except (Missing, Changed):
            raise StorageError(
                f"{self.url}/{entry.name} changed while it was read; run the command again"
            ) from None

    def write(self, name: str, content: bytes) -> None:
        """Write a small object; replace an existing one."""
        self._call(name, "put", file=content)

    def create(self, name: str, content: bytes) -> bool:
        """Write a small object if none exists, and return whether this call wrote it.

        Of several concurrent callers, exactly one gets True.
        """
        for attempt in range(TRIES):
            try:
                self._call(name, "put", file=content, mode="create")
                return True
            except Exists:
                # If the response to an earlier attempt was lost, the existing object is ours.
                existing = self.read(name)
                if existing is not None:
                    return existing == content
                time.sleep(0.2 * 2**attempt)  # another put is in progress
            except StorageError:  # obstore does not repeat a put that may have succeeded
                if attempt:
                    raise
        return False

    def upload(self, path: Path, name: str) -> Entry:
        """Upload a file atomically, and return its metadata."""
        size = path.stat().st_size
        part = max(_PART, -(-size // _MOST_PARTS))
        self._call(name, "put", file=path, chunk_size=part, max_concurrency=_AT_ONCE)
        found = self.entry(name)
        if found is None or found.bytes != size:
            raise StorageError(f"{self.url}/{name} is not as it was uploaded; try again")
        return found

    def remove(self, names: Iterable[str]) -> None:
        """Remove objects; ignore names that do not exist."""
        paths = [self._base + name for name in names]
        try:
            self._bucket.call(self.url, lambda: self._bucket.store.delete(paths))
        except Missing:
            for path in paths:
                with suppress(Missing):
                    self._bucket.call(self.url, partial(self._bucket.store.delete, path))

    def now(self) -> float:
        """Return the time by the store's clock, in seconds since 1970.

        A wrong local clock could take a lease from a run that is alive. obstore does not give the
        store's time, so an object is written and its modification time is read. Without permission
        to write, the local time is returned; such a process cannot take a lease.
        """
        name = f".lease/clock-{uuid.uuid4().hex}"
        try:
            self.write(name, b"?")
            entry = self.entry(name)
            self.remove([name])
        except StorageError:
            entry = None
        return time.time() if entry is None else entry.modified


def open_folder(url: str, key: str = "path") -> Folder:
    """Return the folder of objects at a URL; the store is not contacted yet.

    Parameters
    ----------
    url : str
    key : str
        The job key or option that has the URL, for messages.

    Raises
    ------
    UsageError
        If the URL is not valid, its scheme is unknown, or the package for it is not installed.
    """
    url = check_url(url, key)
    folder: Folder = FOLDERS.load(url.partition("://")[0])(url)
    return folder
