"""The walk over the matrix of keys: blocks of anchors, each with its counts and its ranked rows.

For a block of anchors one product gives the keys of all rows (`miner.census.walk.key_space`). The
rows within reach of an anchor are listed and sorted (`miner.census.walk.ranked_block`); each
positive sets two thresholds among them, where hard ends and where semi-hard ends
(`miner.census.walk.borders`). Where a key comes so near to a threshold that rounding could decide,
the distances are measured by the float64 definition (`miner.census.walk.settle`): so the counts are
those of the definition, on any machine. Nothing else multiplies the matrix.

The product is made in float32 where that decides nearly all, else in float64
(`miner.census.walk.precision`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miner.census.measure import Vectors
from miner.census.walk.borders import Borders, Pairs, borders_of_distances, borders_of_keys
from miner.census.walk.candidate_lists import CandidateLists
from miner.census.walk.count_pairs import count_pairs
from miner.census.walk.key_rows import KeyRows
from miner.census.walk.key_space import KeySpace
from miner.census.walk.line_loops import load_line_loops
from miner.census.walk.listing import EntryList, strike
from miner.census.walk.precision import FEW, Anchors, Precision
from miner.census.walk.ranked_block import RankedBlock, row_bits
from miner.census.walk.rooms import Rooms
from miner.triplets.distance import Metric
from miner.triplets.relevance import Relevance
from miner.triplets.types import Float64, Rows

__all__ = ["Census"]

_TILE = 4096
_LINES, _MORE_LINES = 64, 256
"""Anchors of a block, where rows are kept ready; where they have to be made for each block."""
_LEAST = 1e-300
"""What an entry's row adds to a key of zero is less."""


@dataclass(frozen=True, slots=True)
class _Listed:
    """The entries of a block and what its thresholds are."""

    borders: Borders
    tolerance: Float64
    gap: Float64
    entries: Float64
    firsts: Rows


class Census:
    """The exact pass of one job over its vectors.

    Parameters
    ----------
    vectors : Vectors
    relevance : Relevance
    metric : str
    margin : float
    kernel : str
        ``auto``, ``numba`` or ``numpy``: the same counts.
    keep_bytes : int
        Rows in key space are kept in memory when they take no more than this.
    rooms : Rooms, optional
        Where the memory for keys comes from; by default its own.
    """

    def __init__(
        self,
        vectors: Vectors,
        relevance: Relevance,
        metric: Metric,
        margin: float,
        *,
        kernel: str = "auto",
        keep_bytes: int = 0,
        rooms: Rooms | None = None,
    ) -> None:
        self.vectors, self.relevance = vectors, relevance
        self.metric: Metric = metric
        self.margin, self.kernel_name = margin, kernel
        self.space = KeySpace.fit(metric, vectors.rows)
        self._loops = load_line_loops(kernel)
        self._rooms = rooms or Rooms()
        self._bits = row_bits(len(vectors.rows))
        narrow, wide = (kind().itemsize * vectors.rows.size for kind in (np.float32, np.float64))
        keep = narrow <= keep_bytes
        self._narrow = KeyRows(self.space, vectors.rows, np.float32, keep=keep)
        keep = narrow + wide <= keep_bytes
        self._wide = KeyRows(self.space, vectors.rows, np.float64, keep=keep)
        self._precision = Precision(vectors, self.space, margin, self._bits)

    def let_go(self) -> None:
        """Let go of rows that are kept; it can count all the same, more slowly."""
        self._narrow.let_go()
        self._wide.let_go()

    def in_order(self, anchors: Rows) -> Rows:
        """Return places of anchors in an order in which they are counted fast.

        Those with about as many positives stand together; of these the order stays.
        """
        return np.argsort(self.relevance.positive_counts[anchors], kind="stable")

    def blocks(self, anchors: Rows, memory: int, *, neighbours: int = 0) -> Iterator[RankedBlock]:
        """Yield blocks of anchors that have positives, in their order.

        Parameters
        ----------
        anchors : ndarray of shape (a,), int64
        memory : int
            Bytes for a block; a block has one anchor at least.
        neighbours : int
            So many of the nearest rows are listed, within reach or not, positives counted.

        Yields
        ------
        RankedBlock
            Its entries are overwritten by those of the next.
        """
        positives = self.relevance.positive_counts[anchors]
        for first, last in self._cut(positives, memory):
            yield from self._blocks(anchors[first:last], memory, neighbours)

    def block(self, anchors: Rows, *, neighbours: int = 0) -> RankedBlock:
        """Return one block of anchors that have positives, whatever memory it takes."""
        rows = len(self.vectors.rows)
        return next(self._blocks(anchors, 32 * max(1, len(anchors)) * rows, neighbours))

    def _cut(self, positives: Rows, memory: int) -> Iterator[tuple[int, int]]:
        """Cut anchors into runs of one kind; wide keys must fit the memory, whole rows of them."""
        rows, start = len(self.vectors.rows), 0
        wide = positives > FEW
        ends = np.append(np.flatnonzero(np.diff(wide)) + 1, len(wide))
        while start < len(wide):
            end = int(ends[np.searchsorted(ends, start, side="right")])
            most = self._lines(bool(wide[start]))
            if wide[start]:
                cost = np.cumsum(16 * rows + 160 * positives[start : start + most])
                most = max(1, int(np.searchsorted(cost, memory, side="right")))
            yield start, min(end, start + most)
            start = min(end, start + most)

    def _lines(self, wide: bool) -> int:
        kept = self._wide.keeps if wide else self._narrow.keeps
        return _LINES if kept else _MORE_LINES

    def _blocks(self, anchors: Rows, memory: int, neighbours: int) -> Iterator[RankedBlock]:
        """Yield the blocks of anchors that go together: one, where the memory allows it."""
        made, lines, rows = self._prepared(anchors), len(anchors), len(self.vectors.rows)
        borders = self._precision.narrow_borders(made)
        kind = np.float64 if borders is None else np.float32
        width = rows if borders is None else min(rows, max(_TILE, memory // (16 * lines)))
        numbers = -(-lines * width * kind().itemsize // 8)
        most = lines * rows + 1
        if lines > 1:
            most = min(most, memory // 8 - numbers)
        if most > lines * rows or (borders is not None and most > 0):
            with self._rooms.room(numbers + most) as room:
                keys = room[:numbers].view(kind)[: lines * width].reshape(lines, width)
                out = room[numbers : numbers + most]
                listed = self._listed(made, borders, keys, out, neighbours)
                if listed is not None:
                    yield self._counted(made, listed)
                    return
        for half in (anchors[: lines // 2], anchors[lines // 2 :]):
            yield from self._blocks(half, memory, neighbours)

    def _prepared(self, anchors: Rows) -> Anchors:
        lists = self.relevance.positive_lists(anchors)
        queries = self.space.prepare(self.vectors.anchors[anchors])
        return Anchors(
            Pairs.of(anchors, lists.counts, lists.columns),
            queries,
            self.space.offset(queries),
            self.space.slack(queries),
            np.sqrt((queries * queries).sum(-1)),
        )

    def _listed(
        self,
        made: Anchors,
        borders: Borders | None,
        keys: NDArray[Any],
        out: Float64,
        neighbours: int,
    ) -> _Listed | None:
        """List the rows within reach of each anchor; return None where they do not fit in `out`."""
        pairs, rows, width = made.pairs, len(self.vectors.rows), keys.shape[1]
        error = self._precision.packing(made.lengths)
        queries = made.queries.astype(keys.dtype, copy=False)
        narrow = borders is not None
        if borders is None:
            self._wide.keys(queries, 0, keys)
            own, about = keys[pairs.lines, pairs.positives], (self.vectors, self.space, self.margin)
            borders = borders_of_keys(pairs, own, *about, made.offset, made.slack)
        else:
            error += self._precision.narrow(made.lengths)
        tolerance = borders.tolerance + 2.1 * error + _LEAST
        upper = np.maximum(borders.within, borders.hard)
        tops = np.maximum.reduceat(upper, pairs.starts[:-1]) + 4 * tolerance
        wanted = neighbours - np.diff(pairs.starts)
        listing = EntryList(tops, wanted, 4 * tolerance, self._bits, out, self._loops)
        struck = self._struck(pairs)
        for start in range(0, rows, width):
            tile = keys[:, : min(width, rows - start)]
            if narrow:
                self._narrow.keys(queries, start, tile)
            strike(tile, start, *struck)
            if not listing.add(tile, start):
                return None
        return _Listed(borders, tolerance, 2.1 * (made.slack + error) + _LEAST, *listing.sorted())

    def _struck(self, pairs: Pairs) -> tuple[Rows, Rows]:
        """Return what is no negative: the lines and the rows."""
        starts, hidden = self.relevance.hidden_lists(pairs.anchors)
        lines = np.repeat(np.arange(len(pairs.anchors)), np.diff(starts))
        return np.concatenate([pairs.lines, lines]), np.concatenate([pairs.positives, hidden])

    def listed_block(self, anchors: Rows, lists: CandidateLists) -> RankedBlock:
        """Return a block of anchors whose nearest rows are listed: no product, and no other row.

        Parameters
        ----------
        anchors : ndarray of shape (b,), int64
        lists : CandidateLists
            Of these anchors. What lies beyond them is not counted.
        """
        made = self._prepared(anchors)
        d_ap = made.pairs.measured(self.vectors, self.space, slice(None))
        facts = (d_ap, self.space, self.margin, made.offset, made.slack)
        borders = borders_of_distances(made.pairs, *facts)
        gap = lists.head["gap"].astype(np.float64)
        tolerance = borders.tolerance + gap
        return self._counted(made, _Listed(borders, tolerance, gap, lists.entries, lists.firsts))

    def _counted(self, anchors: Anchors, listed: _Listed) -> RankedBlock:
        block = RankedBlock(
            vectors=self.vectors,
            space=self.space,
            pairs=anchors.pairs,
            borders=listed.borders,
            tolerance=listed.tolerance,
            firsts=listed.firsts,
            entries=listed.entries,
            bits=self._bits,
            loops=self._loops,
            offset=anchors.offset,
            gap=listed.gap,
        )
        count_pairs(block, self.margin, self._precision.unclear(anchors.offset, listed.gap))
        return block
