"""Rows in key space, in float32 or in float64: kept whole when they fit, else made as needed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miner.census.walk.key_space import KeySpace, tile_rows
from miner.triplets.types import Float32

__all__ = ["KeyRows"]


class KeyRows:
    """The rows of a census, multiplied with queries.

    Parameters
    ----------
    space : KeySpace
    rows : ndarray of shape (n, d), float32
    kind : type
        ``np.float32`` or ``np.float64``: of the products.
    keep : bool
        Whether rows are kept in memory once they are made.
    """

    def __init__(self, space: KeySpace, rows: Float32, kind: Any, *, keep: bool) -> None:
        self._space, self._rows, self._kind = space, rows, kind
        self._step = tile_rows(rows.shape[1])
        self.keeps = keep
        self._kept: dict[int, tuple[NDArray[Any], NDArray[Any]]] = {}

    def let_go(self) -> None:
        """Let go of the rows that are kept; they are made again where they are needed."""
        self.keeps = False
        self._kept = {}

    def products(self, queries: NDArray[Any], start: int, out: NDArray[Any]) -> NDArray[Any]:
        """Fill the products of queries and the rows from `start` on, shape (b, t).

        Returns
        -------
        ndarray of shape (t,)
            What the rows add to their keys: a key is that less the product.
        """
        stop, biases = start + out.shape[1], []
        for first, tile, bias in self._tiles(start, stop):
            part = out[:, first - start : first - start + len(tile)]
            np.matmul(queries, tile.T, out=part)
            biases.append(bias)
        return np.concatenate(biases)

    def _tiles(self, start: int, stop: int) -> Iterator[tuple[int, NDArray[Any], NDArray[Any]]]:
        """Yield where each tile starts, its rows, and what they add to their keys."""
        step = self._step
        for first in range(start // step * step, stop, step):
            tile, bias = self._tile(first)
            part = slice(max(start - first, 0), stop - first)
            yield first + part.start, tile[part], bias[part]

    def _tile(self, first: int) -> tuple[NDArray[Any], NDArray[Any]]:
        kept = self._kept.get(first)
        if kept is None:
            prepared = self._space.prepare(self._rows[first : first + self._step])
            bias = self._space.bias(prepared)
            kept = prepared.astype(self._kind, copy=False), bias.astype(self._kind, copy=False)
            if self.keeps:
                self._kept[first] = kept
        return kept
