"""Tables of pairs: each row has an anchor and one of its positives, as in sentence-transformers.

An anchor may occur in many rows. The distinct anchors become the queries, the distinct positives
the corpus, and the rows the links. The id of a query or document is the number of the first row
where it occurs. Layout: https://sbert.net/docs/sentence_transformer/dataset_overview.html.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from miner.datasets.base import Table
from miner.datasets.formats.arrays import ArrayTable
from miner.datasets.where import Filter
from miner.errors import DataError
from miner.triplets.types import Rows

__all__ = ["open_pair_table"]


class DistinctTable:
    """The distinct values of a column of a table as `text`, each with its first row as `id`."""

    def __init__(self, inner: Table, column: str, rows: Rows) -> None:
        self.where = f"{inner.where}, {column} of pairs"
        self.files, self.untyped = inner.files, inner.untyped
        self.types = {**inner.types, "id": pa.int64(), "text": inner.types[column]}
        self._inner, self._column, self._rows = inner, column, rows

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Stream the named columns."""
        own = {name: self._column if name == "text" else name for name in columns if name != "id"}
        start = 0
        for batch in self._inner.batches(list(own.values()) or [self._column]):
            end = start + len(batch)
            rows = self._rows[slice(*np.searchsorted(self._rows, (start, end)))]
            if len(rows):
                places = pa.array(rows - start)
                arrays = [
                    batch.column(own[name]).take(places) if name in own else pa.array(rows)
                    for name in columns
                ]
                yield pa.RecordBatch.from_arrays(arrays, names=list(columns))
            start = end


def open_pair_table(
    table: Table, anchor: str, positive: str, where: Filter | None
) -> tuple[DistinctTable, DistinctTable, ArrayTable]:
    """Convert a table of pairs to queries, corpus and links.

    Parameters
    ----------
    table : Table
    anchor, positive : str
        Names of its columns.
    where : Filter or None
        Selects the rows that are used; None for all.

    Raises
    ------
    DataError
        If no row is left, or a column cannot be content.
    """
    rows: list[Rows] = []
    digests: dict[str, list[bytes]] = {anchor: [], positive: []}
    start = 0
    columns = [anchor, positive, *(where.columns if where else ())]
    for batch in table.batches(list(dict.fromkeys(columns))):
        chosen = np.flatnonzero(where.mask(batch)) if where else np.arange(len(batch))
        for name, parts in digests.items():
            column = batch.column(name).take(pa.array(chosen))
            parts.append(b"".join(map(_digest, _values(column, table, name))))
        rows.append(start + chosen)
        start += len(batch)
    every = np.concatenate(rows) if rows else np.empty(0, dtype=np.int64)
    if not len(every):
        reason = "no row passes dataset.where" if start else "it is empty"
        raise DataError(f"{table.where}: {reason}; check the file and the filter")
    queries, corpus = (_first(every, b"".join(digests[name])) for name in (anchor, positive))
    return (
        DistinctTable(table, anchor, np.unique(queries)),
        DistinctTable(table, positive, np.unique(corpus)),
        # The links list no files, because the queries and the corpus have the same files.
        ArrayTable(table.where, (), {"query_id": queries, "corpus_id": corpus}),
    )


def _values(column: Any, table: Table, name: str) -> list[Any]:
    """Return the values of a column as Python objects; Python has no times in nanoseconds."""
    try:
        return list(column.to_pylist())
    except (ValueError, OverflowError) as error:
        raise DataError(
            f"{table.where}, content column {name!r} has the type {column.type}: it must hold "
            "text, images or lists of numbers"
        ) from error


def _digest(value: Any) -> bytes:
    if isinstance(value, dict):  # an image as Hugging Face `datasets` writes it
        value = value.get("bytes") or value.get("path")
    if isinstance(value, bytes):
        content = value
    else:
        content = (value if isinstance(value, str) else repr(value)).encode()
    return hashlib.blake2b(content, digest_size=16).digest()


def _first(rows: Rows, digests: bytes) -> Rows:
    """Return, for each row, the first row with the same digest."""
    codes = np.frombuffer(digests, dtype="V16")
    _, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
    return np.asarray(rows[first][inverse], dtype=np.int64)
