"""The exact pass: blocks of anchors, each with its counts and its sorted rows.

For a block of anchors one matrix product gives the keys of all rows
(`miner.census.walk.key_space`). The rows that can be hard or semi-hard are listed and sorted by key
(`miner.census.walk.ranked_block`). Each positive sets two thresholds among the keys, where hard
negatives end and where semi-hard negatives end (`miner.census.walk.pair_thresholds`). If a key is
so near to a threshold that rounding could decide, its distance is measured by the float64
definition (`miner.census.walk.count_below`). So the counts follow the definition exactly, on any
machine. No other code multiplies the vectors.

The product is computed in float32 if that decides nearly all keys, else in float64
(`miner.census.walk.precision`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miner.census.device.devices import Device
from miner.census.kernels import load_device_walk
from miner.census.measure import Vectors
from miner.census.walk.block_maker import BlockMaker, CensusRequest
from miner.census.walk.candidate_lists import CandidateLists
from miner.census.walk.key_rows import BufferPool, KeyRows
from miner.census.walk.key_space import KeySpace
from miner.census.walk.listing import EntryList, mask_rows
from miner.census.walk.pair_thresholds import PAIR_BYTES, PairThresholds, thresholds_from_distances
from miner.census.walk.precision import MAX_NARROW_POSITIVES, QueryBlock
from miner.census.walk.ranked_block import RankedBlock
from miner.triplets.distance import Metric
from miner.triplets.relevance import Relevance
from miner.triplets.types import Rows

__all__ = ["Census", "CensusRequest"]

_GROUP, _LINES = 128, 32
"""Anchors in one product (`_GROUP`), and anchors in one block (`_LINES`), which a CPU cache
holds."""
_FEWEST = 128
"""If the complete products of fewer anchors than this fit in memory, rows are multiplied tile by
tile."""
_TILE = 4096
"""The least number of rows in a tile."""
_RANKS = CensusRequest()


class Census:
    """The exact pass of one job over its vectors.

    Parameters
    ----------
    vectors : Vectors
    relevance : Relevance
    metric : str
    margin : float
    kernel : str
        ``auto``, ``numba`` or ``numpy``; the counts are the same.
    keep_bytes : int
        The most bytes of prepared rows to cache; the float32 rows are cached completely or not
        cached.
    buffers : BufferPool, optional
        The pool of buffers for keys; by default a new one.
    device : callable, optional
        Opens the device of PyTorch that counts, at the first block; by default the CPU counts,
        without PyTorch. The counts are the same.
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
        buffers: BufferPool | None = None,
        device: Callable[[], Device] | None = None,
    ) -> None:
        self.vectors, self.relevance = vectors, relevance
        self.metric: Metric = metric
        self.margin = margin
        self.space = KeySpace.fit(metric, vectors.rows, vectors.anchors)
        self._buffers = buffers or BufferPool()
        narrow = np.dtype(np.float32).itemsize * vectors.rows.size
        narrow = narrow if narrow <= keep_bytes else 0
        self._narrow = KeyRows(self.space, vectors.rows, np.float32, keep=narrow)
        self._wide = KeyRows(self.space, vectors.rows, np.float64, keep=keep_bytes - narrow)
        self._maker = BlockMaker(vectors, relevance, self.space, margin, kernel)
        self._device, self._opening = device, threading.Lock()
        self._walk: Any = None

    def release_rows(self) -> None:
        """Drop the cached rows; counting is still possible, but slower."""
        self._narrow.release_rows()
        self._wide.release_rows()
        if self._walk is not None:
            self._walk.release_rows()

    def in_order(self, anchors: Rows) -> Rows:
        """Return positions that sort anchors by their number of positives; ties keep their order.

        Counting is fast if neighbouring anchors have similar numbers of positives.
        """
        return np.argsort(self.relevance.positive_counts[anchors], kind="stable")

    def blocks(
        self, anchors: Rows, memory: int, request: CensusRequest = _RANKS
    ) -> Iterator[RankedBlock]:
        """Yield counted blocks of anchors, in the given order.

        Parameters
        ----------
        anchors : ndarray of shape (a,), int64
            Each must have a positive.
        memory : int
            Bytes for a block; a block has at least one anchor.
        request : CensusRequest

        Yields
        ------
        RankedBlock
            Its entries are overwritten by the next block.
        """
        if self._device is not None:
            yield from self._on_device(self._device).blocks(anchors, memory, request)
            return
        positives = self.relevance.positive_counts[anchors]
        for first, last in self._cut(positives, memory):
            yield from self._blocks(anchors[first:last], memory, request)

    def _on_device(self, device: Callable[[], Device]) -> Any:
        """Return the walk on the device, opened once for all threads."""
        with self._opening:
            if self._walk is None:
                self._walk = load_device_walk()(self._maker, device())
            return self._walk

    def block(self, anchors: Rows) -> RankedBlock:
        """Return one block of at most `_LINES` anchors with positives, without a memory limit."""
        assert len(anchors) <= _LINES
        memory = 32 * max(1, len(anchors)) * len(self.vectors.rows)
        return next(self._blocks(anchors, memory, _RANKS))

    def _cut(self, positives: Rows, memory: int) -> Iterator[tuple[int, int]]:
        """Cut anchors into groups of one precision whose pairs fit in `memory`."""
        wide, start = positives > MAX_NARROW_POSITIVES, 0
        ends = np.append(np.flatnonzero(np.diff(wide)) + 1, len(wide))
        while start < len(wide):
            end = int(ends[np.searchsorted(ends, start, side="right")])
            size = _GROUP
            if wide[start]:  # as many as one product takes
                size = min(size, max(1, 3 * memory // 4 // (8 * len(self.vectors.rows))))
            cost = np.cumsum(PAIR_BYTES * positives[start : start + size])
            most = max(1, int(np.searchsorted(cost, memory, side="right")))
            yield start, min(end, start + most)
            start = min(end, start + most)

    def _blocks(self, anchors: Rows, memory: int, request: CensusRequest) -> Iterator[RankedBlock]:
        """Yield the blocks of a group of anchors, from one product if it fits in memory."""
        group, lines, rows = self._maker.prepare(anchors), len(anchors), len(self.vectors.rows)
        thresholds = self._maker.narrow_thresholds(group)
        if thresholds is None and not request.ranks:
            self._maker.precision.estimate_shares(group)
        kind: Any = np.float64 if thresholds is None else np.float32
        fits = 3 * memory // 4 // (kind().itemsize * rows)
        if lines > 1 and fits < min(lines, _FEWEST) and thresholds is not None:
            yield from self._tiled(group, thresholds, memory, request)
        elif lines > max(1, fits):
            parts = np.array_split(anchors, -(-lines // max(1, fits)))
            for part in parts:
                yield from self._blocks(part, memory, request)
        else:
            yield from self._whole(group, thresholds, kind, memory, request)

    def _whole(
        self,
        group: QueryBlock,
        thresholds: PairThresholds | None,
        kind: Any,
        memory: int,
        request: CensusRequest,
    ) -> Iterator[RankedBlock]:
        """Yield blocks of anchors from their complete products with all rows."""
        lines, rows = len(group.queries), len(self.vectors.rows)
        source = self._wide if thresholds is None else self._narrow
        step = min(lines, _LINES, max(1, memory // 4 // (8 * rows)))
        numbers = -(-lines * rows * kind().itemsize // 8)
        with self._buffers.borrow(numbers + step * rows + 1) as buffer:
            products = buffer[:numbers].view(kind)[: lines * rows].reshape(lines, rows)
            bias = source.products(group.queries.astype(kind, copy=False), 0, products)
            for first in range(0, lines, step):
                part = slice(first, min(first + step, lines))
                own, mine = group.part(part), products[part]
                if thresholds is None:
                    edges = self._maker.wide_thresholds(own, mine, bias)
                    mask_rows(mine, 0, *self._maker.hidden(own.pairs))
                else:
                    edges = thresholds.part(group.pairs.starts, part)
                    mask_rows(mine, 0, *self._maker.masked_rows(own.pairs))
                if self._maker.counts_directly(own, request):
                    yield self._maker.count_directly(
                        own, edges, mine, bias, buffer[numbers:], request
                    )
                    continue
                out = buffer[numbers:]
                listing = self._maker.listing(own, edges, thresholds is not None, out, request)
                listing.entries.add(mine, bias, 0)
                yield self._maker.summed_block(own, listing.sorted(), request)

    def _tiled(
        self, group: QueryBlock, thresholds: PairThresholds, memory: int, request: CensusRequest
    ) -> Iterator[RankedBlock]:
        """Yield a block that is multiplied tile by tile; several if its entries do not fit."""
        lines, rows = len(group.queries), len(self.vectors.rows)
        width = min(rows, max(_TILE, memory // (16 * lines)))
        numbers = -(-lines * width // 2)
        most = max(memory // 8 - numbers, 0) if lines > 1 else rows + 1
        with self._buffers.borrow(numbers + most) as buffer:
            products = buffer[:numbers].view(np.float32)[: lines * width].reshape(lines, width)
            out = buffer[numbers : numbers + most]
            listing = self._maker.listing(group, thresholds, True, out, request)
            if self._list_tiles(group, products, listing.entries):
                yield self._maker.summed_block(group, listing.sorted(), request)
                return
        for half in (slice(0, lines // 2), slice(lines // 2, lines)):
            own = thresholds.part(group.pairs.starts, half)
            yield from self._tiled(group.part(half), own, memory, request)

    def _list_tiles(self, group: QueryBlock, products: NDArray[Any], entries: EntryList) -> bool:
        """List rows tile by tile; return False if the buffer is too small."""
        rows, width = len(self.vectors.rows), products.shape[1]
        queries, masked = group.queries.astype(np.float32), self._maker.masked_rows(group.pairs)
        for start in range(0, rows, width):
            tile = products[:, : min(width, rows - start)]
            bias = self._narrow.products(queries, start, tile)
            mask_rows(tile, start, *masked)
            if not entries.add(tile, bias, start):
                return False
        return True

    def listed_block(self, anchors: Rows, lists: CandidateLists) -> RankedBlock:
        """Return a counted block made from candidate lists, without a matrix product.

        Parameters
        ----------
        anchors : ndarray of shape (b,), int64
        lists : CandidateLists
            The lists of these anchors. Rows that are not listed are not counted.
        """
        group = self._maker.prepare(anchors)
        d_ap = group.pairs.measured(self.vectors, self.space, slice(None))
        facts = (d_ap, self.space, self.margin, group.offset, group.key_error)
        thresholds = thresholds_from_distances(group.pairs, *facts)
        gap = lists.head["gap"].astype(np.float64)
        tolerance = thresholds.tolerance + gap
        clear = np.full(len(gap), -np.inf)  # the loss is not summed
        own = (lists.entries, lists.firsts)
        return self._maker.counted_block(group, thresholds, tolerance, gap, clear, *own)
