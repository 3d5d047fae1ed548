"""Makes the counted blocks of anchors from their products."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miner.census.add_up import add_up
from miner.census.column_sums import ColumnSums
from miner.census.kernels import choose_loops
from miner.census.measure import Vectors
from miner.census.walk import direct, precision
from miner.census.walk.count_below import count_pairs
from miner.census.walk.direct import Definition, DirectCount
from miner.census.walk.key_space import KeySpace
from miner.census.walk.line_loops import load_line_loops
from miner.census.walk.listing import EntryList
from miner.census.walk.pair_thresholds import Pairs, PairThresholds, thresholds_from_keys
from miner.census.walk.precision import Precision, QueryBlock
from miner.census.walk.ranked_block import RankedBlock, row_bits
from miner.triplets.relevance import Relevance
from miner.triplets.types import Float64, Rows

__all__ = ["BlockMaker", "CensusRequest", "Listing"]

_LEAST = 1e-300
"""Added to tolerances: the row number changes a key of zero by less than this."""


@dataclass(frozen=True, slots=True)
class CensusRequest:
    """What a pass computes in addition to the counts of each pair.

    Attributes
    ----------
    ranks : bool
        Whether rows are needed by rank, beyond the nearest ones.
    neighbours : int
        The number of nearest rows to list, including positives.
    loss : bool
        Whether to sum the loss.
    sums : ColumnSums or None
        The triplets of each row are added to it.
    """

    ranks: bool = True
    neighbours: int = 0
    loss: bool = False
    sums: ColumnSums | None = None


SortedEntries = tuple[PairThresholds, Float64, Float64, Float64, Float64, Rows]
"""Thresholds, tolerance, gap, unclear keys, sorted entries, and where each anchor's begin."""


@dataclass(frozen=True, slots=True)
class Listing:
    """The thresholds of a block, and its entries."""

    thresholds: PairThresholds
    tolerance: Float64
    gap: Float64
    unclear: Float64
    entries: EntryList

    def sorted(self) -> SortedEntries:
        """Return all fields; the entries are sorted, followed by where each anchor's begin."""
        return self.thresholds, self.tolerance, self.gap, self.unclear, *self.entries.sorted()


class BlockMaker:
    """Makes the blocks of one census.

    Parameters
    ----------
    vectors, relevance, space, margin, kernel
        As in `miner.census.walk.census.Census`.
    """

    def __init__(
        self, vectors: Vectors, relevance: Relevance, space: KeySpace, margin: float, kernel: str
    ) -> None:
        self.vectors, self.relevance = vectors, relevance
        self.space, self.margin = space, margin
        self.loops = load_line_loops(kernel)
        self._direct_loops = choose_loops(kernel, "direct")
        self.bits = row_bits(len(vectors.rows))
        self.precision = Precision(vectors, space, margin, self.bits)
        self.exact = space.exact(vectors.dim, self.bits)

    def narrow_thresholds(self, anchors: QueryBlock) -> PairThresholds | None:
        """Return the thresholds of anchors whose keys can be float32, else None."""
        return None if self.exact else self.precision.narrow_thresholds(anchors)

    def prepare(self, anchors: Rows) -> QueryBlock:
        """Return the anchors, prepared for the matrix product."""
        lists = self.relevance.positive_lists(anchors)
        queries = self.space.prepare(self.vectors.anchors[anchors])
        return QueryBlock(
            Pairs.from_counts(anchors, lists.counts, lists.columns),
            queries,
            self.space.offset(queries),
            self.space.key_error(queries),
            np.sqrt((queries * queries).sum(-1)),
        )

    def counts_directly(self, group: QueryBlock, request: CensusRequest) -> bool:
        """Whether to count the anchors without sorting their rows."""
        if request.ranks or self._direct_loops is None or self.exact:
            return False
        return (
            group.non_easy >= direct.MIN_DIRECT_SHARE and group.undecided <= precision.MAX_UNDECIDED
        )

    def count_directly(
        self,
        group: QueryBlock,
        thresholds: PairThresholds,
        products: NDArray[Any],
        bias: NDArray[Any],
        out: Float64,
        request: CensusRequest,
    ) -> RankedBlock:
        """Return a block that was counted without sorting; it lists the nearest rows only."""
        narrow = products.dtype == np.float32
        error = self.precision.narrow(group.norms) if narrow else None
        tolerance, gap = self.tolerances(group, thresholds, error)

        def lister(lines: Rows, max_keys: Float64) -> tuple[Float64, Rows]:
            """List the rows of some of the anchors up to the given keys."""
            part = products[lines]
            out = np.empty(part.size + 1)  # most of it stays untouched, so it takes no memory
            return self._upto(max_keys, part, bias, out)

        unclear = self.precision.unclear(group.offset, gap)
        counting = DirectCount(
            self._direct_loops,
            self.loops,
            self.definition(group, thresholds, measured=narrow),
            group.offset,
            tolerance,
            unclear,
        )
        firsts = np.zeros(len(gap) + 1, dtype=np.int64)
        nearest = (request.neighbours, self.bits, out, firsts)
        counts = counting.count(products, bias, request.sums, nearest)
        entries = out[: firsts[-1]]
        self.loops.sort_lines(entries, firsts)
        block = self.block(group, thresholds, tolerance, gap, entries, firsts)
        block.hard, block.non_easy, block.loss = counts
        block.lister = lister
        return block

    def _upto(
        self, max_keys: Float64, products: NDArray[Any], bias: NDArray[Any], out: Float64
    ) -> tuple[Float64, Rows]:
        """Return the entries of anchors up to the given keys, and where each anchor's begin."""
        none = np.zeros(len(max_keys))
        entries = EntryList(max_keys, none.astype(np.int64), none, self.bits, out, self.loops)
        entries.add(products, bias, 0)
        return entries.sorted()

    def summed_block(
        self, group: QueryBlock, made: SortedEntries, request: CensusRequest
    ) -> RankedBlock:
        """Return a block with ranked rows; sum its loss and row counts if they are asked for."""
        block = self.counted_block(group, *made)
        if request.loss or request.sums is not None:
            block.loss = add_up(block, self.margin, request.sums)
        return block

    def wide_thresholds(
        self, group: QueryBlock, products: NDArray[Any], bias: NDArray[Any]
    ) -> PairThresholds:
        """Return thresholds from the float64 products of pairs; set these products to NaN."""
        pairs = group.pairs
        keys = self.loops.take_keys(products, bias, pairs.lines, pairs.positives)
        return self.thresholds_of_keys(group, keys)

    def thresholds_of_keys(self, group: QueryBlock, keys: Float64) -> PairThresholds:
        """Return the thresholds of pairs whose float64 keys are known."""
        about = (self.vectors, self.space, self.margin, group.offset, group.key_error)
        return thresholds_from_keys(group.pairs, keys, *about, self.loops)

    def listing(
        self,
        group: QueryBlock,
        thresholds: PairThresholds,
        narrow: bool,
        out: Float64,
        request: CensusRequest,
    ) -> Listing:
        """Return the thresholds of anchors and an empty list for their hard and semi-hard rows."""
        error = self.precision.narrow(group.norms) if narrow else None
        tolerance, gap = self.tolerances(group, thresholds, error)
        max_keys = self.max_keys(group, thresholds, tolerance)
        wanted = request.neighbours - np.diff(group.pairs.starts)
        entries = EntryList(max_keys, wanted, 4 * tolerance, self.bits, out, self.loops)
        unclear = self.unclear(group, thresholds, gap, narrow=narrow)
        return Listing(thresholds, tolerance, gap, unclear, entries)

    def max_keys(
        self, group: QueryBlock, thresholds: PairThresholds, tolerance: Float64
    ) -> Float64:
        """Return, per anchor, a key that no hard or semi-hard row exceeds."""
        upper = np.maximum(thresholds.non_easy, thresholds.hard)
        most: Float64 = np.maximum.reduceat(upper, group.pairs.starts[:-1]) + 4 * tolerance
        return most

    def unclear(
        self, group: QueryBlock, thresholds: PairThresholds, gap: Float64, *, narrow: bool
    ) -> Float64:
        """Return, per anchor, the key below which distances are too inexact to sum the loss."""
        if narrow:
            return self.precision.unclear(group.offset, gap)
        return self.precision.unclear_of_wide(group, thresholds, gap)

    def tolerances(
        self, group: QueryBlock, thresholds: PairThresholds, error: Float64 | None
    ) -> tuple[Float64, Float64]:
        """Return how near to a threshold, and to each other, entries are undecided, shape (b,).

        `error` bounds the difference of the entries' keys and float64 keys; None for float64 keys.
        """
        packing = self.precision.packing(group.norms)
        error = np.zeros(len(packing)) if error is None else error
        tolerance = thresholds.tolerance + 1.05 * error + 2.1 * packing + _LEAST
        return tolerance, 2.1 * (group.key_error + error + packing) + _LEAST

    def definition(
        self, group: QueryBlock, thresholds: PairThresholds, *, measured: bool
    ) -> Definition:
        """Return what decides rows of anchors whose `d_ap` are `measured` or come from keys."""
        return Definition(self.vectors, self.space, self.margin, group.pairs, thresholds, measured)

    def masked_rows(self, pairs: Pairs) -> tuple[Rows, Rows]:
        """Return the rows that are not negatives, as positions of the anchors and rows."""
        lines, hidden = self.hidden(pairs)
        return np.concatenate([pairs.lines, lines]), np.concatenate([pairs.positives, hidden])

    def hidden(self, pairs: Pairs) -> tuple[Rows, Rows]:
        """Return the rows that are neither negatives nor positives, as positions and rows."""
        starts, hidden = self.relevance.hidden_lists(pairs.anchors)
        return np.repeat(np.arange(len(pairs.anchors)), np.diff(starts)), hidden

    def counted_block(
        self,
        anchors: QueryBlock,
        thresholds: PairThresholds,
        tolerance: Float64,
        gap: Float64,
        unclear: Float64,
        entries: Float64,
        firsts: Rows,
    ) -> RankedBlock:
        """Return a block whose pairs are counted."""
        block = self.block(anchors, thresholds, tolerance, gap, entries, firsts)
        count_pairs(block, self.margin, unclear)
        return block

    def block(
        self,
        anchors: QueryBlock,
        thresholds: PairThresholds,
        tolerance: Float64,
        gap: Float64,
        entries: Float64,
        firsts: Rows,
    ) -> RankedBlock:
        """Return a block that is not counted."""
        return RankedBlock(
            vectors=self.vectors,
            space=self.space,
            pairs=anchors.pairs,
            thresholds=thresholds,
            tolerance=tolerance,
            firsts=firsts,
            entries=entries,
            bits=self.bits,
            loops=self.loops,
            offset=anchors.offset,
            gap=gap,
            exact=self.exact,
        )
