"""Parquet files as one table; folders ``name=value`` (hive partitions) become columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq

from miner.datasets.base import ROWS, data_errors
from miner.datasets.column_types import one_schema
from miner.datasets.formats.class_names import schema_features
from miner.datasets.formats.streamed import StreamedTable, check_filled
from miner.errors import DataError

__all__ = ["open_parquet"]

_NULL = "__HIVE_DEFAULT_PARTITION__"


def open_parquet(path: str, files: Sequence[Path]) -> StreamedTable:
    """Open Parquet files as one table."""
    check_filled(files)
    schemas = {}
    for file in files:
        with data_errors(str(file)):
            schemas[file] = pq.read_schema(file)
    schema, faults = one_schema(schemas)
    hive = _hive(path, files)
    for name, values in hive.items():
        if name in schema.names:
            raise DataError(
                f"{path}: column {name!r} is in the files and in the names of folders "
                f"({name}=...); drop one of them"
            )
        kind = pa.string() if any(isinstance(one, str) for one in values.values()) else pa.int64()
        schema = schema.append(pa.field(name, kind))
    table = StreamedTable(path, tuple(files), schema, _stream, hive, faults=faults)
    return table.with_names({file: schema_features(one) for file, one in schemas.items()})


def _stream(file: Path, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    with pq.ParquetFile(file, memory_map=True) as opened:
        yield from opened.iter_batches(ROWS, columns=list(columns))


def _hive(path: str, files: Sequence[Path]) -> dict[str, dict[Path, Any]]:
    """Return the columns of ``name=value`` folders: integers if all values are, else text."""
    found: dict[str, dict[Path, Any]] = {}
    root = Path(path) if Path(path).is_dir() else None
    for file in files:
        parts = (file.relative_to(root) if root else file).parent.parts
        for part in parts:
            name, equals, value = part.partition("=")
            if equals and name:
                found.setdefault(name, {})[file] = None if value == _NULL else unquote(value)
    for name, values in found.items():
        without = [file for file in files if file not in values]
        if without:
            raise DataError(f"{without[0]} lies in no folder {name}=..., as others do; move it")
        texts = [value for value in values.values() if value is not None]
        if texts and all(_is_whole(text) for text in texts):
            found[name] = {
                file: None if value is None else int(value) for file, value in values.items()
            }
    return found


def _is_whole(text: str) -> bool:
    digits = text.removeprefix("-")
    return digits.isascii() and digits.isdigit() and (digits == "0" or digits[0] != "0")
