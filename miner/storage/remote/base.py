"""What a folder of objects can do, whoever stores it.

Nothing can be renamed. An object appears whole under its name or not at all; `Folder.create` is the
one operation by which of several writers one wins.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from miner.registry import Registry
from miner.storage.urls import check_url

__all__ = ["FOLDERS", "Entry", "Folder", "Unfinished", "open_folder"]


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


@dataclass(frozen=True, slots=True)
class Unfinished:
    """The parts of an upload that was never completed: invisible, but they take room."""

    name: str
    upload: str


class Folder(ABC):
    """The objects below one URL. Names are relative to it, with slashes; all errors are ours.

    Attributes
    ----------
    url : str
        Without a slash at its end.
    """

    url: str

    @abstractmethod
    def entries(self, under: str = "") -> list[Entry]:
        """List all objects whose name begins with `under`, in the order of their names."""

    @abstractmethod
    def entry(self, name: str) -> Entry | None:
        """Look at one object; None when there is none."""

    @abstractmethod
    def stream(self, entry: Entry, start: int) -> Iterator[bytes]:
        """Read an object from a byte on; `StorageError` when it is another one by now."""

    @abstractmethod
    def read(self, name: str) -> bytes | None:
        """Read a small object; None when there is none."""

    @abstractmethod
    def write(self, name: str, content: bytes) -> None:
        """Write a small object, whatever is there."""

    @abstractmethod
    def create(self, name: str, content: bytes) -> bool:
        """Write a small object unless there is one; False if there is. Of many callers one wins."""

    @abstractmethod
    def upload(self, path: Path, name: str) -> Entry:
        """Upload a file; it appears when it is whole."""

    @abstractmethod
    def remove(self, names: Iterable[str]) -> None:
        """Remove objects; those that are gone already are no error."""

    @abstractmethod
    def now(self) -> float:
        """Return the store's time, in seconds since 1970."""

    @abstractmethod
    def arrow(self) -> tuple[object, str]:
        """Return a ``pyarrow.fs.FileSystem`` and the path of this folder in it."""

    @abstractmethod
    def unfinished(self, under: str = "") -> list[Unfinished]:
        """List uploads of names that begin with `under` and were never completed."""

    @abstractmethod
    def abort(self, upload: Unfinished) -> None:
        """Give the room of an unfinished upload back."""


FOLDERS = Registry("object store")
FOLDERS.register(
    "s3", "miner.storage.remote.s3:S3Folder", "S3's protocol", needs=("boto3",), extra="s3"
)
FOLDERS.register(
    "gs",
    "miner.storage.remote.fsspec:OtherFolder",
    "Google Cloud Storage",
    needs=("gcsfs",),
    extra="gs",
)
FOLDERS.register(
    "fsspec",
    "miner.storage.remote.fsspec:OtherFolder",
    "what fsspec knows",
    needs=("fsspec",),
    extra="gs",
)


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
    scheme = url.partition("://")[0]
    folder: Folder = FOLDERS.load(scheme if scheme in FOLDERS.names() else "fsspec")(url)
    return folder
