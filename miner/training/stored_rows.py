"""The rows and vectors of a run's embedding store, by id."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from miner.embedding.store import Store, open_store
from miner.errors import StorageError
from miner.runs.run import Run

__all__ = ["StoredRows", "rows_of", "store_of"]


def store_of(run: Run) -> Store:
    """Open the embedding store of a run.

    Raises
    ------
    StorageError
        When it is not on this machine (any more).
    """
    folder = run.root / ".store" / str(run.manifest["store"])
    store = open_store(folder)
    if store is None:
        raise StorageError(
            f"the embedding store {folder} is not here (rows and vectors come from it); "
            "mine run --force makes it again"
        )
    return store


def rows_of(store: Store, side: int, ids: Any) -> NDArray[np.int32]:
    """Return the row of each of some ids, an Arrow array.

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
    """Some rows of one side of a store; an unpickled copy maps their vectors anew.

    Parameters
    ----------
    store : Store
    side : int
    rows : array of int32
        What NumPy must take without a copy.
    """

    def __init__(self, store: Store, side: int, rows: Any) -> None:
        self._given = store, side, rows
        self._vectors = store.vectors(side)

    def __reduce__(self) -> tuple[type[StoredRows], tuple[Store, int, Any]]:
        """Pickle where the vectors are."""
        return type(self), self._given

    def _rows(self, numbers: NDArray[np.int32]) -> NDArray[np.int32]:
        rows: NDArray[np.int32] = np.asarray(self._given[2])[numbers]
        return rows

    def rows(self, numbers: NDArray[np.int32]) -> list[int]:
        """Return some of the rows' numbers in the store."""
        return list(self._rows(numbers).tolist())

    def vectors(self, numbers: NDArray[np.int32]) -> list[NDArray[np.float32]]:
        """Return copies of some of the rows' vectors."""
        return list(self._vectors[self._rows(numbers)])
