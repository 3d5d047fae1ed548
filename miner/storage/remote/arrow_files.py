"""A read-only Arrow file system over object storage, which reads without a local copy."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any, NoReturn

import pyarrow as pa
from pyarrow.fs import FileInfo, FileSystemHandler, FileType, PyFileSystem

from miner.errors import StorageError
from miner.storage.remote.base import Entry, Folder

__all__ = ["arrow_files"]


def arrow_files(folder: Folder) -> Any:
    """Return a read-only ``pyarrow.fs.FileSystem`` of a folder's objects, by their names."""
    return PyFileSystem(_Objects(folder))


class _Object(io.RawIOBase):
    """A file that requests only the bytes that are read from it."""

    def __init__(self, folder: Folder, entry: Entry) -> None:
        self.folder, self.entry, self.place = folder, entry, 0

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self.place, io.SEEK_END: self.entry.bytes}[whence]
        self.place = start + offset
        return self.place

    def read(self, size: int | None = -1) -> bytes:
        rest = self.entry.bytes - self.place
        wanted = rest if size is None or size < 0 else min(size, rest)
        if wanted <= 0:
            return b""
        content = self.folder.part(self.entry, self.place, self.place + wanted)
        self.place += len(content)
        return content


class _Objects(FileSystemHandler):
    """Arrow's file system interface, as far as reading by name needs it."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder

    def get_type_name(self) -> str:
        return "mine"

    def normalize_path(self, path: str) -> str:
        return path

    def get_file_info(self, paths: Sequence[str]) -> list[Any]:
        entries = [(path, self.folder.entry(path)) for path in paths]
        return [
            FileInfo(path, FileType.NotFound)
            if entry is None
            else FileInfo(path, FileType.File, size=entry.bytes, mtime=entry.modified)
            for path, entry in entries
        ]

    def open_input_file(self, path: str) -> Any:
        entry = self.folder.entry(path)
        if entry is None:
            raise StorageError(f"{self.folder.url}/{path} is missing; see mine verify")
        return pa.PythonFile(_Object(self.folder, entry), mode="r")

    open_input_stream = open_input_file

    def _refuse(self, *arguments: Any) -> NoReturn:
        raise NotImplementedError("this file system only reads objects by name")

    get_file_info_selector = create_dir = delete_dir = delete_dir_contents = _refuse
    delete_root_dir_contents = delete_file = move = copy_file = _refuse
    open_output_stream = open_append_stream = _refuse
