"""Columns on disk that rows are taken from at random: ids, and the texts of triplets.

An Arrow IPC file of record batches of `ROWS` rows, memory-mapped, so that texts are never all in
memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from miner.datasets.base import ROWS
from miner.storage import atomic_file

__all__ = ["Spool", "keep_rows", "write_column", "write_spool"]


def write_column(path: Path, column: Any) -> None:
    """Write a column that is in memory already."""
    write_spool(path, column.type, (column.slice(i, ROWS) for i in range(0, len(column), ROWS)))


def write_spool(path: Path, kind: Any, parts: Iterable[Any]) -> None:
    """Write Arrow arrays one after the other, cut into batches of exactly `ROWS` rows."""
    schema = pa.schema([("value", kind)])
    with atomic_file(path) as temporary, pa.OSFile(str(temporary), "wb") as sink:
        with pa.ipc.new_file(sink, schema) as writer:
            held: list[Any] = []
            for part in parts:
                held.append(part)
                while sum(map(len, held)) >= ROWS:
                    joined = pa.concat_arrays(held)
                    writer.write_batch(pa.record_batch([joined.slice(0, ROWS)], schema=schema))
                    held = [joined.slice(ROWS)]
            rest = pa.concat_arrays(held) if held else pa.array([], kind)
            if len(rest):
                writer.write_batch(pa.record_batch([rest], schema=schema))


def keep_rows(path: Path, keep: NDArray[np.bool_], target: Path | None = None) -> None:
    """Rewrite a column that is on disk with the rows of `keep` only; to `target` when given."""
    spool = Spool(path)
    write_spool(target or path, spool.type, spool.filtered(keep))


class Spool:
    """A written column, opened for random access."""

    def __init__(self, path: Path) -> None:
        self._reader = pa.ipc.open_file(pa.memory_map(str(path)))

    @property
    def type(self) -> Any:
        """The Arrow type of the values."""
        return self._reader.schema.field(0).type

    def take(self, rows: NDArray[np.int64]) -> Any:
        """Return the values of `rows`, in their order, as an Arrow array.

        Only the batches that hold one of the rows are touched.
        """
        unique, inverse = np.unique(rows, return_inverse=True)
        batches = unique // ROWS
        parts = []
        for batch in np.unique(batches):
            local = unique[batches == batch] - batch * ROWS
            parts.append(self._reader.get_batch(int(batch)).column(0).take(pa.array(local)))
        distinct = pa.concat_arrays(parts) if parts else pa.array([], self.type)
        return distinct.take(pa.array(inverse))

    def all(self) -> Any:
        """Return all values as an Arrow array."""
        batches = range(self._reader.num_record_batches)
        parts = [self._reader.get_batch(batch).column(0) for batch in batches]
        return pa.concat_arrays(parts) if parts else pa.array([], self.type)

    def filtered(self, keep: NDArray[np.bool_]) -> Iterator[Any]:
        """Stream the values of the rows of `keep`, a batch at a time."""
        for batch in range(self._reader.num_record_batches):
            column = self._reader.get_batch(batch).column(0)
            start = batch * ROWS
            yield column.filter(pa.array(keep[start : start + len(column)]))
