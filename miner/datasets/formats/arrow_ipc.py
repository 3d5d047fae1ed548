"""Arrow IPC: files (``.arrow``, ``.feather``), and streams such as Hugging Face writes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from miner.datasets.base import data_errors
from miner.datasets.formats.streamed import StreamedTable, check_filled, one_schema

__all__ = ["open_arrow"]

_MAGIC = b"ARROW1"


def open_arrow(path: str, files: Sequence[Path]) -> StreamedTable:
    """Open Arrow IPC files as one table."""
    check_filled(files)
    schemas = {}
    for file in files:
        with data_errors(str(file)), _opened(file) as reader:
            schemas[file] = reader.schema
    return StreamedTable(path, tuple(files), one_schema(schemas), _stream, {})


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    with pa.memory_map(str(file)) as source:
        with file.open("rb") as start:
            whole = start.read(len(_MAGIC)) == _MAGIC
        with pa.ipc.open_file(source) if whole else pa.ipc.open_stream(source) as reader:
            yield reader


def _stream(file: Path, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    with _opened(file) as reader:
        if isinstance(reader, pa.ipc.RecordBatchFileReader):
            for number in range(reader.num_record_batches):
                yield reader.get_batch(number).select(list(columns))
        else:
            for batch in reader:
                yield batch.select(list(columns))
