"""Prepared rows of a census, cached up to a size, and a pool of buffers for keys."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miner.census.walk.key_space import KeySpace, tile_rows
from miner.triplets.types import Float32, Float64

__all__ = ["BufferPool", "KeyRows"]


class KeyRows:
    """The prepared rows of a census, to be multiplied with queries.

    Parameters
    ----------
    space : KeySpace
    rows : ndarray of shape (n, d), float32
    kind : type
        The dtype of the products, ``np.float32`` or ``np.float64``.
    keep : int
        The most bytes of prepared rows to cache.
    """

    def __init__(self, space: KeySpace, rows: Float32, kind: Any, *, keep: int) -> None:
        self._space, self._rows, self._kind = space, rows, kind
        self._step = tile_rows(rows.shape[1])
        self._room = keep
        self._kept: dict[int, NDArray[Any]] = {}
        self._bias: dict[int, NDArray[Any]] = {}

    def release_rows(self) -> None:
        """Drop the cached rows and cache no more; they are prepared again when needed."""
        self._room = 0
        self._kept = {}

    def products(self, queries: NDArray[Any], start: int, out: NDArray[Any]) -> NDArray[Any]:
        """Write the products of `queries` and the rows from `start` on into `out`, shape (b, t).

        Returns
        -------
        ndarray of shape (t,)
            The bias of each row: a key is the bias minus the product.
        """
        stop, biases = start + out.shape[1], []
        for first, tile, bias in self._tiles(start, stop):
            part = out[:, first - start : first - start + len(tile)]
            np.matmul(queries, tile.T, out=part)
            biases.append(bias)
        return np.concatenate(biases)

    def _tiles(self, start: int, stop: int) -> Iterator[tuple[int, NDArray[Any], NDArray[Any]]]:
        """Yield the first row of each tile, its rows, and the bias of each row."""
        step = self._step
        for first in range(start // step * step, stop, step):
            tile, bias = self._tile(first)
            part = slice(max(start - first, 0), stop - first)
            yield first + part.start, tile[part], bias[part]

    def _tile(self, first: int) -> tuple[NDArray[Any], NDArray[Any]]:
        kept, bias = self._kept.get(first), self._bias.get(first)
        if kept is not None and bias is not None:
            return kept, bias
        prepared = self._space.prepare(self._rows[first : first + self._step])
        if bias is None:
            bias = self._space.bias(prepared).astype(self._kind, copy=False)
            self._bias[first] = bias
        tile = prepared.astype(self._kind, copy=False)
        if tile.nbytes <= self._room:
            self._room -= tile.nbytes
            self._kept[first] = tile
        return tile, bias


class BufferPool:
    """A pool of buffers for keys: each one is lent to one unit at a time.

    Buffers are pooled because fresh arrays of this size, allocated by one thread pool after
    another, stay with the allocator: the process would grow with every pass.
    """

    def __init__(self) -> None:
        self._free: list[Float64] = []

    @contextlib.contextmanager
    def borrow(self, size: int) -> Iterator[Float64]:
        """Lend an array of at least `size` float64 numbers."""
        array = self._free.pop() if self._free else np.empty(0)
        if len(array) < size:
            array = np.empty(size)
        try:
            yield array
        finally:
            self._free.append(array)
