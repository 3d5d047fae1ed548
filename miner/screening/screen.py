"""The fast counting pass: the census of anchors from a float32 product, exact all the same.

The counts of an anchor (`miner.census`) need no key to more digits than it takes to say on which
side of each threshold it lies. So the product is made in float32, at half the cost of a float64
one, with a rigorous bound on its error; keys within the bound of a threshold, one in a thousand or
so, are computed again in float64; and an anchor with a key that even float64 cannot place (a tie,
or nearly) is *unsure*: it is left to the reference, `miner.census.Census`. What is sure here is
what the reference counts.

**Error bound.** Rows and queries are rounded once to float32 (unit roundoff u = 2^-24), inner
products are summed in parts of some dimensions (`_PARTS`), in whatever order, and the parts added:
``|fl(u.w) - u.w| <= u (part + parts + 2) |u||w|`` (Higham, Accuracy and Stability of Numerical
Algorithms, 2nd ed., section 3.1, to first order); what the row adds and the difference are rounded
once each.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miner.census import Census
from miner.columns import ColumnSums
from miner.distance import Float32, Float64
from miner.rooms import Rooms
from miner.screening.blocks import BlockPass, some_lists
from miner.screening.borders import PairBorders, Pairs
from miner.screening.watch import NearestPass, Watch

__all__ = ["Screen", "Screened", "open_screen"]

Rows = NDArray[np.int64]

_UNIT, _UNIT32 = 2.0**-53, 2.0**-24
_MOST_POSITIVES = 0x7FFF
_PARTS = ((8, 512), (64, 128), (_MOST_POSITIVES, 64))
"""Up to how many positives how many dimensions are summed in one go: the more thresholds, the more
an error costs beside the additions."""
_TILE, _STEP = 4096, 1024
_BLOCK = 256
_LEAST_CELLS, _MOST_CELLS = 1024, 65536
_MOST_TILED = 256
_MIXED_COST = 50.0
"""What a mixed key costs over filling a cell, times how much denser thresholds lie at their peak,
times two for both borders."""
_ENOUGH = 64
"""Whole rows of so many anchors are multiplied at once, if the memory allows it, before tables are
made: then those of one anchor stay in a CPU's cache."""
_OPEN, _SAMPLE = 0.03, 2048
"""Float64 keys are made where float32 leaves a larger share of them open than this."""
_RANGE = (1e-15, 1e15)
"""Squared lengths that float32 can hold without overflow or underflow."""
_FINE = 1024.0
"""The loss is summed in float32 where the margin is so many times the error of a key."""


@dataclass(frozen=True, slots=True)
class Screened:
    """What the fast pass found for some anchors, in their order.

    Attributes
    ----------
    hard, within : ndarray of shape (b,), int64
        Triplets that are hard; that are hard or semi-hard.
    loss : ndarray of shape (b,), float64
        Sum of the hinge loss over the latter.
    sure : ndarray of shape (b,), bool
        Where it is False the anchor must be counted by the reference.
    nearest : ndarray of shape (b, k), int64
        The nearest rows, if they were asked for; see `miner.neighbours.NearestRows`.
    """

    hard: Rows
    within: Rows
    loss: Float64
    sure: NDArray[np.bool_]
    nearest: Rows


def open_screen(
    census: Census, *, loss: bool, keep_bytes: int, rooms: Rooms | None = None
) -> Screen | None:
    """Return the fast pass of a census; None where numba is not installed."""
    if importlib.util.find_spec("numba") is None:
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
        self._loops: Any = importlib.import_module("miner.screening.loops")
        self._exact: Any = importlib.import_module("miner.screening.exact")
        self._census, self._loss, self._rooms = census, loss, rooms or Rooms()
        self._vectors, self._relevance = census.vectors, census.relevance
        self._space, self._margin = census.space, census.margin
        self._pairs = PairBorders(self._vectors, self._relevance, self._space, self._margin)
        self._kept: Float32 | None = None
        self._usable = _RANGE[0] < self._space.reach**2 < _RANGE[1]
        if not self._usable:
            return  # nothing is sure
        rows = self._vectors.rows
        self._bias32 = self._pairs.bias.astype(np.float32)
        some = np.unique(np.linspace(0, len(rows) - 1, _SAMPLE).astype(np.int64))
        self._sample = self._space.prepare(rows[some]).astype(np.float32), self._bias32[some]
        if rows.nbytes <= keep_bytes:
            kept = np.empty(rows.shape, dtype=np.float32)
            for start in range(0, len(rows), _TILE):
                stop = min(start + _TILE, len(rows))
                kept[start:stop] = census.prepared(start, stop)
            self._kept = kept

    def count(
        self, anchors: Rows, memory: int, sums: ColumnSums | None = None, neighbours: int = 0
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
        )
        watch = Watch(len(self._vectors.rows), sums)
        for places, whole in self._blocks(order, positives, memory):
            self._count_block(anchors[places], places, whole, memory, result, watch)
        return result

    def rest(self) -> None:
        """Let go of the rows in float32; it can count all the same, more slowly."""
        self._kept = None

    def _blocks(self, order: Rows, positives: Rows, memory: int) -> Iterator[tuple[Rows, bool]]:
        """Cut anchors, in this order, into blocks that fit the memory; say which go row by row."""
        start, rows = 0, len(self._vectors.rows)
        while start < len(order):
            stop = min(start + _BLOCK, len(order))
            most = int(positives[order[start:stop]].max())
            fits = memory // (4 * rows + 64 * most)
            whole = fits >= _ENOUGH or most > _MOST_TILED
            if not whole:
                fits = memory // (4 * _cells(most, rows) + 192 * most + 8 * _TILE)
            stop = min(stop, start + max(8, fits))
            yield order[start:stop], whole
            start = stop

    def _count_block(
        self, anchors: Rows, places: Rows, whole: bool, memory: int, result: Screened, watch: Watch
    ) -> None:
        space = self._space
        queries = space.prepare(self._vectors.anchors[anchors])
        lengths = np.sqrt((queries * queries).sum(-1))
        able = self._usable & (lengths**2 < _RANGE[1])
        if not able.all():
            if able.any():
                self._count_block(anchors[able], places[able], whole, memory, result, watch)
            return
        offset, slack = space.offset(queries), space.slack(queries)
        data = self._pairs.space(queries, offset)
        pairs = self._pairs.of(anchors, data, slack)
        most = int(np.diff(pairs.starts).max())
        part = next((part for up_to, part in _PARTS if most <= up_to), _PARTS[-1][1])
        error = self._error(lengths, part)
        kind = self._precision(queries, pairs, pairs.tolerance + error)
        narrow, lines = kind == np.float32, len(anchors)
        if whole and not narrow and lines > 1 and 8 * lines * len(self._vectors.rows) > memory:
            for half in (slice(lines // 2), slice(lines // 2, None)):
                self._count_block(anchors[half], places[half], whole, memory, result, watch)
            return
        able = self._able(error, pairs)
        errors = (pairs.tolerance + error if narrow else pairs.tolerance.copy(), pairs.tolerance)
        shift = np.column_stack([offset, np.full(lines, space.slope)]).astype(kind)
        tables = _tables(
            lines, 1 if whole else lines, _cells(most, len(self._vectors.rows)), most, kind
        )
        unit = _UNIT32 if narrow else _UNIT
        bias = self._bias32 if narrow else self._pairs.bias
        totals, losses = np.zeros((lines, 4), dtype=np.int64), np.zeros(lines)
        results = (totals, losses, np.empty((lines, self._exact.FEW), dtype=np.int32))
        borders = (pairs.starts, pairs.hard, pairs.within, pairs.d_ap)
        nearest = NearestPass(pairs, errors[0].copy(), result.nearest.shape[1], kind)
        block = BlockPass(
            self._loops, watch, nearest, anchors, most, whole, bias, shift, borders, able, unit,
            data, errors, tables, results, self._loss,
        )  # fmt: skip
        result.nearest[places] = self._run(block, queries.astype(kind), pairs, part)
        if self._loss:
            self._exact.settle_loss(borders, data, results)
        result.hard[places], result.within[places] = totals[:, 0], totals[:, 1]
        result.loss[places] = losses
        result.sure[places] = totals[:, 2] == 0

    def _run(self, block: BlockPass, queries: NDArray[Any], pairs: Pairs, part: int) -> Rows:
        """Send the products of a block through the loops; return the nearest rows."""
        struck = [(pairs.starts, pairs.columns), self._relevance.hidden_lists(block.anchors)]
        width = len(block.bias) if block.whole else _TILE
        block.begin()
        for start, products in self._products(queries, struck, part, width):
            block.go(products, start)
        nearest = block.find_nearest(self._vectors, self._space.metric)
        lines = block.counted_in_vain()
        if len(lines):
            struck = [some_lists(*lists, lines) for lists in struck]
            for start, products in self._products(queries[lines], struck, part, width):
                block.take_off(products, start, lines)
        return nearest

    def _error(self, lengths: Float64, part: int) -> Float64:
        """Bound how far a float32 key can be from the float64 one, per anchor."""
        dim, reach = self._vectors.dim, self._space.reach
        part = min(dim, part)
        products = (part + -(-dim // part) + 4) * lengths * reach
        own = 2 * reach * reach if self._space.euclidean else 0.0
        bound: Float64 = 1.01 * _UNIT32 * (products + own)
        return bound

    def _precision(self, queries: Float64, pairs: Pairs, wide: Float64) -> Any:
        """Choose the type of a block's keys: float64 where float32 would leave much open.

        Counted on one anchor and some rows: the share of keys with a threshold within the error.
        """
        mine = slice(pairs.starts[0], pairs.starts[1])
        edges = np.sort(np.concatenate([pairs.hard[mine], pairs.within[mine]]))
        keys = self._sample[1] - self._sample[0] @ queries[0].astype(np.float32)
        reached = np.searchsorted(edges, keys + wide[0]) > np.searchsorted(edges, keys - wide[0])
        return np.float32 if reached.mean() <= _OPEN else np.float64

    def _able(self, error: Float64, pairs: Pairs) -> NDArray[np.bool_]:
        """Say which anchors can be done: all, or those whose margin shows in float32 sums."""
        able = np.ones(len(error), dtype=np.bool_)
        if self._loss:
            gap = np.add.reduceat(pairs.within - pairs.hard, pairs.starts[:-1])
            able &= gap >= _FINE * error * np.diff(pairs.starts)
        return np.asarray(able)

    def _products(
        self, queries: NDArray[Any], struck: list[tuple[Rows, Rows]], part: int, width: int
    ) -> Iterator[tuple[int, NDArray[Any]]]:
        """Yield where a tile starts, and its products: minus infinity where rows do not count."""
        marks = [(starts, columns, starts[:-1].copy()) for starts, columns in struck]
        rows, lines = len(self._vectors.rows), len(queries)
        step = min(_STEP, width, rows)
        numbers = lines * (width + 2 * step)
        with self._rooms.room(-(-numbers * queries.itemsize // 8)) as room:
            flat = room.view(queries.dtype)
            more = flat[lines * width :]
            for start in range(0, rows, width):
                stop = min(start + width, rows)
                products = flat[: lines * (stop - start)].reshape(lines, -1)
                for column in range(start, stop, step):
                    tile = self._tile(column, min(column + step, stop), queries.dtype)
                    out = products[:, column - start : column - start + len(tile)]
                    self._multiply(queries, tile, out, more, part)
                for starts, columns, reached in marks:
                    self._loops.strike(products, start, starts, columns, reached)
                yield start, products

    def _multiply(
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
        dim = self._vectors.dim
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

    def _tile(self, start: int, stop: int, kind: Any) -> NDArray[Any]:
        """Return rows in key space."""
        if kind == np.float64:
            return self._census.prepared(start, stop)
        if self._kept is not None:
            return self._kept[start:stop]
        return self._census.prepared(start, stop).astype(np.float32)


def _cells(positives: int, rows: int) -> int:
    """Return how many cells the grid of an anchor with so many positives has.

    More cells cost more to fill and leave fewer keys mixed, in proportion to thresholds / cells.
    """
    best = math.sqrt(_MIXED_COST * rows * positives)
    return min(max(1 << int(math.log2(max(best, 1.0))), _LEAST_CELLS), _MOST_CELLS)


def _tables(lines: int, held: int, cells: int, positives: int, kind: Any) -> tuple[Any, ...]:
    """Return room for the tables of the compiled loops."""
    entries = 6 * positives + 4  # a threshold reaches into at most three cells
    return (
        np.zeros((lines, 4), dtype=kind),
        np.empty((held, cells), dtype=np.uint32),
        np.empty((held, positives + 1), dtype=np.float32),
        np.empty((held, entries), dtype=np.uint32),
        np.empty((held, entries + 1), dtype=np.int32),
        np.empty((held, entries)),
        np.empty((held, entries), dtype=np.int32),
    )
