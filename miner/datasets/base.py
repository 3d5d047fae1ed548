"""The interface of a reader: a table whose rows can be streamed in batches, more than once."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from miner.errors import DataError, did_you_mean
from miner.registry import Registry
from miner.storage.os_errors import raise_exhausted

__all__ = ["READERS", "ROWS", "Table", "data_errors", "is_id", "require_column"]

ROWS = 4096
"""Most rows of a batch."""


class Table(Protocol):
    """Rows of one input, streamed as Arrow record batches in a fixed order."""

    @property
    def where(self) -> str:
        """The path, as error messages name it."""

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that are read. Their checksums identify the data."""

    @property
    def types(self) -> dict[str, Any]:
        """The Arrow type of each column, by name."""

    @property
    def untyped(self) -> bool:
        """Whether the format has no types (CSV), so that every value is text."""

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Stream the named columns, in batches of at most `ROWS` rows."""


READERS = Registry("reader")
READERS.register("parquet", "miner.datasets.formats.parquet:open_parquet", "Parquet")
READERS.register("csv", "miner.datasets.formats.delimited:open_delimited", "comma-separated text")
READERS.register("tsv", "miner.datasets.formats.delimited:open_delimited", "tab-separated text")
READERS.register(
    "jsonl", "miner.datasets.formats.json_lines:open_json_lines", "one JSON object a line"
)
READERS.register(
    "json",
    "miner.datasets.formats.json_lines:open_json_lines",
    "one JSON object a line, or an array of them",
)
READERS.register(
    "safetensors",
    "miner.datasets.formats.safetensors:open_safetensors",
    "tensors by column name",
)
READERS.register(
    "arrow", "miner.datasets.formats.arrow_ipc:open_arrow", "Arrow IPC, file or stream"
)
READERS.register("npy", "miner.datasets.formats.arrays:open_npy", "NumPy array of vectors")
READERS.register("npz", "miner.datasets.formats.arrays:open_npz", "NumPy arrays by column name")
READERS.register("qrels", "miner.datasets.formats.trec:open_trec", "TREC relevance judgements")
READERS.register("trec", "miner.datasets.formats.trec:open_trec", "TREC relevance judgements")


def require_column(table: Table, name: str, key: str) -> str:
    """Return `name` if the table has this column.

    Parameters
    ----------
    table : Table
    name : str
    key : str
        The job key or option that names the column, for the message.

    Raises
    ------
    DataError
        If the table has no such column, or it cannot be read. The message suggests similar names.
    """
    fault = getattr(table, "faults", {}).get(name)
    if fault:
        raise DataError(fault)
    if name not in table.types:
        hint = getattr(table, "hints", {}).get(name)
        if hint:
            raise DataError(f"{table.where} {hint}")
        near = did_you_mean(name, table.types)
        raise DataError(f"{table.where} has no column {name!r} ({key}): {near}")
    return name


def is_id(column: Any) -> bool:
    """Whether the values of a column can be ids, by its type: text or integers."""
    return bool(pa.types.is_integer(column.type) or pa.types.is_string(column.type))


@contextmanager
def data_errors(where: str) -> Iterator[None]:
    """Convert errors of Arrow or the system about a broken file to a one-line `DataError`."""
    try:
        yield
    except (pa.ArrowException, OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise_exhausted(error, where)
        lines = str(error).strip().splitlines()
        reason = lines[0].rpartition(": Invalid: ")[2] if lines else type(error).__name__
        advice = "correct that row" if "Row #" in reason else "check how it was written"
        if "UTF8" in reason or "utf-8" in reason:
            advice = "write it as UTF-8 (iconv converts)"
            if not where.endswith((".parquet", ".arrow")):
                advice += ", or name its encoding, such as dataset.encoding = 'latin-1'"
        shown = reason.replace("\0", "?")
        raise DataError(f"{where} cannot be read: {shown}; {advice}") from error
