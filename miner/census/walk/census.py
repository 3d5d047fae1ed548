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

from miner.census.add_up import add_up
from miner.census.column_sums import ColumnSums
from miner.census.kernels import choose_loops
from miner.census.measure import Vectors
from miner.census.walk import direct
from miner.census.walk.borders import Borders, Pairs, borders_of_distances, borders_of_keys
from miner.census.walk.candidate_lists import CandidateLists
from miner.census.walk.count_pairs import count_pairs
from miner.census.walk.direct import DirectCount
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

__all__ = ["Asked", "Census"]

_GROUP, _LINES = 128, 32
"""Anchors that are multiplied at once; of these, so many make a block, which a cache holds."""
_FEWEST = 16
"""Rows are multiplied tile by tile where the whole products of so many anchors do not fit."""
_TILE = 4096
"""Rows of a tile, at least."""
_PAIR = 160
"""Bytes that a pair takes, about."""
_LEAST = 1e-300
"""What an entry's row adds to a key of zero is less."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of a walk beside the counts of pairs.

    Attributes
    ----------
    ranks : bool
        Whether rows are asked for by rank, but for the nearest.
    neighbours : int
        So many of the nearest rows are listed, positives counted.
    loss : bool
        Whether the loss is summed.
    sums : ColumnSums or None
        Takes the triplets by row and label.
    """

    ranks: bool = True
    neighbours: int = 0
    loss: bool = False
    sums: ColumnSums | None = None


@dataclass(frozen=True, slots=True)
class _Listing:
    """The thresholds of a block, and its entries."""

    borders: Borders
    tolerance: Float64
    gap: Float64
    entries: EntryList

    def sorted(self) -> tuple[Borders, Float64, Float64, Float64, Rows]:
        """Return all of it, the entries of each anchor ascending, and where they begin."""
        return self.borders, self.tolerance, self.gap, *self.entries.sorted()


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
        self._direct_loops = choose_loops(kernel, "direct")
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

    def blocks(self, anchors: Rows, memory: int, asked: Asked = Asked()) -> Iterator[RankedBlock]:
        """Yield blocks of anchors that have positives, in their order.

        Parameters
        ----------
        anchors : ndarray of shape (a,), int64
        memory : int
            Bytes for a block; a block has one anchor at least.
        asked : Asked

        Yields
        ------
        RankedBlock
            Its entries are overwritten by those of the next.
        """
        positives = self.relevance.positive_counts[anchors]
        for first, last in self._cut(positives, memory):
            yield from self._blocks(anchors[first:last], memory, asked)

    def block(self, anchors: Rows) -> RankedBlock:
        """Return one block of few anchors that have positives, whatever memory it takes."""
        assert len(anchors) <= _LINES
        memory = 32 * max(1, len(anchors)) * len(self.vectors.rows)
        return next(self._blocks(anchors, memory, Asked()))

    def _cut(self, positives: Rows, memory: int) -> Iterator[tuple[int, int]]:
        """Cut anchors into groups of one kind, whose pairs fit the memory."""
        wide, start = positives > FEW, 0
        ends = np.append(np.flatnonzero(np.diff(wide)) + 1, len(wide))
        while start < len(wide):
            end = int(ends[np.searchsorted(ends, start, side="right")])
            cost = np.cumsum(_PAIR * positives[start : start + _GROUP])
            most = max(1, int(np.searchsorted(cost, memory, side="right")))
            yield start, min(end, start + most)
            start = min(end, start + most)

    def _blocks(self, anchors: Rows, memory: int, asked: Asked) -> Iterator[RankedBlock]:
        """Yield the blocks of a group of anchors: their products are made at once, if they fit."""
        made, lines, rows = self._prepared(anchors), len(anchors), len(self.vectors.rows)
        borders = self._precision.narrow_borders(made)
        kind: Any = np.float64 if borders is None else np.float32
        fits = memory // 2 // (kind().itemsize * rows)
        if lines > 1 and fits < min(lines, _FEWEST) and borders is not None:
            yield from self._tiled(made, borders, memory, asked)
        elif lines > max(1, fits):
            parts = np.array_split(anchors, -(-lines // max(1, fits)))
            for part in parts:
                yield from self._blocks(part, memory, asked)
        else:
            yield from self._whole(made, borders, kind, memory, asked)

    def _whole(
        self, made: Anchors, borders: Borders | None, kind: Any, memory: int, asked: Asked
    ) -> Iterator[RankedBlock]:
        """Yield blocks of anchors whose products with all rows are made at once."""
        lines, rows = len(made.queries), len(self.vectors.rows)
        source = self._wide if borders is None else self._narrow
        step = min(lines, _LINES, max(1, memory // 2 // (8 * rows)))
        numbers = -(-lines * rows * kind().itemsize // 8)
        with self._rooms.room(numbers + step * rows + 1) as room:
            products = room[:numbers].view(kind)[: lines * rows].reshape(lines, rows)
            bias = source.products(made.queries.astype(kind, copy=False), 0, products)
            for first in range(0, lines, step):
                part = slice(first, min(first + step, lines))
                own, mine = made.part(part), products[part]
                edges = borders.part(made.pairs.starts, part) if borders else None
                edges = edges or self._wide_borders(own, mine, bias)
                if borders is not None and self._goes_direct(own, asked):
                    strike(mine, 0, *self._struck(own.pairs))
                    yield self._direct(own, edges, mine, bias, room[numbers:], asked)
                    continue
                listing = self._listing(own, edges, borders is not None, room[numbers:], asked)
                strike(mine, 0, *self._struck(own.pairs))
                listing.entries.add(mine, bias, 0)
                yield self._added_up(own, listing, asked)

    def _tiled(
        self, made: Anchors, borders: Borders, memory: int, asked: Asked
    ) -> Iterator[RankedBlock]:
        """Yield one block of anchors, multiplied tile by tile; several, where it does not fit."""
        lines, rows = len(made.queries), len(self.vectors.rows)
        width = min(rows, max(_TILE, memory // (16 * lines)))
        numbers = -(-lines * width // 2)
        most = max(memory // 8 - numbers, 0) if lines > 1 else rows + 1
        with self._rooms.room(numbers + most) as room:
            products = room[:numbers].view(np.float32)[: lines * width].reshape(lines, width)
            out = room[numbers : numbers + most]
            listing = self._listing(made, borders, True, out, asked)
            if self._list_tiles(made, products, listing.entries):
                yield self._added_up(made, listing, asked)
                return
        for half in (slice(0, lines // 2), slice(lines // 2, lines)):
            own = borders.part(made.pairs.starts, half)
            yield from self._tiled(made.part(half), own, memory, asked)

    def _goes_direct(self, made: Anchors, asked: Asked) -> bool:
        """Whether anchors are counted without putting rows in order."""
        few = np.diff(made.pairs.starts).max() <= direct.FEW
        return bool(few and not asked.ranks and self._direct_loops is not None)

    def _direct(
        self,
        made: Anchors,
        borders: Borders,
        products: NDArray[Any],
        bias: NDArray[Any],
        out: Float64,
        asked: Asked,
    ) -> RankedBlock:
        """Return a block of anchors with their counts, and entries of the nearest rows only."""
        facts = self._facts(made, borders, narrow=True)
        tolerance, gap = facts

        def lister(lines: Rows, tops: Float64) -> tuple[Float64, Rows]:
            """List the rows of some of the anchors up to some keys."""
            part = products[lines]
            out = np.empty(part.size + 1)  # of which little is touched
            return self._upto(tops, part, bias, out)

        wanted = np.full(len(made.offset), asked.neighbours)
        tops = self._direct_loops.nearest_tops(products, bias, wanted) + 4 * tolerance
        entries, firsts = self._upto(tops, products, bias, out)
        block = self._block(made, borders, tolerance, gap, entries, firsts)
        unclear = self._precision.unclear(made.offset, gap)
        about = (self.vectors, self.space, self.margin, made.pairs, borders)
        counting = DirectCount(self._direct_loops, *about, made.offset, tolerance, unclear)
        block.hard, block.within, block.loss = counting.count(products, bias, asked.sums)
        block.lister = lister
        return block

    def _upto(
        self, tops: Float64, products: NDArray[Any], bias: NDArray[Any], out: Float64
    ) -> tuple[Float64, Rows]:
        """Return the entries of anchors up to some keys, and where those of each begin."""
        none = np.zeros(len(tops))
        entries = EntryList(tops, none.astype(np.int64), none, self._bits, out, self._loops)
        entries.add(products, bias, 0)
        return entries.sorted()

    def _added_up(self, made: Anchors, listing: _Listing, asked: Asked) -> RankedBlock:
        """Return a block whose rows are ranked, added up as far as that is asked for."""
        block = self._counted(made, *listing.sorted())
        if asked.loss or asked.sums is not None:
            block.loss = add_up(block, self.margin, asked.sums)
        return block

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

    def _list_tiles(self, made: Anchors, products: NDArray[Any], entries: EntryList) -> bool:
        """List the rows within reach, tile by tile; return whether there was room."""
        rows, width = len(self.vectors.rows), products.shape[1]
        queries, struck = made.queries.astype(np.float32), self._struck(made.pairs)
        for start in range(0, rows, width):
            tile = products[:, : min(width, rows - start)]
            bias = self._narrow.products(queries, start, tile)
            strike(tile, start, *struck)
            if not entries.add(tile, bias, start):
                return False
        return True

    def _wide_borders(self, made: Anchors, products: NDArray[Any], bias: NDArray[Any]) -> Borders:
        """Return the borders of anchors whose pairs are among the products."""
        pairs = made.pairs
        keys = bias[pairs.positives] - products[pairs.lines, pairs.positives]
        about = (self.vectors, self.space, self.margin, made.offset, made.slack)
        return borders_of_keys(pairs, keys, *about, self._loops)

    def _listing(
        self, made: Anchors, borders: Borders, narrow: bool, out: Float64, asked: Asked
    ) -> _Listing:
        """Return what lists the rows within reach of anchors."""
        tolerance, gap = self._facts(made, borders, narrow=narrow)
        upper = np.maximum(borders.within, borders.hard)
        tops = np.maximum.reduceat(upper, made.pairs.starts[:-1]) + 4 * tolerance
        wanted = asked.neighbours - np.diff(made.pairs.starts)
        entries = EntryList(tops, wanted, 4 * tolerance, self._bits, out, self._loops)
        return _Listing(borders, tolerance, gap, entries)

    def _facts(self, made: Anchors, borders: Borders, *, narrow: bool) -> tuple[Float64, Float64]:
        """Return how far entries may be from thresholds, and from each other, and be unsure."""
        error = self._precision.packing(made.lengths)
        if narrow:
            error += self._precision.narrow(made.lengths)
        return borders.tolerance + 2.1 * error + _LEAST, 2.1 * (made.slack + error) + _LEAST

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
        return self._counted(made, borders, tolerance, gap, lists.entries, lists.firsts)

    def _counted(
        self,
        anchors: Anchors,
        borders: Borders,
        tolerance: Float64,
        gap: Float64,
        entries: Float64,
        firsts: Rows,
    ) -> RankedBlock:
        block = self._block(anchors, borders, tolerance, gap, entries, firsts)
        count_pairs(block, self.margin, self._precision.unclear(anchors.offset, gap))
        return block

    def _block(
        self,
        anchors: Anchors,
        borders: Borders,
        tolerance: Float64,
        gap: Float64,
        entries: Float64,
        firsts: Rows,
    ) -> RankedBlock:
        return RankedBlock(
            vectors=self.vectors,
            space=self.space,
            pairs=anchors.pairs,
            borders=borders,
            tolerance=tolerance,
            firsts=firsts,
            entries=entries,
            bits=self._bits,
            loops=self._loops,
            offset=anchors.offset,
            gap=gap,
        )
