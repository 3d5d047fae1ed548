"""The seam of the indexes: built from chunks of stored rows, searched for nearest rows, saved."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from miner.distance import Metric
from miner.registry import Registry

__all__ = ["INDEXES", "Index", "build_index", "resolve_factory"]

Float32 = NDArray[np.float32]

INDEXES = Registry("index")
INDEXES.register("Flat", "miner.indexes.flat:FlatIndex", "exact: every row is compared")


class Index(Protocol):
    """Nearest rows of query vectors."""

    @property
    def exact(self) -> bool:
        """Whether a search finds the true nearest rows (up to float32)."""

    def add(self, rows: Float32) -> None:
        """Append stored rows, shape (n, d)."""

    def search(self, queries: Float32, k: int) -> NDArray[np.int64]:
        """Return the row numbers of the k nearest rows, nearest first, shape (q, k)."""

    def save(self, path: Path) -> None:
        """Write the index in FAISS' own format."""


def resolve_factory(factory: str) -> str:
    """Turn ``auto`` into a factory string, and refuse one that is not known.

    Raises
    ------
    UsageError
        With the nearest name.
    """
    factory = "Flat" if factory == "auto" else factory
    INDEXES.check(factory)
    return factory


def build_index(factory: str, metric: Metric, dim: int, chunks: Iterable[Float32]) -> Index:
    """Build an index over chunks of rows; the vectors are held once, by the index."""
    kind: Any = INDEXES.load(resolve_factory(factory))
    index: Index = kind(metric, dim)
    for chunk in chunks:
        index.add(chunk)
    return index
