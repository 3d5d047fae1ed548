"""JSON lines, gzipped or not: one object a line. The first 16 MiB decide the column types."""

from __future__ import annotations

import json
import re
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.json

from miner.datasets.base import data_errors
from miner.datasets.formats.bounded_lines import JsonBlock, LineFault, bounded_lines, json_blocks
from miner.datasets.formats.files import open_bytes
from miner.datasets.formats.streamed import StreamedTable, check_filled, one_schema
from miner.errors import DataError

__all__ = ["open_json_lines"]

_ROW = re.compile(r"JSON parse error: (?P<why>.*) in row (?P<row>\d+)$")
"""Arrow's message for a value of another type; it counts the rows of a block from 0."""
_BLOCK, _MOST_THREADS = 4 << 20, 4
"""Bytes of a block, and most threads that parse blocks."""


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
    """Yield a table for each block of a file; several blocks are parsed in threads.

    The threads have ended when the generator ends. Arrow's own threads are not used: they read
    ahead in a Python file even after an error, and a process that exits meanwhile crashes.
    """
    parse = pa.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
    threads = min(pa.cpu_count(), _MOST_THREADS)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="mine-json")
    waiting: deque[Future[Any]] = deque()
    try:
        with open_bytes(file) as opened:
            for block in _in_turn(pool, json_blocks(opened, str(file), _BLOCK), parse):
                waiting.append(block)
                if len(waiting) > threads:
                    yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _in_turn(pool: ThreadPoolExecutor, blocks: Iterator[JsonBlock], parse: Any) -> Iterator[Any]:
    """Yield a future of each block's table, and a failed future if reading ends in an error.

    The error is raised in turn, because the preceding blocks may hold an earlier error.
    """
    try:
        for block in blocks:
            yield pool.submit(_parsed, block, parse, threads=False)
    except (DataError, OSError, EOFError, zlib.error) as error:
        failed: Future[Any] = Future()
        failed.set_exception(error)
        yield failed


def _parsed(block: JsonBlock, parse: Any, *, threads: bool) -> Any:
    """Parse a block, copied to Arrow's memory, which can be freed without the interpreter."""
    block.check()
    sink = pa.BufferOutputStream()
    sink.write(block.lines)
    whole = pa.json.ReadOptions(use_threads=threads, block_size=len(block.lines))
    try:
        return pa.json.read_json(pa.BufferReader(sink.getvalue()), whole, parse)
    except pa.ArrowInvalid as error:
        match = _ROW.search(str(error))
        line = block.line_of(int(match["row"])) if match is not None else None
        if match is None or line is None:
            raise
        where = f"{block.where} cannot be read: line {line}"
        raise DataError(f"{where}: {match['why']}; correct it") from error


def _schema(file: Path) -> Any:
    with _line_errors(file), data_errors(str(file)), open_bytes(file) as opened:
        block = next(json_blocks(opened, str(file)), None)
        if block is None:
            raise DataError(f"{file} has nothing but blank lines; check how it was written")
        block.check_keys()
        first = _parsed(block, None, threads=True)
        # Arrow infers timestamps from texts, and a type without values from a column of nulls.
        return pa.schema(
            [(one.name, pa.string() if _is_text(one.type) else one.type) for one in first.schema]
        )


def _is_text(kind: Any) -> bool:
    return bool(pa.types.is_timestamp(kind) or pa.types.is_null(kind) or pa.types.is_string(kind))


@contextmanager
def _line_errors(file: Path) -> Iterator[None]:
    """Name the line of an error, because Arrow counts its rows from the start of a block."""
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
