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

__all__ = ["FOLDERS", "Entry", "Folder", "open_folder"]


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
    def children(self) -> list[str]:
        """List the names directly below the folder, of objects and of folders, in their order."""

    @abstractmethod
    def entry(self, name: str) -> Entry | None:
        """Look at one object; None when there is none."""

    @abstractmethod
    def stream(self, entry: Entry, start: int) -> Iterator[bytes]:
        """Read an object from a byte on; `StorageError` when it is another one by now."""

    @abstractmethod
    def part(self, entry: Entry, start: int, end: int) -> bytes:
        """Read some bytes of an object; `StorageError` when it is another one by now."""

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


FOLDERS = Registry("object store")
for _scheme, _summary in (
    ("s3", "S3's protocol"),
    ("gs", "Google Cloud Storage"),
    ("az", "Azure Blob Storage"),
):
    FOLDERS.register(
        _scheme,
        "miner.storage.remote.buckets:BucketFolder",
        _summary,
        needs=("obstore",),
        extra="remote",
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
    folder: Folder = FOLDERS.load(url.partition("://")[0])(url)
    return folder
