"""Rows in key space, a tile at a time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from miner.triplets.distance import Float32, Float64, KeySpace, tile_rows

__all__ = ["PreparedRows"]


class PreparedRows:
    """Rows in key space: kept whole when they fit, else made a tile at a time."""

    def __init__(self, space: KeySpace, rows: Float32, *, keep: bool) -> None:
        self._space = space
        self._rows = rows
        self._tile = tile_rows(rows.shape[1])
        self._kept: dict[int, Float64] = {}
        self.bias = np.empty(len(rows))
        for part, tile in self.tiles():
            self.bias[part] = space.bias(tile)
            if keep:
                self._kept[part.start] = tile

    def part(self, start: int, stop: int) -> Float64:
        """Return some prepared rows."""
        within = start % self._tile
        tile = self._kept.get(start - within)
        if tile is not None and within + stop - start <= len(tile):
            return tile[within : within + stop - start]
        return self._space.prepare(self._rows[start:stop])

    def tiles(self) -> Iterator[tuple[slice, Float64]]:
        """Yield column ranges and their prepared rows."""
        for start in range(0, len(self._rows), self._tile):
            tile = self._kept.get(start)
            if tile is None:
                tile = self._space.prepare(self._rows[start : start + self._tile])
            yield slice(start, start + len(tile)), tile
