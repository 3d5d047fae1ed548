"""Write a folder of Parquet or JSON lines files atomically."""

from __future__ import annotations

import json
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from miner.errors import UsageError
from miner.runs.run import Run
from miner.runs.shards import PART_ROWS, file_facts
from miner.storage.files import atomic_open, publish_folder, storage_errors
from miner.storage.outputs import check_place
from miner.storage.urls import expanded, is_url
from miner.training.exports.catalog import EXPORT_FORMATS, Table

__all__ = ["FILE_FORMATS", "REVIEW", "Parts", "export_folder", "whole_folder"]

_GROUP_ROWS = 1 << 17
_GROUP_BYTES = 32 << 20
_PART = re.compile(r"part-\d{5,}\.(parquet|jsonl|json)")

FILE_FORMATS = ("parquet", "jsonl")
REVIEW = "review.csv"
"""The table of a review, which no export replaces."""
_TABLES = [table for shape in EXPORT_FORMATS.values() for table in shape.tables]
_FOLDERS = {table.folder for table in _TABLES}
_NOTES = {table.note[0] for table in _TABLES if table.note}


def export_folder(run: Run, name: str, out: str | Path | None, *, force: bool) -> Path:
    """Return the folder of an export: `out`, or ``exports/RUN_ID-NAME`` next to ``runs``.

    For a run in object storage, ``exports`` is in the current folder.

    Raises
    ------
    UsageError
        If the folder lies in a run, exists and may not be replaced, or is a URL.
    """
    if out and is_url(out):
        raise UsageError(f"--out {out}: an export is a local folder; copy it there afterwards")
    root = run.path.parent
    root = root.parent if root.name == "runs" else root
    root = root if run.remote is None else Path()
    target = expanded(out) if out else root / "exports" / f"{run.run_id}-{name}"
    target = target.absolute()
    check_place(target, "--out")
    if target.is_symlink() or target.exists():
        _refuse_foreign(target)
        if not force:
            raise UsageError(f"{target} exists already; use --force, or another --out")
    return target


def _refuse_foreign(target: Path) -> None:
    """Raise `UsageError` if a path is not a folder that only contains files of an export."""
    if target.is_symlink() or not target.is_dir():
        raise UsageError(f"{target} exists and is not a folder of an export; name another --out")
    if (target / REVIEW).exists():
        raise UsageError(f"{target} has a review, perhaps with decisions; name another --out")
    with storage_errors(target):
        found = {path.relative_to(target): path.is_dir() for path in target.rglob("*")}
    other = next((path for path, folder in sorted(found.items()) if not _ours(path, folder)), None)
    if other is not None:
        raise UsageError(
            f"{target} contains {other}, which is not an export file; name another --out"
        )


def _ours(path: Path, folder: bool) -> bool:
    """Return whether a path in a folder has a name that an export gives."""
    if folder:
        return str(path) in _FOLDERS
    named = _PART.fullmatch(path.name) or path.name in _NOTES
    return bool(named) and str(path.parent) in _FOLDERS | {"."}


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """Yield a temporary folder to write to; on success it replaces `target`.

    If the block raises, the temporary folder is removed and `target` is unchanged.
    """
    mark = uuid.uuid4().hex[:8]
    temporary, old = (target.parent / f".{target.name}.{mark}.{end}" for end in ("tmp", "old"))
    try:
        with storage_errors(target):
            temporary.mkdir(parents=True)
        yield temporary
        if target.exists():
            with storage_errors(target):
                target.rename(old)
        try:
            publish_folder(temporary, target, "it is written; a loss of power could undo that")
        except BaseException:
            if old.exists() and not target.exists():
                old.rename(target)
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


class _LinesWriter:
    """Writes JSON lines, with the interface of `pyarrow.parquet.ParquetWriter`."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def write_table(self, table: Any) -> None:
        """Write one line for each row."""
        for row in table.to_pylist():
            self._file.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")

    def close(self) -> None:
        """Do nothing; the caller closes the file."""


class _ObjectWriter:
    """Writes one JSON object with the rows in its list ``data``, with the same interface."""

    def __init__(self, file: IO[bytes], about: dict[str, Any]) -> None:
        self._file = file
        self._between = json.dumps(about, ensure_ascii=False)[:-1].encode() + b', "data": [\n'

    def write_table(self, table: Any) -> None:
        """Write one line for each row."""
        for row in table.to_pylist():
            self._file.write(self._between + json.dumps(row, ensure_ascii=False).encode())
            self._between = b",\n"

    def close(self) -> None:
        """Close the list and the object; the caller closes the file."""
        self._file.write((b"" if self._between == b",\n" else self._between) + b"\n]}\n")


def _writer(file: IO[bytes], schema: Any, kind: str, about: dict[str, Any]) -> Any:
    if kind == "jsonl":
        return _LinesWriter(file)
    if kind == "json":
        return _ObjectWriter(file, about)
    return pq.ParquetWriter(
        file, schema, compression="zstd", compression_level=3, write_page_checksum=True
    )


class Parts:
    """Writes record batches to files ``part-00000`` and so on.

    Parameters
    ----------
    root : Path
        The folder of the export.
    table : Table
    schema : pyarrow.Schema
    file_format : str
        The file format, unless the table has one of its own.

    Attributes
    ----------
    files : list of dict
        The facts of the files; without batches, of one file without rows.

    Raises
    ------
    StorageError
        If a file cannot be written.
    """

    def __init__(self, root: Path, table: Table, schema: Any, file_format: str) -> None:
        self.files: list[dict[str, Any]] = []
        self._root, self._table, self._schema = root, table, schema
        self._kind = table.file_format or file_format
        self._open = ExitStack()
        self._writer: Any = None
        self._group: list[Any] = []
        self._rows = self._size = self._done = 0

    @contextmanager
    def opened(self) -> Iterator[Parts]:
        """Yield these parts; then finish the last file, or remove it after an error."""
        with storage_errors(self._root):
            (self._root / self._table.folder).mkdir(exist_ok=True)
        with self._open:
            yield self
            if self._group or not self.files:
                self._flush()
            if self._writer is not None:
                self._finish()

    def write(self, batch: Any) -> None:
        """Write the rows of a batch, in groups of bounded size; none spans two files."""
        while len(batch):
            taken = batch.slice(0, min(_GROUP_ROWS - self._rows, PART_ROWS - self._done))
            batch = batch.slice(len(taken))
            self._group.append(taken)
            self._rows += len(taken)
            self._size += taken.nbytes
            self._done += len(taken)
            if self._rows == _GROUP_ROWS or self._size >= _GROUP_BYTES or self._done == PART_ROWS:
                self._flush()

    @property
    def _path(self) -> Path:
        return self._root / self._table.folder / f"part-{len(self.files):05d}.{self._kind}"

    def _flush(self) -> None:
        with storage_errors(self._path):
            if self._writer is None:
                file = self._open.enter_context(atomic_open(self._path))
                writer = _writer(file, self._schema, self._kind, self._table.about)
                self._writer = self._open.enter_context(closing(writer))
            if self._group:
                self._writer.write_table(pa.Table.from_batches(self._group, self._schema))
        self._group, self._rows, self._size = [], 0, 0
        if self._done == PART_ROWS:
            self._finish()

    def _finish(self) -> None:
        self._open.close()
        self.files.append(file_facts(self._path, self._root, self._done))
        self._writer, self._done = None, 0
