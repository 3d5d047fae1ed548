"""One block of the fast pass: its products go through the compiled loops, run by run."""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miner.census.fast.candidate_pass import ReachPass
from miner.census.fast.column_pass import NearestPass, Runs, Watch
from miner.census.fast.thresholds import Pairs
from miner.census.measure import Vectors
from miner.triplets.distance import Metric
from miner.triplets.types import Float64, Rows

__all__ = [
    "BlockPass",
    "DensePass",
    "Strikes",
    "TabledPass",
    "cells_for",
    "dense_tables",
    "make_tables",
    "some_lists",
]

_LEAST_CELLS, _MOST_CELLS = 1024, 65536
_MIXED_COST = 50.0
"""What a mixed key costs over filling a cell, times how much denser thresholds lie at their peak,
times two for both borders."""
_DENSE_CELLS = 3.2
"""Cells a threshold that dense tables have, at least, up to their most."""
_LEAST_DENSE, _MOST_DENSE = 1024, 65536


@dataclass(slots=True)
class BlockPass(ABC):
    """The arguments of the compiled loops of `kernels.count_lookup`, for all tiles of a block.

    Attributes
    ----------
    loops : module
    watch : Watch
    nearest : NearestPass
    reach : ReachPass
    anchors : ndarray of int64
    pairs : Pairs
    data : tuple
        What makes a float64 key and a distance.
    results : tuple
        The arrays that are filled: totals, losses, few.
    loss : bool
    """

    loops: Any
    watch: Watch
    nearest: NearestPass
    reach: ReachPass
    anchors: Rows
    pairs: Pairs
    data: tuple[Any, ...]
    results: tuple[Any, ...]
    loss: bool

    def go(self, products: NDArray[Any], start: int) -> None:
        """Count a tile, and note what is watched."""
        self._count(products, self.watch.runs(self.anchors, self.pairs.most), start, 1)

    def find_nearest(self, vectors: Vectors, metric: Metric) -> Rows:
        """Return the nearest rows; a line for which they were not found is not sure."""
        rows, found = self.nearest.settle(vectors, metric, self.anchors)
        self.results[0][~found, 2] = 1
        return rows

    def counted_in_vain(self) -> Rows:
        """Return the lines that are not sure, but noted."""
        if self.watch.sums is None:
            return np.empty(0, dtype=np.int64)
        return np.flatnonzero((self.results[0][:, 2] != 0) & self.looked_up())

    def take_off(self, products: NDArray[Any], start: int, lines: Rows) -> None:
        """Count some lines a second time, and take off what was noted of them."""
        runs = np.column_stack([lines, lines + 1, np.arange(len(lines))])
        self._count(products, runs, start, -1)

    @abstractmethod
    def looked_up(self) -> NDArray[np.bool_]:
        """Say of which lines keys are looked up at all."""

    @abstractmethod
    def loop(self, products: NDArray[Any], part: slice, runs: Runs, room: tuple[Any, ...]) -> int:
        """Send some lines through the compiled loop; return how many pairs of labels it booked."""

    def _count(self, products: NDArray[Any], runs: Runs, start: int, sign: int) -> None:
        part = slice(start, start + products.shape[1])
        into, near = self.watch.into(part, sign), self.nearest.into(sign)
        for some in self.watch.groups(runs, products.shape[1]):
            book = self.watch.booking(some, part, sign)
            held = self.loop(products, part, some, (into, near, self.reach.into(sign), book))
            self.watch.book(self.anchors, some, held)


@dataclass(slots=True)
class TabledPass(BlockPass):
    """Keys of any type, looked up in the tables of `miner.census.kernels.lookup_tables`.

    Attributes
    ----------
    whole : bool
        Whether all rows come at once; then a line's tables are made as it is counted.
    bias, shift, able, unit, errors, tables
        As the loops have them.
    """

    whole: bool
    bias: NDArray[Any]
    shift: NDArray[Any]
    able: NDArray[np.bool_]
    unit: float
    errors: tuple[Float64, Float64]
    tables: tuple[Any, ...]
    _wide: Any = None

    def __post_init__(self) -> None:
        self._wide = self.errors[0].copy()  # what building them changes
        if not self.whole:
            self.loops.build(
                self.pairs.borders, self.able, self.errors[0], self.data[7], self.unit,
                self.tables, 0,
            )  # fmt: skip

    def looked_up(self) -> NDArray[np.bool_]:
        """Say of which lines there are tables."""
        return np.asarray(self.tables[0][:, 2] > 0)

    def loop(self, products: NDArray[Any], part: slice, runs: Runs, room: tuple[Any, ...]) -> int:
        """Send some lines through the loop."""
        if self.whole:
            self.errors[0][:] = self._wide
        held = self.loops.count_tile(
            products, part.start, self.bias[part], self.shift, self.pairs.borders, self.able,
            self.unit, self.whole, self.data, self.errors, self.tables, self.results, self.loss,
            runs, *room,
        )  # fmt: skip
        return int(held)


@dataclass(slots=True)
class DensePass(BlockPass):
    """Whole rows of float64 keys among many thresholds; see `miner.census.kernels.count_dense`.

    Attributes
    ----------
    bias : ndarray of shape (rows,), float64
    tables : tuple
        The grid of every line and its sorted marks; room for the records and sums of one line.
    """

    bias: Float64
    tables: tuple[Any, ...]

    def looked_up(self) -> NDArray[np.bool_]:
        """Say which lines have a grid."""
        return np.asarray(self.tables[0][:, 2] > 0)

    def loop(self, products: NDArray[Any], part: slice, runs: Runs, room: tuple[Any, ...]) -> int:
        """Send some lines through the loop."""
        held = self.loops.count_dense(
            products, self.bias, self.pairs.borders, self.data, self.pairs.tolerance, self.tables,
            self.results, self.loss, runs, *room,
        )  # fmt: skip
        return int(held)


def cells_for(positives: int, rows: int) -> int:
    """Return how many cells the grid of an anchor with so many positives has.

    More cells cost more to fill and leave fewer keys mixed, in proportion to thresholds / cells.
    """
    best = math.sqrt(_MIXED_COST * rows * positives)
    return min(max(1 << int(math.log2(max(best, 1.0))), _LEAST_CELLS), _MOST_CELLS)


def make_tables(lines: int, held: int, cells: int, positives: int, kind: Any) -> tuple[Any, ...]:
    """Return room for the tables of `TabledPass`."""
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


def dense_tables(
    loops: Any, pairs: Pairs, able: NDArray[np.bool_], *, loss: bool
) -> tuple[Any, ...]:
    """Return the tables of `DensePass`."""
    wanted = _DENSE_CELLS * 2 * pairs.most
    cells = min(1 << max(int(wanted) - 1, 0).bit_length(), _MOST_DENSE)
    cells = max(cells, _LEAST_DENSE)
    grid, marks = np.empty((len(able), 4)), np.empty(2 * len(pairs.columns), dtype=np.uint32)
    loops.lay_marks(pairs.borders, pairs.tolerance, able, cells, grid, marks)
    for start, stop in itertools.pairwise((2 * pairs.starts).tolist()):
        marks[start:stop].sort()
    sums = np.empty(pairs.most + 1 if loss else 1, dtype=np.float32)
    return grid, marks, np.empty(cells, dtype=np.uint64), sums


class Strikes:
    """Strikes rows that do not count out of products: they are minus infinity from then on.

    Parameters
    ----------
    loops : module
    lists : list of tuple
        Starts and columns; the columns of line i ascend from ``starts[i]`` to ``starts[i + 1]``.
    """

    def __init__(self, loops: Any, lists: list[tuple[Rows, Rows]]) -> None:
        self._loops = loops
        self._lists = [(starts, columns, starts[:-1].copy()) for starts, columns in lists]

    def on(self, products: NDArray[Any], start: int) -> None:
        """Strike in the products with the rows from `start` on; tiles come in order."""
        for starts, columns, reached in self._lists:
            self._loops.strike(products, start, starts, columns, reached)


def some_lists(starts: Rows, values: Rows, chosen: Rows) -> tuple[Rows, Rows]:
    """Return some of the lists ``values[starts[i]:starts[i + 1]]``, in the same form."""
    lists = [values[starts[line] : starts[line + 1]] for line in chosen.tolist()]
    return np.cumsum([0, *map(len, lists)]), np.concatenate([values[:0], *lists])
