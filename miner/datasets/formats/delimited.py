"""CSV and TSV, packed or not. Every column is text, because these formats have no types."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import pyarrow as pa
import pyarrow.csv

from miner.datasets.base import data_errors
from miner.datasets.column_types import one_schema
from miner.datasets.formats.files import PLAIN, TextFormat, extension, open_bytes, packing
from miner.datasets.formats.streamed import StreamedTable, check_filled
from miner.errors import DataError

__all__ = ["open_delimited"]

_BLOCK = 1 << 20
_QUOTED = re.compile(r'"(?:[^"]|"")*"')
_NAMED = re.compile(r"sep=(.)\r?$")
"""The first line by which spreadsheets name the separator."""


@dataclass(frozen=True, slots=True)
class _Dialect:
    """How the lines of one file are written; the first `skipped` lines are no rows."""

    separator: str
    encoding: str | None
    skipped: int = 0


def open_delimited(path: str, files: Sequence[Path], text: TextFormat = PLAIN) -> StreamedTable:
    """Open files with a header line as one table."""
    check_filled(files)
    dialects, schemas = {}, {}
    for file in files:
        with data_errors(str(file)):
            dialects[file] = _dialect(file, text)
            with _open(file, dialects[file], None) as reader:
                schemas[file] = pa.schema([(name, pa.string()) for name in reader.schema.names])
    schema, faults = one_schema(schemas)

    def stream(file: Path, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        with _open(file, dialects[file], columns) as reader:
            yield from reader

    return StreamedTable(path, tuple(files), schema, stream, {}, untyped=True, faults=faults)


@contextmanager
def _open(file: Path, dialect: _Dialect, names: Sequence[str] | None) -> Iterator[Any]:
    convert = None
    if names is not None:
        convert = pa.csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()),
            include_columns=list(names),
            strings_can_be_null=False,
        )
    read = pa.csv.ReadOptions(  # without threads, errors name the row
        block_size=_BLOCK, use_threads=False, skip_rows=dialect.skipped
    )
    parse = pa.csv.ParseOptions(delimiter=dialect.separator, newlines_in_values=True)
    # Opened by Arrow, not by Python: Arrow's threads read ahead, also for a moment after an error.
    # If they read from a Python file while the process exits, the process crashes.
    with _as_utf8(file, dialect.encoding) as plain:
        with pa.input_stream(str(plain), compression=packing(plain)) as opened:
            with pa.csv.open_csv(opened, read, parse, convert) as reader:
                yield reader


@contextmanager
def _as_utf8(file: Path, encoding: str | None) -> Iterator[Path]:
    """Yield a file in UTF-8: the given one, or a temporary copy if it has another encoding."""
    if encoding is None:
        yield file
        return
    with NamedTemporaryFile(suffix=".csv") as copy:
        with open_bytes(file, encoding) as opened:
            shutil.copyfileobj(opened, copy)
        copy.flush()
        yield Path(copy.name)


def _dialect(file: Path, text: TextFormat) -> _Dialect:
    """Return how a file is written; where the job does not say it, its first lines show it.

    Raises
    ------
    DataError
        If several characters may be the separator.
    """
    with open_bytes(file, text.encoding) as opened:
        lines = opened.read(_BLOCK).decode("utf-8-sig", "replace").split("\n")
    named = _NAMED.match(lines[0])
    skipped = 1 if named else 0
    usual = "," if extension(file) == "csv" else "\t"
    if text.separator or named or usual == "\t":
        mark = text.separator or (named[1] if named else usual)
        return _Dialect(mark, text.encoding, skipped)
    first = [_QUOTED.sub("", line) for line in lines[:2]]
    counts = {mark: [line.count(mark) for line in first] for mark in ",;|\t"}
    fits = [mark for mark, found in counts.items() if found[0] == found[-1] > 0]
    marks = fits or [mark for mark, found in counts.items() if found[0]]
    if usual in marks or not marks:
        return _Dialect(usual, text.encoding)
    if len(marks) > 1:
        raise DataError(
            f"{file}: its columns may be separated by any of {marks}; name the separator with "
            f"dataset.separator = {marks[0]!r}"
        )
    return _Dialect(marks[0], text.encoding)
