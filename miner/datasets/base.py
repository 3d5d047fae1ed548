"""What a reader is: a table of rows that can be streamed in batches, as often as asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from miner.errors import DataError, did_you_mean
from miner.registry import Registry

__all__ = ["READERS", "ROWS", "Table", "data_errors", "open_table", "require_column"]

ROWS = 4096
"""Rows in a batch."""


class Table(Protocol):
    """Rows of one input, streamed as Arrow record batches in a fixed order."""

    @property
    def where(self) -> str:
        """The path, as messages name it."""

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that are read: their checksums identify the data."""

    @property
    def types(self) -> dict[str, Any]:
        """Column name -> Arrow type."""

    @property
    def untyped(self) -> bool:
        """Whether every value is text because the format has no types (CSV)."""

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Stream the named columns, in batches of at most `ROWS` rows."""


READERS = Registry("reader")
READERS.register("parquet", "miner.datasets.arrow_tables:open_parquet", "Parquet file")
READERS.register("csv", "miner.datasets.arrow_tables:open_csv", "comma-separated text")
READERS.register("tsv", "miner.datasets.arrow_tables:open_csv", "tab-separated text")
READERS.register("jsonl", "miner.datasets.arrow_tables:open_jsonl", "one JSON object a line")
READERS.register("npy", "miner.datasets.arrays:open_npy", "NumPy array of vectors")
READERS.register("npz", "miner.datasets.arrays:open_npz", "NumPy arrays by column name")

_SAME = {"pq": "parquet", "ndjson": "jsonl", "txt": "tsv"}


def open_table(path: str) -> Table:
    """Open one file with the reader of its extension.

    Raises
    ------
    DataError
        When the file does not exist, is empty, or no reader knows its extension.
    """
    file = Path(path)
    if file.is_dir():
        raise DataError(
            f"{path} is a folder, and not one in BEIR layout (no corpus.jsonl in it): "
            "name one file of it"
        )
    if not file.exists():
        siblings = [entry.name for entry in file.parent.glob("*")] if file.parent.is_dir() else []
        close = get_close_matches(file.name, siblings, n=1, cutoff=0.5)
        near = f"did you mean {close[0]!r}?" if close else "check the path"
        raise DataError(f"no such file: {path}; {near}")
    extension = file.suffix.lstrip(".").lower()
    extension = _SAME.get(extension, extension)
    if extension not in READERS.names():
        raise DataError(
            f"{path}: no reader for {file.suffix or 'a file without extension'!r}: "
            f"{did_you_mean(extension, READERS.names())}"
        )
    table: Table = READERS.load(extension)(file)
    return table


def require_column(table: Table, name: str, key: str) -> str:
    """Return `name` when the table has it; a `DataError` shows the nearest names otherwise."""
    if name not in table.types:
        near = did_you_mean(name, table.types)
        raise DataError(f"{table.where} has no column {name!r} ({key}): {near}")
    return name


@contextmanager
def data_errors(where: str) -> Iterator[None]:
    """Turn what Arrow or the system says of a broken file into a one-line `DataError`."""
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        lines = str(error).strip().splitlines()
        reason = lines[0].rpartition(": Invalid: ")[2] if lines else type(error).__name__
        advice = "correct that row" if "Row #" in reason else "check how it was written"
        if "UTF8" in reason or "utf-8" in reason:
            advice = "write it as UTF-8 (iconv converts)"
        shown = reason.replace("\0", "?")
        raise DataError(f"{where} cannot be read: {shown}; {advice}") from error
