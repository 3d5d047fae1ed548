"""Folders of objects: prefixes of buckets, whoever stores them.

Nothing can be renamed. An object appears whole under its name or not at all; `Folder.create` is the
one operation by which of several writers one wins.
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
"""How often a request is made that fails, unless AWS_MAX_ATTEMPTS says so."""
_CHUNK = 1 << 20
_PART, _MOST_PARTS = 8 << 20, 10_000
"""Bytes of a part of a larger upload, and how many parts S3 allows."""
_AT_ONCE = 4
"""Parts that are sent at the same time, each of which must arrive within the read timeout."""

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
    """There is no such object."""


class Exists(StorageError):
    """There is such an object already."""


class Changed(StorageError):
    """The object is another one by now."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An object.

    Attributes
    ----------
    name : str
        Relative to the folder.
    bytes : int
    tag : str
        Another one whenever the content is another; what it is made of is the store's affair.
    modified : float
        When it was written, in seconds since 1970, by the store's clock.
    """

    name: str
    bytes: int
    tag: str
    modified: float


class Folder:
    """The objects below one URL. Names are relative to it, with slashes; all errors are ours.

    Parameters
    ----------
    url : str
        Without a slash at its end.
    bucket : Bucket
        Its `store` is one of obstore; `call` calls that with our errors.
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
        """List all objects whose name begins with `under`, in the order of their names."""
        begin = self._base + under
        place = begin.rpartition("/")[0] or None
        metas = self._bucket.call(self.url, lambda: self._bucket.store.list(place).collect())
        found = {
            meta["path"]: self._entry(meta) for meta in metas if meta["path"].startswith(begin)
        }
        # obstore drops the slash that marks an empty folder: there is no object of such a name.
        return [
            entry
            for _, entry in sorted(found.items())
            if entry.bytes or self.entry(entry.name) is not None
        ]

    def children(self) -> list[str]:
        """List the names directly below the folder, of objects and of folders, in their order."""
        listed = self._bucket.call(
            self.url, lambda: self._bucket.store.list_with_delimiter(self._base or None)
        )
        paths = [*listed["common_prefixes"], *(meta["path"] for meta in listed["objects"])]
        return sorted(path.removeprefix(self._base) for path in paths)

    def entry(self, name: str) -> Entry | None:
        """Look at one object; None when there is none."""
        try:
            return self._entry(self._call(name, "head"))
        except Missing:
            return None

    def read(self, name: str) -> bytes | None:
        """Read a small object; None when there is none."""
        try:
            found = self._call(name, "get")
        except Missing:
            return None
        return bytes(self._bucket.call(f"{self.url}/{name}", found.bytes))

    def stream(self, entry: Entry, start: int) -> Iterator[bytes]:
        """Read an object from a byte on, again where that breaks off; see `part`."""
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
        """Read some bytes of an object; `StorageError` when it is another one by now."""
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
        """Write a small object, whatever is there."""
        self._call(name, "put", file=content)

    def create(self, name: str, content: bytes) -> bool:
        """Write a small object unless there is one; False if there is. Of many callers one wins."""
        for attempt in range(TRIES):
            try:
                self._call(name, "put", file=content, mode="create")
                return True
            except Exists:
                # An answer that was lost lets the next try meet our own object.
                there = self.read(name)
                if there is not None:
                    return there == content
                time.sleep(0.2 * 2**attempt)  # another put is under way
            except StorageError:  # obstore itself does not try again what it may have done
                if attempt:
                    raise
        return False

    def upload(self, path: Path, name: str) -> Entry:
        """Upload a file; it appears when it is whole."""
        size = path.stat().st_size
        part = max(_PART, -(-size // _MOST_PARTS))
        self._call(name, "put", file=path, chunk_size=part, max_concurrency=_AT_ONCE)
        found = self.entry(name)
        if found is None or found.bytes != size:
            raise StorageError(f"{self.url}/{name} is not as it was uploaded; try again")
        return found

    def remove(self, names: Iterable[str]) -> None:
        """Remove objects; those that are gone already are no error."""
        paths = [self._base + name for name in names]
        try:
            self._bucket.call(self.url, lambda: self._bucket.store.delete(paths))
        except Missing:
            for path in paths:
                with suppress(Missing):
                    self._bucket.call(self.url, partial(self._bucket.store.delete, path))

    def now(self) -> float:
        """Return the store's time: when an object was written just now, as obstore tells no other.

        By this machine's, if its clock is wrong, it would take over from a run that is alive.
        """
        name = f".lease/clock-{uuid.uuid4().hex}"
        try:
            self.write(name, b"?")
            entry = self.entry(name)
            self.remove([name])
        except StorageError:  # one who may only read takes nothing over
            entry = None
        return time.time() if entry is None else entry.modified


def open_folder(url: str, key: str = "path") -> Folder:
    """Open a folder of objects by its URL; nothing is asked of the store yet.

    Parameters
    ----------
    url : str
    key : str
        The job key or option that it comes from, for messages.

    Raises
    ------
    UsageError
        When the URL cannot be followed, or what reads such URLs is not installed.
    """
    url = check_url(url, key)
    folder: Folder = FOLDERS.load(url.partition("://")[0])(url)
    return folder
