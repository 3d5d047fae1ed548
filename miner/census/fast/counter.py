"""The fast counting pass: the census of anchors from a float32 product, exact all the same.

The counts of an anchor (`miner.census.reference`) need no key to more digits than it takes to say
on which side of each threshold it lies. So the product is made in float32, at half the cost of a
float64 one, with a rigorous bound on its error; keys within the bound of a threshold, one in a
thousand or so, are computed again in float64; and an anchor with a key that even float64 cannot
place (a tie, or nearly) is *unsure*: it is left to the reference, `miner.census.reference.Census`.
What is sure here is what the reference counts.

**Error bound.** Rows and queries are rounded once to float32 (unit roundoff u = 2^-24), inner
products are summed in parts of some dimensions, in whatever order, and the parts added:
``|fl(u.w) - u.w| <= u (part + parts + 2) |u||w|`` (Higham, Accuracy and Stability of Numerical
Algorithms, 2nd ed., section 3.1, to first order); what the row adds and the difference are rounded
once each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miner.census.block import Rooms, evenly_spaced
from miner.census.candidate_lists import ReachRoom
from miner.census.column_sums import ColumnSums
from miner.census.fast.block_pass import (
    BlockPass,
    DensePass,
    Strikes,
    TabledPass,
    cells_for,
    dense_tables,
    make_tables,
    some_lists,
)
from miner.census.fast.candidate_pass import ReachPass
from miner.census.fast.column_pass import NearestPass, Watch
from miner.census.fast.products import TILE, Products
from miner.census.fast.results import Prepared, Screened
from miner.census.fast.thresholds import PairBorders, Pairs
from miner.census.kernels import load_loops
from miner.census.reference import Census
from miner.triplets.distance import UNIT_ROUNDOFF, UNIT_ROUNDOFF_32
from miner.triplets.types import Float64, Rows

__all__ = ["Screen", "Screened", "open_screen"]

_MOST_POSITIVES = 0x7FFF
_BLOCK = 256
_MOST_TILED = 256
_ENOUGH = 64
"""Whole rows of so many anchors are multiplied at once, if the memory allows it, before tables are
made: then those of one anchor stay in a CPU's cache."""
_OPEN, _SAMPLE = 0.01, 2048
"""Float64 keys are made where float32 leaves a larger share of them open than this."""
_RANGE = (1e-15, 1e15)
"""Squared lengths that float32 can hold without overflow or underflow."""
_FINE = 1024.0
"""The loss is summed in float32 where the margin is so many times the error of a key."""


def open_screen(
    census: Census, *, loss: bool, keep_bytes: int, rooms: Rooms | None = None
) -> Screen | None:
    """Return the fast pass of a census; None where numba is not installed or not to be used."""
    if census.kernel_name == "numpy" or load_loops("count_lookup") is None:
        return None
    return Screen(census, loss=loss, keep_bytes=keep_bytes, rooms=rooms)


class Screen:
    """The fast pass of one job.

    Parameters
    ----------
    census : Census
        The reference, whose vectors, relevance, metric and margin are counted.
    loss : bool
        Whether the loss is summed; else it is zero.
    keep_bytes : int
        Rows are kept in float32 key space when they take no more than this.
    rooms : Rooms, optional
        Where the memory for keys comes from; by default its own.
    """

    def __init__(
        self, census: Census, *, loss: bool, keep_bytes: int, rooms: Rooms | None = None
    ) -> None:
        self._loops: Any = load_loops("count_lookup")
        self._exact: Any = load_loops("float64_keys")
        self._dense: Any = load_loops("count_dense")
        self._census, self._loss = census, loss
        self._vectors, self._relevance = census.vectors, census.relevance
        self._space, self._margin = census.space, census.margin
        self.pairs = PairBorders(self._vectors, self._relevance, self._space, self._margin)
        self._usable = _RANGE[0] < self._space.reach**2 < _RANGE[1]
        if not self._usable:
            return  # nothing is sure
        self._products = Products(census, keep_bytes, self.pairs.scale, rooms)
        rows = self._vectors.rows
        self._bias32 = self.pairs.bias.astype(np.float32)
        some = evenly_spaced(len(rows), _SAMPLE)
        self._sample = some, self._space.prepare(rows[some]).astype(np.float32)

    def count(
        self,
        anchors: Rows,
        memory: int,
        sums: ColumnSums | None = None,
        neighbours: int = 0,
        reach: ReachRoom = ReachRoom(),  # noqa: B008  (frozen)
    ) -> Screened:
        """Count the triplets of anchors that have positives.

        Parameters
        ----------
        anchors : ndarray of shape (b,), int64
        memory : int
            Bytes for a block of them.
        sums : ColumnSums, optional
            Takes the triplets of the anchors that are sure by row and label.
        neighbours : int
            How many of the nearest rows are wanted.
        reach : ReachRoom
            How much of the rows within reach is wanted.
        """
        positives = self._relevance.positive_counts[anchors]
        # Anchors with the same positives stand together, those with about as many side by side.
        order = np.lexsort((anchors, self._relevance.alike(anchors), positives))
        order = order[positives[order] <= _MOST_POSITIVES]
        count = len(anchors)
        result = Screened(
            hard=np.zeros(count, dtype=np.int64),
            within=np.zeros(count, dtype=np.int64),
            loss=np.zeros(count),
            sure=np.zeros(count, dtype=np.bool_),
            nearest=np.full((count, neighbours), -1, dtype=np.int64),
            room=reach,
        )
        watch = Watch(len(self._vectors.rows), sums)
        for places, whole in self._blocks(order, positives, memory):
            self._count_block(anchors[places], places, whole, memory, result, watch)
        return result

    def rest(self) -> None:
        """Let go of the rows in float32; it can count all the same, more slowly."""
        if self._usable:
            self._products.rest()

    def _blocks(self, order: Rows, positives: Rows, memory: int) -> Iterator[tuple[Rows, bool]]:
        """Cut anchors, in this order, into blocks that fit the memory; say which go row by row."""
        start, rows = 0, len(self._vectors.rows)
        while start < len(order):
            left = len(order) - start
            stop = start + -(-left // -(-left // _BLOCK))  # blocks of about the same size
            most = int(positives[order[start:stop]].max())
            fits = memory // (4 * rows + 64 * most)
            whole = fits >= _ENOUGH or most > _MOST_TILED
            if not whole:
                fits = memory // (4 * cells_for(most, rows) + 192 * most + 8 * TILE)
            stop = min(stop, start + max(8, fits))
            yield order[start:stop], whole
            start = stop

    def _count_block(
        self, anchors: Rows, places: Rows, whole: bool, memory: int, result: Screened, watch: Watch
    ) -> None:
        space, rows = self._space, len(self._vectors.rows)
        queries = space.prepare(self._vectors.anchors[anchors])
        lengths = np.sqrt((queries * queries).sum(-1))
        able = self._usable & (lengths**2 < _RANGE[1])
        if not able.all():
            if able.any():
                self._count_block(anchors[able], places[able], whole, memory, result, watch)
            return
        block = Prepared(anchors, queries, space.offset(queries), space.slack(queries), whole)
        most = int(self._relevance.positive_counts[anchors].max())
        block.part = self._products.part(most)
        block.error = self._products.error(lengths, block.part)
        narrow, lines = self._narrow(block), len(anchors)
        if whole and not narrow and lines > 1 and 8 * lines * rows > memory:
            for half in (slice(lines // 2), slice(lines // 2, None)):
                self._count_block(anchors[half], places[half], whole, memory, result, watch)
            return
        opening = self._open_dense if whole and not narrow else self._open_tabled
        done, nearest = self._run(
            block, narrow, lambda products: opening(block, narrow, products, watch, result)
        )
        totals, losses, _ = done.results
        if self._loss:
            self._exact.settle_loss(done.pairs.borders, done.data, done.results)
        result.nearest[places] = nearest
        result.hard[places], result.within[places] = totals[:, 0], totals[:, 1]
        result.loss[places] = losses
        result.sure[places] = totals[:, 2] == 0
        if result.room.rows:
            kept = done.reach.found(done.looked_up(), 1.05 * block.error + 2.5 * block.slack)
            result.add(places, anchors, kept)

    def _open_dense(
        self, block: Prepared, narrow: bool, products: Float64, watch: Watch, result: Screened
    ) -> BlockPass:
        """Prepare a block of many thresholds, whose pairs are among its products."""
        data = self.pairs.space(block.queries, block.offset)
        pairs = self.pairs.of(block.anchors, data, block.slack, products)
        nearest = NearestPass(pairs, pairs.tolerance.copy(), result.nearest.shape[1], np.float64)
        tables = dense_tables(self._dense, pairs, self._able(block.error, pairs), loss=self._loss)
        reach = ReachPass(len(block.anchors), result.room.rows)
        return DensePass(
            self._dense, watch, nearest, reach, block.anchors, pairs, data, self._results(block),
            self._loss, self.pairs.bias, tables,
        )  # fmt: skip

    def _open_tabled(
        self, block: Prepared, narrow: bool, products: NDArray[Any], watch: Watch, result: Screened
    ) -> BlockPass:
        """Prepare any other block."""
        data = self.pairs.space(block.queries, block.offset)
        pairs, lines = self.pairs.of(block.anchors, data, block.slack), len(block.anchors)
        kind = np.float32 if narrow else np.float64
        errors = pairs.tolerance + block.error if narrow else pairs.tolerance.copy()
        shift = np.column_stack([block.offset, np.full(lines, self._space.slope)]).astype(kind)
        cells = cells_for(pairs.most, len(self._vectors.rows))
        tables = make_tables(lines, 1 if block.whole else lines, cells, pairs.most, kind)
        nearest = NearestPass(pairs, errors.copy(), result.nearest.shape[1], kind)
        reach = ReachPass(lines, result.room.rows)
        return TabledPass(
            self._loops, watch, nearest, reach, block.anchors, pairs, data, self._results(block),
            self._loss, block.whole, self._bias32 if narrow else self.pairs.bias, shift,
            self._able(block.error, pairs), UNIT_ROUNDOFF_32 if narrow else UNIT_ROUNDOFF,
            (errors, pairs.tolerance), tables,
        )  # fmt: skip

    def _results(self, block: Prepared) -> tuple[Any, ...]:
        """Return what the loops fill."""
        lines = len(block.anchors)
        few = np.empty((lines, self._exact.FEW), dtype=np.int32)
        return np.zeros((lines, 4), dtype=np.int64), np.zeros(lines), few

    def _run(
        self, block: Prepared, narrow: bool, opening: Callable[[NDArray[Any]], BlockPass]
    ) -> tuple[BlockPass, Rows]:
        """Send the products of a block through the loops; return the pass and the nearest rows."""
        hidden = self._relevance.hidden_lists(block.anchors)
        width = len(self._vectors.rows) if block.whole else TILE
        queries = block.queries.astype(np.float32) if narrow else block.queries
        going = None
        for start, products in self._products.tiles(queries, block.part, width):
            if going is None:
                going = opening(products)
                struck = [(going.pairs.starts, going.pairs.columns), hidden]
                strikes = Strikes(self._loops, struck)
            strikes.on(products, start)
            going.go(products, start)
        assert going is not None  # there are rows
        nearest = going.find_nearest(self._vectors, self._space.metric)
        lines = going.counted_in_vain()
        if len(lines):
            strikes = Strikes(self._loops, [some_lists(*lists, lines) for lists in struck])
            for start, products in self._products.tiles(queries[lines], block.part, width):
                strikes.on(products, start)
                going.take_off(products, start, lines)
        return going, nearest

    def _narrow(self, block: Prepared) -> bool:
        """Choose the type of a block's keys: float64 where float32 would leave much open.

        Counted on one anchor and some rows: the share of keys with a threshold within the error.
        """
        queries = block.queries[:1]
        pairs = self.pairs.of(
            block.anchors[:1], self.pairs.space(queries, block.offset[:1]), block.slack[:1]
        )
        wide = pairs.tolerance[0] + block.error[0]
        edges = np.sort(np.concatenate([pairs.hard, pairs.within]))
        some, rows = self._sample
        keys = (self._bias32[some] - rows @ queries[0].astype(np.float32))[
            ~np.isin(some, pairs.columns, assume_unique=True)  # those lie on a threshold
        ]
        reached = np.searchsorted(edges, keys + wide) > np.searchsorted(edges, keys - wide)
        return bool(reached.sum() <= _OPEN * len(some))

    def _able(self, error: Float64, pairs: Pairs) -> NDArray[np.bool_]:
        """Say which anchors can be done: all, or those whose margin shows in float32 sums."""
        able = np.ones(len(error), dtype=np.bool_)
        if self._loss:
            gap = np.add.reduceat(pairs.within - pairs.hard, pairs.starts[:-1])
            able &= gap >= _FINE * error * np.diff(pairs.starts)
        return np.asarray(able)
