"""Rows in key space, a tile at a time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from miner.distance import Float32, Float64, KeySpace

__all__ = ["PreparedRows"]

_TILE = 4096


class PreparedRows:
    """Rows in key space: kept whole when they fit, else made a tile at a time."""

    def __init__(self, space: KeySpace, rows: Float32, *, keep: bool) -> None:
        self._space = space
        self._rows = rows
        self._kept: dict[int, Float64] = {}
        self.bias = np.empty(len(rows))
        for part, tile in self.tiles():
            self.bias[part] = space.bias(tile)
            if keep:
                self._kept[part.start] = tile

    def part(self, start: int, stop: int) -> Float64:
        """Return some prepared rows."""
        tile = self._kept.get(start - start % _TILE)
        if tile is not None and stop <= start - start % _TILE + len(tile):
            return tile[start % _TILE : start % _TILE + stop - start]
        return self._space.prepare(self._rows[start:stop])

    def tiles(self) -> Iterator[tuple[slice, Float64]]:
        """Yield column ranges and their prepared rows."""
        for start in range(0, len(self._rows), _TILE):
            tile = self._kept.get(start)
            if tile is None:
                tile = self._space.prepare(self._rows[start : start + _TILE])
            yield slice(start, start + len(tile)), tile
