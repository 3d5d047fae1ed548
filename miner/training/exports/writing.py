"""A folder of parts, Parquet or JSON lines, that appears whole under its name or not at all."""

from __future__ import annotations

import json
import re
import shutil
import uuid
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from miner.errors import UsageError
from miner.runs.run import Run
from miner.runs.shards import PART_ROWS, file_facts
from miner.storage.files import atomic_open, publish_folder, storage_errors
from miner.storage.urls import expanded, is_url

__all__ = ["FILE_FORMATS", "export_folder", "whole_folder", "write_parts"]

_GROUP_ROWS = 1 << 17
_GROUP_BYTES = 32 << 20
_PART = re.compile(r"part-\d{5,}\.(parquet|jsonl)")

FILE_FORMATS = ("parquet", "jsonl")


def export_folder(run: Run, name: str, out: str | Path | None, *, force: bool) -> Path:
    """Return the folder of an export: `out`, or ``exports/RUN_ID-name`` beside ``runs``.

    Of a run in object storage it lies in the current folder.

    Raises
    ------
    UsageError
        When it lies in a run's folder, is there already, or may not be replaced, or is a URL.
    """
    if out and is_url(out):
        raise UsageError(f"--out {out}: an export is a local folder; copy it there afterwards")
    root = run.path.parent
    root = root.parent if root.name == "runs" else root
    root = root if run.remote is None else Path()
    target = expanded(out) if out else root / "exports" / f"{run.run_id}-{name}"
    target = target.absolute()
    inside = next((p for p in (target.resolve(), *target.resolve().parents) if _is_run(p)), None)
    if inside is not None:
        raise UsageError(f"{target} lies in the run {inside}; a run holds its shards only: --out")
    if target.is_symlink() or target.exists():
        if not force:
            raise UsageError(f"{target} is there already; use --force, or another --out")
        _refuse_foreign(target)
    return target


def _is_run(folder: Path) -> bool:
    return (folder / "manifest.json").exists()


def _refuse_foreign(target: Path) -> None:
    """Refuse to replace anything but what an export has written."""
    if target.is_symlink() or not target.is_dir():
        raise UsageError(f"{target} is no folder of an export; --force does not replace it")
    with storage_errors(target):
        names = [path.name for path in target.iterdir()]
    other = next((name for name in sorted(names) if not _PART.fullmatch(name)), None)
    if other is not None:
        raise UsageError(f"{target} holds {other}, no export's; --force does not replace it")


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """Give a temporary folder to write to; on success it takes the place of `target`.

    When the block raises, the temporary folder is removed and `target` is left as it was.
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


class _Sink(Protocol):
    def __init__(self, file: IO[bytes], schema: Any) -> None:
        """Write to a file."""

    def write(self, batches: list[Any]) -> None:
        """Write some record batches."""

    def close(self) -> None:
        """Finish; the file stays open."""


class _ParquetSink:
    """A Parquet file, compressed as the shards are."""

    def __init__(self, file: IO[bytes], schema: Any) -> None:
        self.schema = schema
        self._writer = pq.ParquetWriter(
            file, schema, compression="zstd", compression_level=3, write_page_checksum=True
        )

    def write(self, batches: list[Any]) -> None:
        """Write a row group."""
        self._writer.write_table(pa.Table.from_batches(batches, self.schema))

    def close(self) -> None:
        """Write the footer."""
        self._writer.close()


class _LinesSink:
    """A file of JSON lines."""

    def __init__(self, file: IO[bytes], schema: Any) -> None:
        self._file = file

    def write(self, batches: list[Any]) -> None:
        """Write a line a row."""
        for batch in batches:
            for row in batch.to_pylist():
                self._file.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")

    def close(self) -> None:
        """Leave the file to its owner."""


_SINKS: dict[str, type[_Sink]] = {"parquet": _ParquetSink, "jsonl": _LinesSink}


def write_parts(folder: Path, batches: Iterable[Any], file_format: str) -> list[dict[str, Any]]:
    """Write record batches as ``part-00000`` and so on; return the files' facts.

    Parameters
    ----------
    folder : Path
    batches : iterable of pyarrow.RecordBatch
        At least one, with or without rows, all of one schema.
    file_format : str
        One of `FILE_FORMATS`.

    Raises
    ------
    StorageError
        When it cannot be written.
    """
    files: list[dict[str, Any]] = []
    source = _Feed(iter(batches))
    while not files or source.more:
        path = folder / f"part-{len(files):05d}.{file_format}"
        rows = 0
        with atomic_open(path) as file, closing(_SINKS[file_format](file, source.schema)) as sink:
            for group in source.groups(PART_ROWS):
                sink.write(group)
                rows += sum(map(len, group))
        files.append(file_facts(path, folder, rows))
    return files


class _Feed:
    """Record batches in groups of a bounded size."""

    def __init__(self, batches: Iterator[Any]) -> None:
        self._batches = batches
        self._next: Any = next(batches)
        self.schema = self._next.schema
        self._skip()

    @property
    def more(self) -> bool:
        """Whether there are rows left."""
        return self._next is not None

    def _skip(self) -> None:
        """Go on to the next batch with rows."""
        while self._next is not None and not len(self._next):
            self._next = next(self._batches, None)

    def _take(self, rows: int) -> Any:
        batch = self._next.slice(0, rows)
        self._next = self._next.slice(rows)
        self._skip()
        return batch

    def groups(self, rows: int) -> Iterator[list[Any]]:
        """Give groups of batches until there are so many rows, or no more."""
        while rows and self._next is not None:
            group: list[Any] = []
            most, size = min(rows, _GROUP_ROWS), 0
            while self._next is not None and most and size < _GROUP_BYTES:
                batch = self._take(most)
                group.append(batch)
                most -= len(batch)
                rows -= len(batch)
                size += batch.nbytes
            yield group
