"""Google Cloud Storage by gcsfs, and what else fsspec knows by its URL."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec

from miner.errors import StorageError, UsageError
from miner.formatting import without_secrets
from miner.storage.remote.base import Entry, Folder, Unfinished

__all__ = ["OtherFolder"]

_CHUNK = 1 << 20
_CREATING = {"gs", "gcs", "memory"}
"""File systems whose create is one step; elsewhere fsspec looks first and writes then."""


@contextmanager
def _told(url: str) -> Iterator[None]:
    """Turn what a file system raises into one line that names the URL and no secret."""
    try:
        yield
    except (StorageError, UsageError):
        raise
    except Exception as error:  # each file system raises what its library does
        said = without_secrets(" ".join(str(error).split()))[:300] or type(error).__name__
        raise StorageError(f"{url}: {said}; the same command goes on from here") from error


class OtherFolder(Folder):
    """A folder of a file system of fsspec."""

    def __init__(self, url: str) -> None:
        self.url = url
        try:
            self.system, path = fsspec.core.url_to_fs(url)
        except Exception as error:  # each file system raises what it likes of a URL it cannot read
            said = without_secrets(" ".join(str(error).split()))[:300] or type(error).__name__
            raise UsageError(f"{url}: {said}; check the URL") from error
        self.base = path.rstrip("/") + "/"

    def _entry(self, name: str, info: Any) -> Entry:
        path = self.base + name
        tag = str(info.get("etag") or info.get("md5Hash") or self.system.ukey(path))
        return Entry(name, int(info["size"]), tag, self.system.modified(path).timestamp())

    def entries(self, under: str = "") -> list[Entry]:
        """List all objects whose name begins with `under`, in the order of their names."""
        with _told(self.url):
            self.system.invalidate_cache()
            found = self.system.find(self.base.rstrip("/"), detail=True)
            names = {path[len(self.base) :]: info for path, info in found.items()}
            kept = sorted(name for name in names if name and name.startswith(under))
            return [self._entry(name, names[name]) for name in kept]

    def entry(self, name: str) -> Entry | None:
        """Look at one object; None when there is none."""
        with _told(f"{self.url}/{name}"):
            self.system.invalidate_cache()
            try:
                info = self.system.info(self.base + name)
            except FileNotFoundError:
                return None
            return self._entry(name, info) if info["type"] == "file" else None

    def read(self, name: str) -> bytes | None:
        """Read a small object; None when there is none."""
        with _told(f"{self.url}/{name}"):
            try:
                content: bytes = self.system.cat_file(self.base + name)
            except (FileNotFoundError, IsADirectoryError):
                return None
            return content

    def stream(self, entry: Entry, start: int) -> Iterator[bytes]:
        """Read an object from a byte on; `StorageError` when it is another one by now."""
        url = f"{self.url}/{entry.name}"
        now = self.entry(entry.name)
        if now is None or now.tag != entry.tag:
            raise StorageError(f"{url} changed while it was read; run the command again")
        with _told(url), self.system.open(self.base + entry.name, "rb") as file:
            file.seek(start)
            while chunk := file.read(_CHUNK):
                yield chunk

    def write(self, name: str, content: bytes) -> None:
        """Write a small object, whatever is there."""
        with _told(f"{self.url}/{name}"):
            self._make_parent(name)
            self.system.pipe_file(self.base + name, content)

    def create(self, name: str, content: bytes) -> bool:
        """Write a small object unless there is one; False if there is. Of many callers one wins."""
        kinds = self.system.protocol
        if _CREATING.isdisjoint([kinds] if isinstance(kinds, str) else kinds):
            raise UsageError(
                f"{self.url}: data can be read from there, but runs cannot be published: it has no "
                "conditional put; use s3:// or gs://, or a local path"
            )
        with _told(f"{self.url}/{name}"):
            self._make_parent(name)
            try:
                self.system.pipe_file(self.base + name, content, mode="create")
            except FileExistsError:
                return self.read(name) == content
            return True

    def upload(self, path: Path, name: str) -> Entry:
        """Upload a file; it appears when it is whole."""
        with _told(f"{self.url}/{name}"):
            self._make_parent(name)
            self.system.put_file(str(path), self.base + name)
        found = self.entry(name)
        if found is None or found.bytes != path.stat().st_size:
            raise StorageError(f"{self.url}/{name} is not as it was uploaded; try again")
        return found

    def _make_parent(self, name: str) -> None:
        """Make the folder of a name: a file system that has none does nothing."""
        self.system.makedirs((self.base + name).rpartition("/")[0], exist_ok=True)

    def remove(self, names: Iterable[str]) -> None:
        """Remove objects; those that are gone already are no error."""
        for name in names:
            with _told(f"{self.url}/{name}"):
                try:
                    self.system.rm_file(self.base + name)
                except FileNotFoundError:
                    continue

    def now(self) -> float:
        """Return the store's time: when an object was written just now, as fsspec tells no other.

        By this machine's, if its clock is wrong, it would take over from a run that is alive.
        """
        name = f".lease/clock-{uuid.uuid4().hex}"
        try:
            self.write(name, b"")
            entry = self.entry(name)
            self.remove([name])
        except StorageError:  # one who may only read takes nothing over
            entry = None
        return time.time() if entry is None else entry.modified

    def arrow(self) -> tuple[Any, str]:
        """Return a ``pyarrow.fs.FileSystem`` and the path of this folder in it."""
        from pyarrow.fs import FSSpecHandler, PyFileSystem

        return PyFileSystem(FSSpecHandler(self.system)), self.base.rstrip("/")

    def unfinished(self, under: str = "") -> list[Unfinished]:
        """List none: fsspec does not tell of uploads that were never completed."""
        return []

    def abort(self, upload: Unfinished) -> None:
        """Do nothing: none is ever listed."""
