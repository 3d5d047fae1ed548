"""One block of the fast pass: its products go through the compiled loops, run by run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miner.census import Vectors
from miner.distance import Metric
from miner.screening.reaching import ReachPass
from miner.screening.watch import NearestPass, Watch

__all__ = ["BlockPass", "cells_for", "make_tables", "some_lists"]

Rows = NDArray[np.int64]

_LEAST_CELLS, _MOST_CELLS = 1024, 65536
_MIXED_COST = 50.0
"""What a mixed key costs over filling a cell, times how much denser thresholds lie at their peak,
times two for both borders."""


@dataclass(slots=True)
class BlockPass:
    """The arguments of the compiled loops, for all tiles of a block; see `miner.screening.loops`.

    Attributes
    ----------
    loops : module
    watch : Watch
    nearest : NearestPass
    reach : ReachPass
    anchors : ndarray of int64
    positives : int
        The most that one of them has.
    whole : bool
        Whether all rows come at once; else the tables are built.
    """

    loops: Any
    watch: Watch
    nearest: NearestPass
    reach: ReachPass
    anchors: Rows
    positives: int
    whole: bool
    bias: NDArray[Any]
    shift: NDArray[Any]
    borders: tuple[Any, ...]
    able: NDArray[np.bool_]
    unit: float
    data: tuple[Any, ...]
    errors: tuple[Any, Any]
    tables: tuple[Any, ...]
    results: tuple[Any, ...]
    loss: bool
    _wide: Any = None

    def begin(self) -> None:
        """Build the tables, where those of all lines are held."""
        self._wide = self.errors[0].copy()  # what building them changes
        if not self.whole:
            self.loops.build(
                self.borders, self.able, self.errors[0], self.data[7], self.unit, self.tables, 0
            )

    def go(self, products: NDArray[Any], start: int) -> None:
        """Count a tile, and note what is watched."""
        part = slice(start, start + products.shape[1])
        for first, last in self.watch.runs(self.anchors, self.positives):
            self._count(products, (first, last, first), part, 1)

    def find_nearest(self, vectors: Vectors, metric: Metric) -> Rows:
        """Return the nearest rows; a line for which they were not found is not sure."""
        rows, found = self.nearest.settle(vectors, metric, self.anchors)
        self.results[0][~found, 2] = 1
        return rows

    def counted_in_vain(self) -> Rows:
        """Return the lines that are not sure, but noted."""
        if self.watch.sums is None:
            return np.empty(0, dtype=np.int64)
        noted = self.tables[0][:, 2] > 0
        return np.flatnonzero((self.results[0][:, 2] != 0) & noted)

    def take_off(self, products: NDArray[Any], start: int, lines: Rows) -> None:
        """Count some lines a second time, and take off what was noted of them."""
        part = slice(start, start + products.shape[1])
        for place, line in enumerate(lines.tolist()):
            if self.whole:
                self.errors[0][line] = self._wide[line]
            self._count(products, (line, line + 1, place), part, -1)

    def _count(
        self, products: NDArray[Any], lines: tuple[int, int, int], part: slice, sign: int
    ) -> None:
        """Count the lines from ``lines[0]`` to ``lines[1]``, the first at product ``lines[2]``."""
        into, near = self.watch.into(part, sign), self.nearest.into(sign)
        rest = (self.results, self.loss, lines, into, near, self.reach.into(sign))
        if self.whole:
            self.loops.count_rows(
                products, self.bias, self.shift, self.borders, self.able, self.unit, self.data,
                self.errors, self.tables, *rest,
            )  # fmt: skip
        else:
            self.loops.count_tile(
                products, part.start, self.bias[part], self.shift, self.borders, self.data,
                self.errors, self.tables, *rest,
            )  # fmt: skip
        self.watch.book(int(self.anchors[lines[0]]), part, sign)


def some_lists(starts: Rows, values: Rows, chosen: Rows) -> tuple[Rows, Rows]:
    """Return some of the lists ``values[starts[i]:starts[i + 1]]``, in the same form."""
    lists = [values[starts[line] : starts[line + 1]] for line in chosen.tolist()]
    return np.cumsum([0, *map(len, lists)]), np.concatenate([values[:0], *lists])


def cells_for(positives: int, rows: int) -> int:
    """Return how many cells the grid of an anchor with so many positives has.

    More cells cost more to fill and leave fewer keys mixed, in proportion to thresholds / cells.
    """
    best = math.sqrt(_MIXED_COST * rows * positives)
    return min(max(1 << int(math.log2(max(best, 1.0))), _LEAST_CELLS), _MOST_CELLS)


def make_tables(lines: int, held: int, cells: int, positives: int, kind: Any) -> tuple[Any, ...]:
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
