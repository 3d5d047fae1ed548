"""The exact index: FAISS ``IndexFlat``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import faiss
import numpy as np
from numpy.typing import NDArray

from miner.indexes.files import write_index
from miner.triplets.distance import Metric, normalize_rows
from miner.triplets.types import Float32

__all__ = ["FlatIndex", "StreamedRows", "nearest_rows"]


class FlatIndex:
    """Compares a query with every row: by L2 distance, or by inner product for cosine and dot."""

    exact = True

    def __init__(self, metric: Metric, dim: int, factory: str = "Flat") -> None:
        self._cosine = metric == "cosine"
        inner = metric in ("cosine", "dot")
        self._index = faiss.IndexFlatIP(dim) if inner else faiss.IndexFlatL2(dim)

    def train(self, rows: Float32) -> None:
        """Do nothing: an exact index needs no training."""

    def add(self, rows: Float32) -> None:
        """Append stored rows; for cosine they are stored at unit norm."""
        self._index.add(normalize_rows(rows) if self._cosine else np.ascontiguousarray(rows))

    def search(self, queries: Float32, k: int) -> NDArray[np.int64]:
        """Return the row numbers of the k nearest rows, nearest first."""
        return self.scored(queries, k)[1]

    def scored(self, queries: Float32, k: int) -> tuple[Float32, NDArray[np.int64]]:
        """Return distances and row numbers of the k nearest rows; smaller is nearer."""
        ready = normalize_rows(queries) if self._cosine else np.ascontiguousarray(queries)
        found, rows = self._index.search(ready, k)
        inner = self._index.metric_type == faiss.METRIC_INNER_PRODUCT
        return (-found if inner else found), np.asarray(rows, dtype=np.int64)

    def search_parameters(self) -> dict[str, list[float]]:
        """Return no parameters: an exact index has none."""
        return {}

    def set_parameters(self, settings: dict[str, float]) -> None:
        """Do nothing: an exact index has no parameters."""

    def save(self, path: Path) -> None:
        """Write the index in a format that ``faiss.read_index`` can open."""
        write_index(self._index, path)


class StreamedRows:
    """Searches rows that stay on disk, with one chunk of them in memory at a time.

    Parameters
    ----------
    metric : str
    chunks : callable
        Returns an iterator over all rows, in chunks of shape (n, dim).
    """

    def __init__(self, metric: Metric, chunks: Callable[[], Iterator[Float32]]) -> None:
        self._metric, self._chunks = metric, chunks

    def search(self, queries: Float32, k: int) -> NDArray[np.int64]:
        """Return the row numbers of the k nearest rows, nearest first, shape (q, k)."""
        return nearest_rows(self._metric, queries, self._chunks(), k)


def nearest_rows(
    metric: Metric, queries: Float32, chunks: Iterable[Float32], k: int
) -> NDArray[np.int64]:
    """Return the k nearest rows of each query, with one chunk of rows in memory, shape (q, k)."""
    best: Float32 = np.empty((len(queries), 0), np.float32)
    rows: NDArray[np.int64] = np.empty((len(queries), 0), np.int64)
    start = 0
    for chunk in chunks:
        index = FlatIndex(metric, chunk.shape[1])
        index.add(chunk)
        found, places = index.scored(queries, min(k, len(chunk)))
        best = np.concatenate([best, found], axis=1)
        rows = np.concatenate([rows, places + start], axis=1)
        order = np.argsort(best, axis=1, kind="stable")[:, :k]
        best = np.take_along_axis(best, order, axis=1)
        rows = np.take_along_axis(rows, order, axis=1)
        start += len(chunk)
    return rows
