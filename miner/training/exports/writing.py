"""A folder of parts, Parquet or JSON lines, that appears whole under its name or not at all."""

from __future__ import annotations

import json
import re
import shutil
import uuid
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
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
    check_place(target, "--out")
    if target.is_symlink() or target.exists():
        if not force:
            raise UsageError(f"{target} is there already; use --force, or another --out")
        _refuse_foreign(target)
    return target


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


class _LinesWriter:
    """A file of JSON lines, written as a `pyarrow.parquet.ParquetWriter` is."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def write_table(self, table: Any) -> None:
        """Write a line a row."""
        for row in table.to_pylist():
            self._file.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")

    def close(self) -> None:
        """Leave the file to its owner."""


def _writer(file: IO[bytes], schema: Any, file_format: str) -> Any:
    if file_format == "jsonl":
        return _LinesWriter(file)
    return pq.ParquetWriter(
        file, schema, compression="zstd", compression_level=3, write_page_checksum=True
    )


def write_parts(
    folder: Path, schema: Any, batches: Iterable[Any], file_format: str
) -> list[dict[str, Any]]:
    """Write record batches as ``part-00000`` and so on; return the files' facts.

    Parameters
    ----------
    folder : Path
    schema : pyarrow.Schema
    batches : iterable of pyarrow.RecordBatch
        Without any, one part without rows is written.
    file_format : str
        One of `FILE_FORMATS`.

    Raises
    ------
    StorageError
        When it cannot be written.
    """
    files: list[dict[str, Any]] = []
    groups = _groups(batches, schema)
    group = next(groups, None)
    while group is not None or not files:
        path = folder / f"part-{len(files):05d}.{file_format}"
        rows = 0
        with atomic_open(path) as file, closing(_writer(file, schema, file_format)) as writer:
            while group is not None and rows < PART_ROWS:
                writer.write_table(group)
                rows += len(group)
                group = next(groups, None)
        files.append(file_facts(path, folder, rows))
    return files


def _groups(batches: Iterable[Any], schema: Any) -> Iterator[Any]:
    """Give the rows of record batches as tables of a bounded size; none spans two parts."""
    group: list[Any] = []
    rows = size = done = 0
    for batch in batches:
        while len(batch):
            taken = batch.slice(0, min(_GROUP_ROWS - rows, PART_ROWS - done))
            batch = batch.slice(len(taken))
            group.append(taken)
            rows, size, done = rows + len(taken), size + taken.nbytes, done + len(taken)
            if rows == _GROUP_ROWS or size >= _GROUP_BYTES or done == PART_ROWS:
                yield pa.Table.from_batches(group, schema)
                group, rows, size, done = [], 0, 0, done % PART_ROWS
    if group:
        yield pa.Table.from_batches(group, schema)
