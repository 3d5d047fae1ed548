"""The exact pass over one block of anchors: every valid triplet counted, none enumerated.

For each anchor the keys of all rows are one line of a matrix product (`miner.triplets.distance`).
Each positive sets two thresholds in key space, where hard ends and where semi-hard ends, and the
negatives' keys are counted below them (`miner.census.reference_kernel`). Positives and hidden rows
have an infinite key. Where a key comes so near to a threshold that rounding could decide, the
distances involved are measured by the float64 definition and counted again (`_settle`): so the
counts are those of the definition, on any machine.
"""

from __future__ import annotations

import math

import numpy as np

from miner.census.block import STEEP, BlockCounts, Thresholds, near
from miner.census.key_space import KeySpace, PreparedRows
from miner.census.measure import Vectors
from miner.census.reference_kernel import Below, Kernel, load_kernel
from miner.triplets.distance import UNIT_ROUNDOFF, Metric
from miner.triplets.hardness import count_hard, count_within, semi_hard_border
from miner.triplets.relevance import Relevance
from miner.triplets.types import Float64, Rows

__all__ = ["Census"]


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
        Prepared rows are kept in memory (8 bytes a value) when they take no more than this.
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
    ) -> None:
        self.vectors = vectors
        self.relevance = relevance
        self.metric = metric
        self.margin = margin
        self.kernel_name = kernel
        self.kernel: Kernel = load_kernel(kernel)
        self.space = KeySpace.fit(metric, vectors.rows)
        keep = 8 * vectors.rows.size <= keep_bytes
        self._prepared = PreparedRows(self.space, vectors.rows, keep=keep)

    def prepared(self, start: int, stop: int) -> Float64:
        """Return some rows in key space, shape (stop - start, d)."""
        return self._prepared.part(start, stop)

    def block(
        self, anchors: Rows, buffer: Float64 | None = None, kernel: Kernel | None = None
    ) -> BlockCounts:
        """Count the triplets of a block of anchors that have positives.

        Memory: 8 bytes x anchors x rows for the keys, and about 120 bytes a pair.

        Parameters
        ----------
        anchors : ndarray of shape (b,), int64
        buffer : ndarray of float64, optional
            Room for b x rows keys, used instead of fresh memory: the result's `keys` lie in it.
        kernel : callable, optional
            Counts instead of the census' own; from one that leaves the sums out there is no loss.
        """
        space = self.space
        queries = space.prepare(self.vectors.anchors[anchors])
        offset, slack = space.offset(queries), space.slack(queries)
        keys = self._keys(queries, buffer)
        positives = [self.relevance.positives(int(anchor)) for anchor in anchors]
        starts = np.concatenate([[0], np.cumsum([len(rows) for rows in positives])])
        columns = np.concatenate(positives)
        lines = np.repeat(np.arange(len(anchors)), np.diff(starts))
        nearest = keys[lines, columns]
        for line, anchor in enumerate(anchors):
            keys[line, positives[line]] = np.inf
            keys[line, self.relevance.hidden(int(anchor))] = np.inf
        edges = self._thresholds(anchors, starts, lines, columns, nearest, offset, slack)
        hard, within = self._count(kernel or self.kernel, keys, starts, edges, offset)
        hinge = within.counts * (edges.d_ap + self.margin) - within.sums
        reach = np.maximum.reduceat(edges.within, starts[:-1]) + edges.tolerance
        counts = BlockCounts(
            anchors=anchors,
            starts=starts,
            positives=columns,
            hard=hard.counts.copy(),
            within=within.counts.copy(),
            loss=np.empty(len(anchors)),
            keys=keys,
            offset=offset,
            slack=slack,
            reach=reach,
            edges=edges,
        )
        for unsure in np.flatnonzero(within.near):
            self._settle(counts, edges, hinge, offset, int(unsure))
        np.add.reduceat(hinge, starts[:-1], out=counts.loss)
        # A margin that rounding swallows (d + m == d) leaves the ties hard all the same.
        np.maximum(counts.within, counts.hard, out=counts.within)
        return counts

    def _keys(self, queries: Float64, buffer: Float64 | None) -> Float64:
        shape = (len(queries), len(self.vectors.rows))
        keys = np.empty(shape) if buffer is None else buffer[: math.prod(shape)].reshape(shape)
        negated = -queries
        for part, tile in self._prepared.tiles():
            out = keys[:, part]
            np.matmul(negated, tile.T, out=out)
            out += self._prepared.bias[part]
        return keys

    def _thresholds(
        self,
        anchors: Rows,
        starts: Rows,
        lines: Rows,
        columns: Rows,
        nearest: Float64,
        offset: Float64,
        slack: Float64,
    ) -> Thresholds:
        """Place both borders of every pair, and bound per anchor how unsure they are.

        The error of a distance is that of its key over the distance, so for a root metric the
        error of ``key(d + m)`` is ``slack (d + m) / d``: small distances are measured instead.
        """
        space, shift, error = self.space, offset[lines], slack[lines]
        d_ap = space.distance(nearest, shift)
        growth = np.ones(len(lines))
        if space.root:
            border = semi_hard_border(d_ap, self.margin)
            tiny = (border > STEEP * d_ap) | (d_ap * d_ap < 128 * error)
            exact = np.flatnonzero(tiny)
            d_ap[exact] = self._measure(anchors[lines[exact]], columns[exact])
            growth = np.where(tiny, 1.0, border / np.where(tiny, 1.0, d_ap))
        border = semi_hard_border(d_ap, self.margin)
        scale = border * border if space.root else np.abs(d_ap) + self.margin
        rounding = 16 * UNIT_ROUNDOFF * (scale + np.abs(shift))
        tolerance = np.maximum.reduceat(2.5 * growth * error + rounding, starts[:-1])
        return Thresholds(nearest, space.key(border, shift), d_ap, tolerance)

    def _count(
        self, kernel: Kernel, keys: Float64, starts: Rows, edges: Thresholds, offset: Float64
    ) -> tuple[Below, Below]:
        """Run the kernel over both borders of all pairs: hard, then within."""
        both = np.column_stack([edges.hard, edges.within]).ravel()
        space = self.space
        below = kernel(keys, both, 2 * starts, edges.tolerance, offset, space.slope, space.root)
        hard, within = (
            Below(below.counts[border::2], below.sums[border::2], below.near) for border in (0, 1)
        )
        return hard, within

    def _settle(
        self, counts: BlockCounts, edges: Thresholds, hinge: Float64, offset: Float64, line: int
    ) -> None:
        """Decide by the definition what rounding could have decided, for one anchor.

        Negatives whose key is within the tolerance of some threshold are measured, and so are the
        positives of those thresholds. All other comparisons are sure. A threshold's count is that
        of the kernel, less the measured negatives that were counted by their keys, plus those that
        count by their distances. The hinge of such a pair is summed anew, from distances less one
        of them, so that it does not cancel.
        """
        pairs = slice(counts.starts[line], counts.starts[line + 1])
        anchor = counts.anchors[line : line + 1]
        keys, tolerance = counts.keys[line], edges.tolerance[line]
        borders = np.sort(np.concatenate([edges.hard[pairs], edges.within[pairs]]))
        columns = np.flatnonzero(keys <= counts.reach[line])
        close = near(keys[columns], borders, tolerance)
        sure, columns = np.sort(keys[columns[~close]]), columns[close]
        nearby = np.sort(keys[columns])
        d_an = np.sort(self._measure(anchor, columns))
        base = d_an[:1].sum()
        sure_sums = np.append(
            0.0, np.cumsum(self.space.distance(sure, offset[line : line + 1]) - base)
        )
        near_sums = np.append(0.0, np.cumsum(d_an - base))
        for border, totals, count in (
            (edges.hard, counts.hard, count_hard),
            (edges.within, counts.within, self._count_within),
        ):
            mine = border[pairs]
            low = nearby.searchsorted(mine - tolerance, side="left")
            unsure = np.flatnonzero(nearby.searchsorted(mine + tolerance, side="right") > low)
            positives = counts.positives[pairs][unsure]
            d_ap = self._measure(anchor, positives)
            by_key = nearby.searchsorted(mine[unsure], side="left")
            measured = count(d_ap, d_an)
            at = pairs.start + unsure
            totals[at] += measured - by_key
            if totals is counts.within:
                below = sure.searchsorted(mine[unsure])
                total = sure_sums[below] + near_sums[measured]
                hinge[at] = (below + measured) * (d_ap - base + self.margin) - total

    def _count_within(self, d_ap: Float64, sorted_d_an: Float64) -> Rows:
        return count_within(d_ap, sorted_d_an, self.margin)

    def _measure(self, anchors: Rows, columns: Rows) -> Float64:
        """Measure rows from one anchor or from one each, by the definition."""
        return self.vectors.measure(self.metric, anchors, columns)
