"""CSV and TSV, gzipped or not. Every column is text, because these formats have no types."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv

from miner.datasets.base import data_errors
from miner.datasets.formats.files import extension, is_packed
from miner.datasets.formats.streamed import StreamedTable, check_filled, one_schema
from miner.errors import DataError

__all__ = ["open_delimited"]

_BLOCK = 1 << 20


def open_delimited(path: str, files: Sequence[Path]) -> StreamedTable:
    """Open files with a header line as one table."""
    check_filled(files)
    schemas = {file: _schema(file) for file in files}
    return StreamedTable(path, tuple(files), one_schema(schemas), _stream, {}, untyped=True)


@contextmanager
def _open(file: Path, names: Sequence[str] | None) -> Iterator[Any]:
    convert = None
    if names is not None:
        convert = pa.csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()),
            include_columns=list(names),
            strings_can_be_null=False,
        )
    read = pa.csv.ReadOptions(block_size=_BLOCK, use_threads=False)  # errors then name the row
    comma = extension(file) == "csv"
    parse = pa.csv.ParseOptions(delimiter="," if comma else "\t", newlines_in_values=True)
    packed = "gzip" if is_packed(file) else None
    # Opened by Arrow, not by Python: Arrow's threads read ahead, also for a moment after an error.
    # If they read from a Python file while the process exits, the process crashes.
    with pa.input_stream(str(file), compression=packed) as opened:
        with pa.csv.open_csv(opened, read, parse, convert) as reader:
            yield reader


def _schema(file: Path) -> Any:
    with data_errors(str(file)):
        with _open(file, None) as reader:
            names = reader.schema.names
    if len(names) == 1 and ";" in names[0]:
        raise DataError(f"{file}: its columns are separated by semicolons; write it with commas")
    return pa.schema([(name, pa.string()) for name in names])


def _stream(file: Path, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    with _open(file, columns) as reader:
        yield from reader
