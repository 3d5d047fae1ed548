"""JSON lines, gzipped or not: one object a line; column types are those of the first 16 MiB."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.json

from miner.datasets.base import data_errors
from miner.datasets.files import open_bytes
from miner.datasets.lines import LineFault, bounded_lines, json_blocks
from miner.datasets.streamed import StreamedTable, check_filled, one_schema
from miner.errors import DataError

__all__ = ["open_json_lines"]


def open_json_lines(path: str, files: Sequence[Path]) -> StreamedTable:
    """Open files of one JSON object a line as one table."""
    check_filled(files)
    schemas = {file: _schema(file) for file in files}
    schema = one_schema(schemas)

    def stream(file: Path, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        wanted = pa.schema([schema.field(name) for name in columns])
        with _line_errors(file):
            for table in _tables(file, wanted):
                yield from table.to_batches()

    return StreamedTable(path, tuple(files), schema, stream, {})


def _tables(file: Path, schema: Any) -> Iterator[Any]:
    """Read a file block by block; without a schema, columns and types are those of each block.

    Arrow is given copies of blocks, in memory of its own: where it reads a file of Python's, its
    threads read ahead after an error too, and bring a process down that ends meanwhile.
    """
    parse = None
    if schema is not None:
        parse = pa.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
    with open_bytes(file) as opened:
        for block in json_blocks(opened, str(file)):
            whole = pa.json.ReadOptions(block_size=len(block))
            yield pa.json.read_json(pa.BufferReader(_copied(block)), whole, parse)


def _copied(block: bytes) -> Any:
    sink = pa.BufferOutputStream()
    sink.write(block)
    return sink.getvalue()


def _schema(file: Path) -> Any:
    with _line_errors(file), data_errors(str(file)):
        first = next(_tables(file, None), None)
        if first is None:
            raise DataError(f"{file} has nothing but blank lines; check how it was written")
        # Arrow takes texts that look like dates for dates, and a column of nulls for nothing else.
        return pa.schema(
            [(one.name, pa.string() if _is_text(one.type) else one.type) for one in first.schema]
        )


def _is_text(kind: Any) -> bool:
    return bool(pa.types.is_timestamp(kind) or pa.types.is_null(kind) or pa.types.is_string(kind))


@contextmanager
def _line_errors(file: Path) -> Iterator[None]:
    """Name the line that Arrow stumbled over: its own row counts from a block."""
    try:
        yield
    except LineFault:
        raise
    except (DataError, pa.ArrowException, OSError, EOFError, zlib.error) as error:
        line = _broken_line(file)
        if line is None:
            raise
        raise DataError(f"{file} cannot be read: {line}; correct it") from error


def _broken_line(file: Path) -> str | None:
    try:
        with open_bytes(file) as opened:
            for number, line in enumerate(bounded_lines(opened, str(file)), start=1):
                try:
                    json.loads(line.decode("utf-8-sig") if line.strip() else "{}")
                except (ValueError, RecursionError) as error:  # UnicodeDecodeError is one
                    words = "UTF-8" if isinstance(error, UnicodeDecodeError) else "a JSON object"
                    return f"line {number} is not {words} ({error})"
    except (OSError, EOFError, zlib.error):
        return None
    return None
