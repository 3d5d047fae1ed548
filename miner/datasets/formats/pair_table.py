"""Tables of pairs: a row is an anchor and one of its positives, as sentence-transformers has them.

An anchor may stand in many rows. The distinct anchors become the queries, the distinct positives
the corpus, and the rows the links; the id of a query or document is the row of the file where it
stands first. Layout: https://sbert.net/docs/sentence_transformer/dataset_overview.html.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from miner.datasets.base import ROWS, Table
from miner.errors import DataError
from miner.triplets.types import Rows

__all__ = ["open_pair_table"]

Keep = Callable[[pa.RecordBatch], NDArray[np.bool_]]


@dataclass(frozen=True, slots=True)
class DistinctTable:
    """The rows of a table where a column's values stand first, under the names `id` and `text`."""

    inner: Table
    column: str
    rows: Rows

    @property
    def where(self) -> str:
        """The path and the column, as messages name them."""
        return f"{self.inner.where}, {self.column} of pairs"

    @property
    def files(self) -> tuple[Path, ...]:
        """The files of the table."""
        return self.inner.files

    @property
    def types(self) -> dict[str, Any]:
        """Column name -> Arrow type."""
        own = {"id": pa.int64(), "text": self.inner.types[self.column]}
        return {**self.inner.types, **own}

    @property
    def untyped(self) -> bool:
        """Whether the file's format has no types."""
        return self.inner.untyped

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Stream the named columns."""
        names = [self.column if name == "text" else name for name in columns if name != "id"]
        start = 0
        for batch in self.inner.batches(names or [self.column]):
            end = start + len(batch)
            rows = self.rows[slice(*np.searchsorted(self.rows, (start, end)))]
            if len(rows):
                arrays = [
                    pa.array(rows)
                    if name == "id"
                    else batch.column(self.column if name == "text" else name).take(
                        pa.array(rows - start)
                    )
                    for name in columns
                ]
                yield pa.RecordBatch.from_arrays(arrays, names=list(columns))
            start = end


@dataclass(frozen=True, slots=True)
class PairLinks:
    """The links that the rows of a table of pairs are."""

    inner: Table
    queries: Rows
    corpus: Rows
    untyped: bool = False

    @property
    def where(self) -> str:
        """The path, as messages name it."""
        return self.inner.where

    @property
    def files(self) -> tuple[Path, ...]:
        """None of its own: those of queries and corpus are the same."""
        return ()

    @property
    def types(self) -> dict[str, Any]:
        """Column name -> Arrow type."""
        return {"query_id": pa.int64(), "corpus_id": pa.int64()}

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Stream the links."""
        values = {"query_id": self.queries, "corpus_id": self.corpus}
        for start in range(0, len(self.queries), ROWS):
            arrays = [pa.array(values[name][start : start + ROWS]) for name in columns]
            yield pa.RecordBatch.from_arrays(arrays, names=list(columns))


def open_pair_table(
    table: Table, anchor: str, positive: str, keep: Keep | None, needs: Sequence[str]
) -> tuple[DistinctTable, DistinctTable, PairLinks]:
    """Turn a table of pairs into queries, corpus and links.

    Parameters
    ----------
    table : Table
    anchor, positive : str
        Its columns.
    keep : callable or None
        Says which rows of a batch take part.
    needs : sequence of str
        The columns that `keep` looks at.

    Raises
    ------
    DataError
        When no row takes part, or a column holds what cannot be content.
    """
    rows: list[Rows] = []
    digests: dict[str, list[bytes]] = {anchor: [], positive: []}
    start = 0
    for batch in table.batches(list(dict.fromkeys([anchor, positive, *needs]))):
        chosen = np.arange(len(batch)) if keep is None else np.flatnonzero(keep(batch))
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
        PairLinks(table, queries, corpus),
    )


def _values(column: Any, table: Table, name: str) -> list[Any]:
    """Return a column as Python's values, of which there are none for times as fine as Arrow's."""
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
    """Return, for each row, the first row whose value is the same."""
    codes = np.frombuffer(digests, dtype="V16")
    _, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
    return np.asarray(rows[first][inverse], dtype=np.int64)
