"""The exact index: FAISS ``IndexFlat``."""

from __future__ import annotations

from pathlib import Path

import faiss
import numpy as np
from numpy.typing import NDArray

from miner.distance import Metric, normalize_rows
from miner.indexes.base import Float32
from miner.storage import atomic_file

__all__ = ["FlatIndex"]


class FlatIndex:
    """Compares a query with every row: by L2, or by inner product for cosine and dot."""

    exact = True

    def __init__(self, metric: Metric, dim: int) -> None:
        self._cosine = metric == "cosine"
        inner = metric in ("cosine", "dot")
        self._index = faiss.IndexFlatIP(dim) if inner else faiss.IndexFlatL2(dim)

    def add(self, rows: Float32) -> None:
        """Append stored rows; cosine holds them at unit length."""
        self._index.add(normalize_rows(rows) if self._cosine else np.ascontiguousarray(rows))

    def search(self, queries: Float32, k: int) -> NDArray[np.int64]:
        """Return the row numbers of the k nearest rows, nearest first."""
        _, rows = self._index.search(np.ascontiguousarray(queries), k)
        return np.asarray(rows, dtype=np.int64)

    def save(self, path: Path) -> None:
        """Write the index where ``faiss.read_index`` can open it."""
        with atomic_file(path) as temporary:
            faiss.write_index(self._index, str(temporary))
