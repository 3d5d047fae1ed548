"""Lists of the rows that can be hard or semi-hard, as entries; see `ranked_block`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from miner.triplets.types import Float64, Rows

__all__ = ["EntryList", "mask_rows"]


def mask_rows(products: NDArray[Any], start: int, lines: Rows, rows: Rows) -> None:
    """Set the products of rows that are not negatives to NaN, so that no comparison selects them.

    Parameters
    ----------
    products : ndarray of shape (b, t)
        The products of a tile, whose first row is `start`.
    start : int
    lines, rows : ndarray of shape (k,), int64
        The positions of the anchors in the block, and the rows.
    """
    if start or products.shape[1] <= rows.max(initial=0):
        mine = np.flatnonzero((rows >= start) & (rows < start + products.shape[1]))
        lines, rows = lines[mine], rows[mine] - start
    products[lines, rows] = np.nan


class EntryList:
    """The entries of a block of anchors, appended tile by tile.

    Parameters
    ----------
    max_keys : ndarray of shape (b,), float64
        The highest key to list, per anchor.
    wanted : ndarray of shape (b,), int64
        At least this many of the nearest rows are listed, even if their keys are above `max_keys`.
    spare : ndarray of shape (b,), float64
        Rows whose keys exceed the key of the last wanted row by at most `spare` are listed too.
    bits : int
        The number of low bits of an entry that hold the row number.
    out : ndarray of float64
        Buffer for the entries; it must have room for one more than are listed.
    loops : module
        See `miner.census.walk.line_loops`.
    """

    def __init__(
        self, max_keys: Float64, wanted: Rows, spare: Float64, bits: int, out: Float64, loops: Any
    ) -> None:
        self._loops = loops
        self._max_keys, self._wanted, self._spare = max_keys, wanted, spare
        self._bits, self._out, self._used = bits, out, 0
        self._tiles: list[tuple[int, Rows]] = []

    def add(self, products: NDArray[Any], bias: NDArray[Any], start: int) -> bool:
        """List the rows of a tile; return False if the buffer is too small.

        Parameters
        ----------
        products, bias
            As in `miner.census.walk.line_loops.list_entries`.
        start : int
            The first row of the tile.
        """
        kind = products.dtype
        nearest = self._loops.nearest_max_keys(products, bias, self._wanted) + self._spare
        max_keys = np.maximum(self._max_keys, nearest)
        with np.errstate(over="ignore"):  # a key above the float32 range becomes infinite
            max_keys = np.nextafter(max_keys.astype(kind), kind.type(np.inf))
        room = self._out[self._used :]
        if products.size >= len(room):
            size = np.count_nonzero(bias - products <= max_keys[:, None])
            if size >= len(room):
                return False
        counts = self._loops.list_entries(products, bias, max_keys, start, self._bits, room)
        self._tiles.append((self._used, counts))
        self._used += int(counts.sum())
        return True

    def sorted(self) -> tuple[Float64, Rows]:
        """Return the entries, ascending per anchor, and where each anchor's entries begin."""
        sizes = np.sum([counts for _, counts in self._tiles], axis=0)
        firsts = np.concatenate([[0], np.cumsum(sizes)])
        entries = self._out[: self._used]
        if len(self._tiles) > 1:
            entries = self._regrouped(firsts)
        self._loops.sort_lines(entries, firsts)
        return entries, firsts

    def _regrouped(self, firsts: Rows) -> Float64:
        """Return the entries ordered by anchor instead of by tile."""
        entries = np.empty(self._used)
        free = firsts[:-1].copy()
        for begin, counts in self._tiles:
            for line, count in enumerate(counts.tolist()):
                entries[free[line] : free[line] + count] = self._out[begin : begin + count]
                free[line] += count
                begin += count
        return entries
