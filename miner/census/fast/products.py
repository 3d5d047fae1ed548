"""Products of a block's queries with all rows, a tile at a time, in float32 or in float64."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miner.census.block import Rooms
from miner.census.kernels import load_loops
from miner.census.reference import Census
from miner.triplets.distance import UNIT_ROUNDOFF_32
from miner.triplets.types import Float32, Float64

__all__ = ["TILE", "Products"]

TILE, _STEP = 4096, 1024
_PARTS = ((8, 512), (64, 128), (0x7FFF, 64))
"""Up to how many positives how many dimensions are summed in one go: the more thresholds, the more
an error costs beside the additions."""


class Products:
    """Multiplies queries with the rows of a census.

    Parameters
    ----------
    census : Census
    keep_bytes : int
        Rows are kept in float32 key space when they take no more than this.
    scale : ndarray of shape (rows,), float64
        What the stored vector of each row is scaled by in key space.
    rooms : Rooms, optional
        Where the memory for keys comes from; by default its own.
    """

    def __init__(
        self, census: Census, keep_bytes: int, scale: Float64, rooms: Rooms | None = None
    ) -> None:
        self._census, self._rooms, self._scale = census, rooms or Rooms(), scale
        self._loops: Any = load_loops("lookup_steps")
        rows = census.vectors.rows
        self._kept: Float32 | None = None
        if rows.nbytes <= keep_bytes:
            kept = np.empty(rows.shape, dtype=np.float32)
            for start in range(0, len(rows), TILE):
                self._narrow(start, kept[start : start + TILE])
            self._kept = kept

    def rest(self) -> None:
        """Let go of the rows in float32; they are made again where they are needed."""
        self._kept = None

    def part(self, positives: int) -> int:
        """Return how many dimensions are summed in one go for anchors with so many positives."""
        return next((part for up_to, part in _PARTS if positives <= up_to), _PARTS[-1][1])

    def error(self, lengths: Float64, part: int) -> Float64:
        """Bound how far a float32 key can be from the float64 one.

        Parameters
        ----------
        lengths : ndarray of shape (b,), float64
            Of the queries.
        part : int
            Dimensions that are summed in one go.
        """
        dim, reach = self._census.vectors.dim, self._census.space.reach
        part = min(dim, part)
        products = (part + -(-dim // part) + 4) * lengths * reach
        own = 2 * reach * reach if self._census.space.euclidean else 0.0
        bound: Float64 = 1.01 * UNIT_ROUNDOFF_32 * (products + own)
        return bound

    def tiles(
        self, queries: NDArray[Any], part: int, width: int
    ) -> Iterator[tuple[int, NDArray[Any]]]:
        """Yield where each tile of `width` rows starts, and its products, in one buffer."""
        rows, lines = len(self._census.vectors.rows), len(queries)
        step = min(_STEP, width, rows)
        numbers = lines * (width + 2 * step) + step * queries.shape[1]
        with self._rooms.room(-(-numbers * queries.itemsize // 8)) as room:
            flat = room.view(queries.dtype)
            more, made = np.split(flat[lines * width : numbers], [2 * lines * step])
            for start in range(0, rows, width):
                stop = min(start + width, rows)
                products = flat[: lines * (stop - start)].reshape(lines, -1)
                for column in range(start, stop, step):
                    tile = self._tile(column, min(column + step, stop), made)
                    out = products[:, column - start : column - start + len(tile)]
                    self.multiply(queries, tile, out, more, part)
                yield start, products

    def multiply(
        self,
        queries: NDArray[Any],
        tile: NDArray[Any],
        out: NDArray[Any],
        more: NDArray[Any],
        part: int,
    ) -> None:
        """Multiply in parts of the dimensions, which keeps the float32 error small.

        The parts are added up in `more`, which a CPU's cache holds, before they go out.
        """
        dim = queries.shape[1]
        if queries.dtype == np.float64 or part >= dim:
            np.matmul(queries, tile.T, out=out)
            return
        size = out.size
        total, next_one = (more[at : at + size].reshape(out.shape) for at in (0, size))
        np.matmul(queries[:, :part], tile[:, :part].T, out=total)
        for axis in range(part, dim, part):
            axes = slice(axis, axis + part)
            np.matmul(queries[:, axes], tile[:, axes].T, out=next_one)
            np.add(total, next_one, out=total if axis + part < dim else out)

    def _tile(self, start: int, stop: int, room: NDArray[Any]) -> NDArray[Any]:
        """Return rows in key space, of the type of `room`, where they may lie."""
        if room.dtype == np.float64:
            return self._census.prepared(start, stop)
        if self._kept is not None:
            return self._kept[start:stop]
        dim = self._census.vectors.dim
        made = room[: (stop - start) * dim].reshape(-1, dim)
        self._narrow(start, made)
        return made

    def _narrow(self, start: int, out: NDArray[Any]) -> None:
        """Put the rows from `start` on in key space, in float32."""
        part = slice(start, start + len(out))
        rows = self._census.vectors.rows[part]
        self._loops.narrow(rows, self._census.space.center, self._scale[part], out)
