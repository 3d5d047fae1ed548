"""The negatives of one anchor in order of true distance, and triplets picked by rank."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from miner.census import BlockCounts, Census
from miner.distance import Float64, measure

__all__ = ["TRIPLET", "Ranking"]

Rows = NDArray[np.int64]

TRIPLET = np.dtype(
    [
        ("anchor", np.uint32),
        ("positive", np.uint32),
        ("negative", np.uint32),
        ("d_ap", np.float32),
        ("d_an", np.float32),
        ("weight", np.float32),
    ]
)
"""A triplet on its way to a shard: row numbers, distances and weight."""


class Ranking:
    """The negatives of one anchor in order of true distance, ties by row number.

    Keys that are further apart than twice their slack are in the order of the true distances. A run
    of neighbours that are not is put in order by the measured distance; such runs are rare, and
    short unless there are ties.
    """

    def __init__(self, census: Census, block: BlockCounts, line: int) -> None:
        self._census = census
        self._anchor = int(block.anchors[line])
        self._positives = block.positives[block.starts[line] : block.starts[line + 1]]
        keys = block.keys[line]
        rows = np.flatnonzero(keys <= block.reach[line])
        order = np.argsort(keys[rows])
        self._rows = self._settled(rows[order], keys[rows[order]], 2.5 * block.slack[line])

    def _distances(self, rows: Rows) -> Float64:
        vectors = self._census.vectors
        anchor = vectors.anchors[self._anchor : self._anchor + 1]
        return measure(self._census.metric, anchor, vectors.rows[rows])

    def _settled(self, rows: Rows, keys: Float64, slack: float) -> Rows:
        joined = np.diff(keys) <= slack
        if not joined.any():
            return rows
        run = np.concatenate([[0], np.cumsum(~joined)])
        shared = np.flatnonzero(np.append(joined, False) | np.append(False, joined))
        members = rows[shared]
        order = np.lexsort((members, self._distances(members), run[shared]))
        rows = rows.copy()
        rows[shared] = members[order]
        return rows

    def triplets(self, pair: Rows, rank: Rows, weight: Float64) -> NDArray[np.void]:
        """Return records of `TRIPLET`: pair and rank are positions in the anchor's lists."""
        result = np.empty(len(pair), dtype=TRIPLET)
        result["anchor"] = self._anchor
        with np.errstate(over="ignore"):  # a distance too large for float32 is infinite there
            result["positive"], result["d_ap"] = self._measured(self._positives, pair)
            result["negative"], result["d_an"] = self._measured(self._rows, rank)
        result["weight"] = weight
        return result

    def _measured(self, rows: Rows, places: Rows) -> tuple[Rows, Float64]:
        """Return ``rows[places]`` and their distances, each row measured once."""
        unique, inverse = np.unique(places, return_inverse=True)
        return rows[places], self._distances(rows[unique])[inverse]
