"""The interface of an index: it is built from stored rows, searched, saved and opened."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from miner.registry import Registry
from miner.triplets.distance import Metric
from miner.triplets.types import Float32

__all__ = [
    "AUTO",
    "FACTORY",
    "FLAT",
    "INDEXES",
    "Index",
    "build_index",
    "check_factory",
    "open_index",
]

INDEXES = Registry("index", plural="indexes")
AUTO, FACTORY, FLAT = "auto", "factory", "Flat"
INDEXES.register(FLAT, "miner.indexes.flat:FlatIndex", "exact: every row is compared")
INDEXES.register(
    FACTORY,
    "miner.indexes.factory:FactoryIndex",
    "approximate: any FAISS factory string, such as IVF4096,Flat or HNSW32",
)


class Index(Protocol):
    """An index that finds the nearest rows of query vectors."""

    @property
    def exact(self) -> bool:
        """Whether a search finds the true nearest rows (up to float32 rounding)."""

    def train(self, rows: Float32) -> None:
        """Train the index on some stored rows, shape (n, d), if it needs training."""

    def add(self, rows: Float32) -> None:
        """Append stored rows, shape (n, d)."""

    def search(self, queries: Float32, k: int) -> NDArray[np.int64]:
        """Return the row numbers of the k nearest rows, nearest first, shape (q, k).

        If fewer rows are found, the last elements are -1.
        """

    def scored(self, queries: Float32, k: int) -> tuple[Float32 | None, NDArray[np.int64]]:
        """Return the distances and the row numbers of the k nearest rows; smaller is nearer.

        The distances are squared for the Euclidean metrics, and minus the inner product for the
        others (of unit vectors for cosine). They are float32, but computed from the vectors
        themselves; an index that does not hold the vectors returns None in their place.
        """

    def search_parameters(self) -> dict[str, list[float]]:
        """Return the search parameters by name, each with its values, cheapest first."""

    def set_parameters(self, settings: dict[str, float]) -> None:
        """Set search parameters."""

    def save(self, path: Path) -> None:
        """Write the index in FAISS' own format."""


def _kind(factory: str) -> Any:
    return INDEXES.load(factory if factory in INDEXES.names() else FACTORY)


def check_factory(factory: str) -> None:
    """Check that FAISS can parse a factory string.

    Raises
    ------
    UsageError
        If it cannot; the message has an example.
    """
    if factory == AUTO:
        return
    kind = _kind(factory)
    if hasattr(kind, "check"):
        kind.check(factory)


def build_index(
    factory: str,
    metric: Metric,
    dim: int,
    chunks: Iterable[Float32] | Callable[[], Iterator[Float32]],
    sample: Callable[[int], Float32] | None = None,
) -> Index:
    """Build an index over chunks of rows.

    Parameters
    ----------
    factory : str
        A registered name (``Flat``), or a FAISS factory string.
    metric : str
    dim : int
    chunks : iterable of ndarray of shape (n, dim), float32
        Or a callable that returns an iterator over them.
    sample : callable, optional
        Takes a number and returns at most as many rows, to train an index that needs it.

    Raises
    ------
    UsageError
        If FAISS cannot build it for these vectors.
    """
    kind: Any = _kind(factory)
    index: Index = kind(metric, dim, factory)
    if sample is not None and not index.exact:
        index.train(sample(kind.training_rows(factory)))
    for chunk in chunks() if callable(chunks) else chunks:
        index.add(chunk)
    return index


def open_index(factory: str, metric: Metric, path: Path) -> Index:
    """Open a saved index, memory-mapped if FAISS supports it."""
    index: Index = _kind(factory).open(metric, factory, path)
    return index
