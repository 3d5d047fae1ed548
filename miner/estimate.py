"""How long counting and writing take, from the size of a job: a model fitted to measurements.

Fitted to the CPU seconds of one worker on two shared cores (AMD EPYC, NumPy 2.4, numba), on 1,797 x
64 (10 classes), 20,000 x 64 (200 classes) and 10,000 x 784 (10 classes), for the strategies `all`,
`hardest`, `batch-hard` and `warp`; and for `relative_margin` and `max_score` on 250 anchors of
10,000 x 784. Within a factor of two, but for tenths of a second. A product of the job's shape is
timed where the plan is made; the other costs are those of that machine.
"""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass

from miner.strategies.selection import Selection

__all__ = ["Size", "approximate_seconds", "count_seconds", "gap_seconds", "write_seconds"]

_BEGIN = 0.3
"""Loading compiled loops, making the rows ready."""
_SCREEN_PRODUCT, _SCREEN_KEY, _SCREEN_VALUE = 0.6, 2.3e-9, 3.2e-10
"""Of the fast pass: its float32 product over a float64 one, a key, a value of a pair's positive."""
_BLOCK_KEY, _BLOCK_VALUE = 4e-9, 1.5e-10
"""Of whole blocks in float64, which writing and strategies by pair need."""
_WITHOUT_NUMBA = 1.7
_MEASURED_VALUE = 1.25e-9
"""Measuring rows by the definition, a value."""
_SCORED_KEY, _SCORED_PAIR = 3e-9, 1e-7
"""Holding a bound on scores against a key; a bound that hangs on the pair's positive."""
_GAP_KEY = 3.3e-8
"""Of the histogram of gaps, a key."""
_LIST_VALUE, _TRAINED, _PROBES = 4.7e-11, 400, 4
"""Of an inverted file: a row held against a list, a dimension; how often training holds a list
against rows, of each list; lists that a search looks through. On 10^6 x 128 with IVF4096,Flat."""
_SEARCH_VALUE = 1.2e-10
_LINK, _STEP = 2e-4, 1e-4
"""Of a graph: a row that is added, an anchor that is searched."""
_NOMINEE, _NOMINEE_VALUE = 2e-7, 2.5e-9
"""A nominee of an anchor, and each of its dimensions: measured, put in order, counted."""
_ANCHOR, _ANCHOR_KEY = 1e-4, 3e-9
_TRIPLET, _TRIPLET_VALUE, _DRAW = 1.4e-6, 1e-9, 1.2e-5
"""Writing: an anchor and each of its keys; a triplet and each dimension; a draw by weights."""


@dataclass(frozen=True, slots=True)
class Size:
    """What a job's time hangs on.

    Attributes
    ----------
    anchors, rows, dim : int
    pairs : int
        Pairs (anchor, positive).
    flops : float
        Operations a second of a float64 product on one core.
    workers : int
    processes : bool
        Whether they are processes: threads share one interpreter, and gain little as they write.
    """

    anchors: int
    rows: int
    dim: int
    pairs: int
    flops: float
    workers: int
    processes: bool

    @property
    def keys(self) -> float:
        """The distances of the whole matrix."""
        return float(self.anchors) * self.rows

    @property
    def product(self) -> float:
        """Seconds of the float64 product on one core."""
        return 2 * self.keys * self.dim / self.flops

    @property
    def values(self) -> float:
        """The numbers in all pairs' positives."""
        return float(self.pairs) * self.dim

    def share(self, anchors: int) -> Size:
        """Return the size of a job of some of the anchors."""
        part = min(1.0, anchors / max(1, self.anchors))
        return Size(
            min(anchors, self.anchors),
            self.rows,
            self.dim,
            round(self.pairs * part),
            self.flops,
            self.workers,
            self.processes,
        )


def count_seconds(size: Size, selection: Selection) -> float:
    """Estimate the counting pass."""
    if selection.needs_pairs:
        return _BEGIN + (_blocks(size) + _choosing(size, selection)) / size.workers
    if importlib.util.find_spec("numba") is None:
        return _BEGIN + _blocks(size) / size.workers
    work = _SCREEN_PRODUCT * size.product + _SCREEN_KEY * size.keys + _SCREEN_VALUE * size.values
    return _BEGIN + work / size.workers


def gap_seconds(size: Size) -> float:
    """Estimate the histogram of gaps over all anchors."""
    each = _GAP_KEY if importlib.util.find_spec("numba") else _MEASURED_VALUE * size.dim
    return (size.product + each * size.keys) / size.workers


def approximate_seconds(size: Size, factory: str, candidates: int) -> tuple[float, float]:
    """Estimate building an approximate index, and counting among its nominees."""
    found = re.search(r"IVF(\d+)", factory)
    if found:
        lists = int(found[1])
        rows = size.rows + _TRAINED * lists
        build = _LIST_VALUE * rows * lists * size.dim
        search = _SEARCH_VALUE * size.dim * (lists + _PROBES * size.rows / lists)
    else:
        build, search = _LINK * size.rows * size.workers, _STEP  # a graph grows on one core
    nominees = candidates * (_NOMINEE + _NOMINEE_VALUE * size.dim)
    count = size.anchors * (search + nominees)
    return build / size.workers, _BEGIN + count / size.workers


def write_seconds(
    size: Size, selection: Selection, triplets: int, *, listed: bool = False
) -> float:
    """Estimate the writing of so many triplets.

    Their anchors are counted again, unless the rows to write were `listed` as they were counted.
    """
    if not triplets:
        return 0.0
    busy = size.share(triplets)
    each = _TRIPLET + _TRIPLET_VALUE * size.dim + (_DRAW if selection.strategy.weighted else 0.0)
    if listed:
        return _ANCHOR * busy.anchors + each * triplets
    plain = _ANCHOR * busy.anchors + _ANCHOR_KEY * busy.keys + each * triplets
    again = (_blocks(busy) + _choosing(busy, selection)) / size.workers
    return again + plain / (size.workers if size.processes else 1)


def _blocks(size: Size) -> float:
    """Estimate the counting of all pairs in float64, on one core."""
    slow = _WITHOUT_NUMBA if importlib.util.find_spec("numba") is None else 1.0
    return slow * (size.product + _BLOCK_KEY * size.keys + _BLOCK_VALUE * size.values)


def _choosing(size: Size, selection: Selection) -> float:
    """Estimate what filters and strategy measure, on one core."""
    filters = selection.filters
    measured = _MEASURED_VALUE * size.values if selection.strategy.measures else 0.0
    pairs = size.pairs if filters.relative else 0  # other bounds are one an anchor
    bounds = filters.aware + (filters.min_score is not None)
    return measured + bounds * _SCORED_KEY * size.keys + _SCORED_PAIR * pairs
