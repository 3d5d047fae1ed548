"""Columns on disk with random access to rows: ids, labels, and the texts of triplets.

A column is a memory-mapped Arrow IPC file with record batches of `ROWS` rows, so a column of texts
need not fit in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from miner.datasets.base import ROWS
from miner.errors import StorageError
from miner.storage.files import atomic_file
from miner.storage.os_errors import raise_exhausted

__all__ = ["ColumnFile", "keep_rows", "write_column", "write_spool"]

_MOST_BYTES = 1 << 30
_DENSE = 4


def write_column(path: Path, column: Any) -> None:
    """Write a column that is in memory."""
    write_spool(path, column.type, (column.slice(i, ROWS) for i in range(0, len(column), ROWS)))


def write_spool(path: Path, kind: Any, parts: Iterable[Any]) -> None:
    """Write Arrow arrays one after the other, in batches of `ROWS` rows except the last."""
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
    """Write only the rows of a column where `keep` is True, to `target` (default: in place)."""
    spool = ColumnFile(path)
    write_spool(target or path, spool.type, spool.filtered(keep))


class ColumnFile:
    """A column on disk, opened for random access.

    Parameters
    ----------
    path : Path
    most_bytes : int
        `slices` holds the distinct values in memory if they take at most this many bytes.
    """

    def __init__(self, path: Path, most_bytes: int = _MOST_BYTES) -> None:
        self._path, self._most_bytes = path, most_bytes
        self._checked: set[int] = set()
        with self._damage():
            self._reader = pa.ipc.open_file(pa.memory_map(str(path)))

    @contextmanager
    def _damage(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError, pa.ArrowException) as error:
            raise_exhausted(error, self._path)
            raise StorageError(
                f"{self._path} is damaged ({error}); remove {self._path.parent} and run the job "
                "again"
            ) from error

    def _batch(self, number: int) -> Any:
        """Return the column of a batch; validate it on first use, because Arrow trusts the file."""
        with self._damage():
            column = self._reader.get_batch(number).column(0)
            if number not in self._checked:
                column.validate(full=True)
                self._checked.add(number)
            return column

    @property
    def type(self) -> Any:
        """The Arrow type of the values."""
        return self._reader.schema.field(0).type

    def take(self, rows: NDArray[np.int64]) -> Any:
        """Return the values of `rows`, in the order of `rows`, as an Arrow array.

        Only the batches that hold one of the rows are read.
        """
        distinct, inverse = self._distinct(rows)
        parts = [*distinct, pa.array([], self.type)]
        return pa.concat_arrays(parts).take(pa.array(inverse))

    def slices(self, rows: NDArray[np.int64], size: int) -> Iterator[Any]:
        """Yield the values of `rows` in arrays of `size` values.

        Each distinct value is read once. If the distinct values take more than `most_bytes`, each
        slice is read separately, because an Arrow string array holds at most 2 GiB.
        """
        distinct, inverse = self._distinct(rows)
        if sum(part.nbytes for part in distinct) > self._most_bytes and len(rows) > size:
            del distinct
            for start in range(0, len(rows), size):
                yield self.take(rows[start : start + size])
            return
        values = pa.concat_arrays([*distinct, pa.array([], self.type)])
        for start in range(0, len(rows), size):
            yield values.take(pa.array(inverse[start : start + size]))

    def _distinct(self, rows: NDArray[np.int64]) -> tuple[list[Any], NDArray[np.int64]]:
        """Return the values of the distinct rows, ascending, and the index of each row's value."""
        unique, inverse = self._unique(rows)
        cuts = np.flatnonzero(np.diff(unique // ROWS, prepend=-1))
        parts = []
        for mine in np.split(unique, cuts[1:]) if len(unique) else ():
            batch, start = divmod(int(mine[0]), ROWS)
            local = mine - (mine[0] - start)
            parts.append(self._batch(batch).take(pa.array(local)))
        return parts, inverse

    def _unique(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return ``np.unique(rows, return_inverse=True)``, without sorting if `rows` are dense."""
        total = self._reader.num_record_batches * ROWS
        if total > _DENSE * len(rows):
            return np.unique(rows, return_inverse=True)
        marks = np.zeros(total, dtype=np.bool_)
        marks[rows] = True
        unique = np.flatnonzero(marks)
        number = np.empty(total, dtype=np.int64)
        number[unique] = np.arange(len(unique))
        return unique, number[rows]

    def all(self) -> Any:
        """Return all values as an Arrow array."""
        batches = range(self._reader.num_record_batches)
        parts = [self._batch(batch) for batch in batches]
        return pa.concat_arrays(parts) if parts else pa.array([], self.type)

    def rows_of(self, values: Any) -> NDArray[np.int64]:
        """Return the first row that holds each value; -1 for values that do not occur."""
        wanted = pa.array(values, self.type).dictionary_encode()
        found = np.full(len(wanted.dictionary), -1, dtype=np.int64)
        for batch in range(self._reader.num_record_batches):
            column = self._reader.get_batch(batch).column(0)
            places = pc.index_in(column, value_set=wanted.dictionary)
            rows = np.flatnonzero(places.is_valid().to_numpy(zero_copy_only=False))[::-1]
            found[places.take(pa.array(rows)).to_numpy()] = batch * ROWS + rows
        indices = wanted.indices.fill_null(-1).to_numpy()
        return np.asarray(np.append(found, -1)[indices], dtype=np.int64)

    def filtered(self, keep: NDArray[np.bool_]) -> Iterator[Any]:
        """Yield the values of the rows where `keep` is True, one array per batch."""
        for batch in range(self._reader.num_record_batches):
            column = self._batch(batch)
            start = batch * ROWS
            yield column.filter(pa.array(keep[start : start + len(column)]))
