"""Parquet, CSV, TSV and JSON lines, streamed by pyarrow."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset
import pyarrow.json

from miner.datasets.base import ROWS, data_errors
from miner.errors import DataError

__all__ = ["ArrowTable", "open_csv", "open_jsonl", "open_parquet"]

_JSON_BLOCK = 16 << 20


@dataclass(frozen=True, slots=True)
class ArrowTable:
    """A file behind a pyarrow data set."""

    path: Path
    dataset: Any
    untyped: bool = False

    @property
    def where(self) -> str:
        """The path, as messages name it."""
        return str(self.path)

    @property
    def files(self) -> tuple[Path, ...]:
        """The file."""
        return (self.path,)

    @property
    def types(self) -> dict[str, Any]:
        """Column name -> Arrow type."""
        return {column.name: column.type for column in self.dataset.schema}

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Stream the named columns, in batches of at most `ROWS` rows."""
        wanted = list(dict.fromkeys(columns))
        with _file_errors(self.path):
            stream = self.dataset.to_batches(
                columns=wanted, batch_size=ROWS, batch_readahead=2, fragment_readahead=1
            )
            for batch in stream:
                batch.validate(full=True)  # the JSON reader takes any bytes for text
                for start in range(0, len(batch), ROWS):
                    yield batch.slice(start, ROWS)


def _open(path: Path, file_format: Any, *, schema: Any = None, untyped: bool = False) -> ArrowTable:
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty; check how it was written")
    with _file_errors(path):
        return ArrowTable(path, pa.dataset.dataset(path, schema, file_format), untyped)


@contextmanager
def _file_errors(path: Path) -> Iterator[None]:
    """Name the line of a JSON file that Arrow stumbled over: its own row counts from a block."""
    try:
        with data_errors(str(path)):
            yield
    except DataError as error:
        line = _broken_line(path) if path.suffix.lower() in (".jsonl", ".ndjson") else None
        if line is None:
            raise
        raise DataError(f"{path} cannot be read: {line}; correct it") from error


def _broken_line(path: Path) -> str | None:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                json.loads(line.decode("utf-8-sig") if line.strip() else "{}")
            except ValueError as error:  # UnicodeDecodeError is one
                words = "UTF-8" if isinstance(error, UnicodeDecodeError) else "a JSON object"
                return f"line {number} is not {words} ({error})"
    return None


def open_parquet(path: Path) -> ArrowTable:
    """Open a Parquet file."""
    return _open(path, pa.dataset.ParquetFileFormat())


def open_csv(path: Path) -> ArrowTable:
    """Open a CSV or TSV file with a header line; every column is text."""
    comma = path.suffix.lower() == ".csv"
    parse = pa.csv.ParseOptions(delimiter="," if comma else "\t", newlines_in_values=True)
    inferred = _open(path, pa.dataset.CsvFileFormat(parse)).dataset.schema
    if len(inferred.names) == 1 and ";" in inferred.names[0]:
        raise DataError(f"{path}: its columns are separated by semicolons; write it with commas")
    convert = pa.csv.ConvertOptions(
        column_types=dict.fromkeys(inferred.names, pa.string()), strings_can_be_null=False
    )
    schema = pa.schema([(name, pa.string()) for name in inferred.names])
    scan = pa.dataset.CsvFragmentScanOptions(convert_options=convert)
    file_format = pa.dataset.CsvFileFormat(parse, default_fragment_scan_options=scan)
    return _open(path, file_format, schema=schema, untyped=True)


def open_jsonl(path: Path) -> ArrowTable:
    """Open a file of one JSON object a line; column types are those of its first 16 MiB."""
    read = pa.json.ReadOptions(block_size=_JSON_BLOCK)
    inferred = _open(path, pa.dataset.JsonFileFormat(read_options=read)).dataset.schema
    # Arrow takes texts that look like dates for dates, and a column of nulls for nothing else.
    texts = [
        (column.name, pa.string() if _is_text(column.type) else column.type) for column in inferred
    ]
    parse = pa.json.ParseOptions(
        explicit_schema=pa.schema(texts), unexpected_field_behavior="ignore"
    )
    file_format = pa.dataset.JsonFileFormat(parse_options=parse, read_options=read)
    return _open(path, file_format, schema=pa.schema(texts))


def _is_text(kind: Any) -> bool:
    return bool(pa.types.is_timestamp(kind) or pa.types.is_null(kind) or pa.types.is_string(kind))
