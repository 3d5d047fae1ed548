"""JSON: one object a line, or one array of objects; packed or not.

The first 16 MiB decide the column types. A column whose values have several types is refused, but
only if it is used.
"""

from __future__ import annotations

import json
import re
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

from miner.datasets.base import data_errors
from miner.datasets.column_types import one_schema
from miner.datasets.formats.bounded_lines import JsonBlock, LineFault, bounded_lines, json_blocks
from miner.datasets.formats.files import PLAIN, TextFormat, open_bytes
from miner.datasets.formats.json_array import Lines, one_a_line
from miner.datasets.formats.streamed import StreamedTable, check_filled
from miner.errors import DataError

__all__ = ["open_json_lines"]

_ROW = re.compile(r"JSON parse error: (?P<why>.*) in row (?P<row>\d+)$")
"""Arrow's message for a value of another type; it counts the rows of a block from 0."""
_MIXED = re.compile(r"Column\(/(?P<path>.*)\) changed from ")
_LARGE = float(1 << 63)
_BLOCK, _MOST_THREADS = 4 << 20, 4
"""Bytes of a block, and most threads that parse blocks."""


def open_json_lines(path: str, files: Sequence[Path], text: TextFormat = PLAIN) -> StreamedTable:
    """Open files of one JSON object a line, or of one array of objects, as one table."""
    check_filled(files)
    faults: dict[str, str] = {}
    schemas = {file: _schema(file, text.encoding, faults) for file in files}
    schema, others = one_schema(schemas)
    # Arrow infers a type without values from a column of nulls.
    kinds = {one.name: pa.string() if pa.types.is_null(one.type) else one.type for one in schema}
    schema = pa.schema(kinds.items())

    def stream(file: Path, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        wanted = pa.schema([schema.field(name) for name in columns])
        with _line_errors(file, text.encoding):
            for table in _tables(file, text.encoding, wanted):
                yield from table.to_batches()

    return StreamedTable(path, tuple(files), schema, stream, {}, faults={**others, **faults})


@contextmanager
def _opened(file: Path, encoding: str | None) -> Iterator[Lines]:
    """Open a file so that each line is one object."""
    with open_bytes(file, encoding) as opened, one_a_line(opened, str(file)) as lines:
        yield lines


def _tables(file: Path, encoding: str | None, schema: Any) -> Iterator[Any]:
    """Yield a table for each block of a file; several blocks are parsed in threads.

    The threads have ended when the generator ends. Arrow's own threads are not used: they read
    ahead in a Python file even after an error, and a process that exits meanwhile crashes.
    """
    parse = pa.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
    threads = min(pa.cpu_count(), _MOST_THREADS)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="mine-json")
    waiting: deque[Future[Any]] = deque()
    try:
        with _opened(file, encoding) as opened:
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
        where = f"{block.where} cannot be read: {block.unit} {line}"
        raise DataError(f"{where}: {match['why']}; correct it") from error


def _schema(file: Path, encoding: str | None, faults: dict[str, str]) -> Any:
    """Return the inferred types of a file; add columns of values of several kinds to `faults`."""
    with _line_errors(file, encoding), data_errors(str(file)), _opened(file, encoding) as opened:
        block = next(json_blocks(opened, str(file)), None)
        if block is None:
            raise DataError(f"{file} has nothing but blank lines; check how it was written")
        block.check_keys()
        mixed: list[str] = []
        while True:
            try:
                first = _parsed(block, None, threads=True)
                break
            except DataError as error:
                match = _MIXED.search(str(error))
                parted = match and block.without(match["path"])
                if not parted:
                    raise
                name, block = parted
                mixed.append(name)
                faults[name] = f"{error}, or name another column"
        fields = [(one.name, _inferred(one.name, first, block)) for one in first.schema]
        return pa.schema([*fields, *((name, pa.null()) for name in mixed)])


def _inferred(name: str, table: Any, block: JsonBlock) -> Any:
    """Return the type of a column: text where Arrow infers times, integers up to 2^64.

    Arrow reads an integer from 2^63 on as a float, and several integers become the same float.
    """
    kind = table.schema.field(name).type
    if pa.types.is_timestamp(kind):
        return pa.string()
    if pa.types.is_float64(kind) and (pc.max(table[name]).as_py() or 0) >= _LARGE:
        wanted = pa.schema([(name, pa.uint64())])
        parse = pa.json.ParseOptions(explicit_schema=wanted, unexpected_field_behavior="ignore")
        with suppress(DataError, pa.ArrowInvalid):
            _parsed(block, parse, threads=True)
            return pa.uint64()
    return kind


@contextmanager
def _line_errors(file: Path, encoding: str | None) -> Iterator[None]:
    """Name the line of an error, because Arrow counts its rows from the start of a block."""
    try:
        yield
    except LineFault:
        raise
    except (DataError, pa.ArrowException, OSError, EOFError, zlib.error) as error:
        line = _broken_line(file, encoding)
        if line is None:
            raise
        raise DataError(f"{file} cannot be read: {line}; correct it") from error


def _broken_line(file: Path, encoding: str | None) -> str | None:
    try:
        with _opened(file, encoding) as opened:
            for number, line in enumerate(bounded_lines(opened, str(file)), start=1):
                try:
                    json.loads(line.decode("utf-8-sig") if line.strip() else "{}")
                except (ValueError, RecursionError) as error:  # UnicodeDecodeError is one
                    words = "UTF-8" if isinstance(error, UnicodeDecodeError) else "a JSON object"
                    return f"{opened.unit} {number} is not {words} ({error})"
    except (OSError, EOFError, zlib.error):
        return None
    return None
