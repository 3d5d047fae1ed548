"""Write a folder of Parquet or JSON lines files atomically."""

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
    with storage_errors(target):
        names = [path.name for path in target.iterdir()]
    other = next((name for name in sorted(names) if not _PART.fullmatch(name)), None)
    if other is not None:
        raise UsageError(
            f"{target} contains {other}, which is not an export file; name another --out"
        )


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


def _writer(file: IO[bytes], schema: Any, file_format: str) -> Any:
    if file_format == "jsonl":
        return _LinesWriter(file)
    return pq.ParquetWriter(
        file, schema, compression="zstd", compression_level=3, write_page_checksum=True
    )


def write_parts(
    folder: Path, schema: Any, batches: Iterable[Any], file_format: str
) -> list[dict[str, Any]]:
    """Write record batches to files ``part-00000`` and so on; return the files' facts.

    Parameters
    ----------
    folder : Path
    schema : pyarrow.Schema
    batches : iterable of pyarrow.RecordBatch
        If there are none, one file without rows is written.
    file_format : str
        One of `FILE_FORMATS`.

    Raises
    ------
    StorageError
        If a file cannot be written.
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
    """Yield the rows of record batches as tables of bounded size; none spans two files."""
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
