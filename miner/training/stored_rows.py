"""Look up the rows and vectors of ids in a run's embedding store."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from miner.embedding.store import Store, check_store, open_store
from miner.errors import StorageError
from miner.runs.run import Run

__all__ = ["StoredRows", "rows_of", "store_of"]


def store_of(run: Run) -> Store:
    """Open the embedding store of a run.

    Raises
    ------
    StorageError
        When the store is not on this machine, or is damaged.
    """
    folder = run.root / ".store" / str(run.manifest["store"])
    store = open_store(folder)
    if store is None:
        raise StorageError(
            f"the embedding store {folder} is not here (rows and vectors come from it); "
            "mine run --force makes it again"
        )
    check_store(store)
    return store


def rows_of(store: Store, side: int, ids: Any) -> NDArray[np.int32]:
    """Return the row number of each id of an Arrow array.

    Raises
    ------
    StorageError
        When an id is not in the store.
    """
    rows = store.ids(side).rows_of(ids.to_pylist())
    if (rows < 0).any():
        raise StorageError(f"{store.folder} does not have all ids of the run; see mine verify")
    return rows.astype(np.int32)


class StoredRows:
    """Some rows of one table of a store; an unpickled copy opens the file of vectors again.

    Parameters
    ----------
    store : Store
    side : int
        Index of the table: 0 for items or queries, 1 for documents.
    rows : array of int32
        Row numbers, as an object that NumPy can read without a copy.
    """

    def __init__(self, store: Store, side: int, rows: Any) -> None:
        self._given = store, side, rows
        self._vectors = store.vectors(side)

    def __reduce__(self) -> tuple[type[StoredRows], tuple[Store, int, Any]]:
        """Pickle the location of the vectors instead of the vectors."""
        return type(self), self._given

    def _rows(self, numbers: NDArray[np.int32]) -> NDArray[np.int32]:
        rows: NDArray[np.int32] = np.asarray(self._given[2])[numbers]
        return rows

    def rows(self, numbers: NDArray[np.int32]) -> list[int]:
        """Return the row numbers in the store at some indices."""
        return list(self._rows(numbers).tolist())

    def vectors(self, numbers: NDArray[np.int32]) -> list[NDArray[np.float32]]:
        """Return copies of the vectors at some indices."""
        return list(self._vectors[self._rows(numbers)])
