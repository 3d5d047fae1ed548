"""How far keys may be from the true ones, and where narrow ones do.

**Narrow keys** come of a float32 product, at half the cost of a float64 one, with a rigorous bound
on their error: rows and queries are rounded once (unit roundoff u = 2^-24), and an inner product of
d numbers is off by ``u (d + 2) |u||w|``, in whatever order it is summed (Higham, Accuracy and
Stability of Numerical Algorithms, 2nd ed., section 3.1, to first order); what the row adds and the
difference are rounded once each. The error of **wide keys** is in `miner.census.walk.key_space`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from miner.census.measure import Vectors
from miner.census.spread import evenly_spaced
from miner.census.walk.borders import Borders, Pairs, borders_of_distances
from miner.census.walk.key_space import KeySpace
from miner.triplets.distance import UNIT_ROUNDOFF_32
from miner.triplets.types import Float64

__all__ = ["FEW", "OPEN", "Anchors", "Precision"]

FEW = 256
"""An anchor with more positives has wide keys."""
OPEN, _SAMPLE = 0.01, 2048
"""Keys are wide where narrow ones leave a larger share of them open than this."""
_RANGE = (1e-15, 1e15)
"""Squared lengths that float32 can hold without overflow or underflow."""
_FINE = 1024.0
"""Keys are narrow where the margin is so many times their error: the loss is summed from them."""
_PLAIN = 1e7
"""The loss is summed from wide keys where the margin is so many times their error."""
_CLEAR = 1e4
"""A squared distance is clear where it is so many times the error of its key."""


@dataclass(slots=True)
class Anchors:
    """Some anchors, made ready for the product.

    Attributes
    ----------
    pairs : Pairs
    queries : ndarray of shape (b, d), float64
        Their vectors in key space.
    offset, slack : ndarray of shape (b,), float64
        What `KeySpace` says of those.
    lengths : ndarray of shape (b,), float64
        Of the queries.
    reached, open : float
        Which share of the rows is within reach of an anchor, and which share of their keys is so
        near to a threshold that distances are measured, about.
    """

    pairs: Pairs
    queries: Float64
    offset: Float64
    slack: Float64
    lengths: Float64
    reached: float = 1.0
    open: float = 1.0

    def part(self, lines: slice) -> Anchors:
        """Return a range of them."""
        own = (self.queries[lines], self.offset[lines], self.slack[lines], self.lengths[lines])
        return Anchors(self.pairs.part(lines), *own, self.reached, self.open)


class Precision:
    """Bounds the errors of one census' keys.

    Parameters
    ----------
    vectors : Vectors
    space : KeySpace
    margin : float
    bits : int
        Of the rows' numbers, in entries.
    """

    def __init__(self, vectors: Vectors, space: KeySpace, margin: float, bits: int) -> None:
        self._vectors, self._space, self._margin, self._bits = vectors, space, margin, bits
        self._usable = _RANGE[0] < space.reach**2 < _RANGE[1]
        self._sampled = evenly_spaced(len(vectors.rows), _SAMPLE)
        self._sample = space.prepare(vectors.rows[self._sampled])
        self._bias = space.bias(self._sample)

    def narrow_borders(self, anchors: Anchors) -> Borders | None:
        """Return the borders of anchors whose keys can be narrow, else None.

        What share of the rows they reach and leave open is noted in `anchors`, judged by the first.
        """
        pairs, sizes = anchors.pairs, np.diff(anchors.pairs.starts)
        fits = self._usable and (anchors.lengths**2 < _RANGE[1]).all()
        if not fits or sizes.max() > FEW:
            return None
        d_ap = pairs.measured(self._vectors, self._space, slice(None))
        facts = (pairs, d_ap, self._space, self._margin, anchors.offset, anchors.slack)
        borders, error = borders_of_distances(*facts), self.narrow(anchors.lengths)
        gap = np.add.reduceat(borders.within - borders.hard, pairs.starts[:-1])
        if (gap < _FINE * error * sizes).any():
            return None
        self._look(anchors, d_ap[: pairs.starts[1]], error[0])
        return borders if anchors.open <= OPEN else None

    def look(self, anchors: Anchors) -> None:
        """Note in `anchors` what wide keys reach and leave open, judged by the first of them."""
        first = slice(0, anchors.pairs.starts[1])
        d_ap = anchors.pairs.measured(self._vectors, self._space, first)
        self._look(anchors, d_ap, 0.0)

    def _look(self, anchors: Anchors, d_ap: Float64, error: float) -> None:
        """Note what keys reach and leave open whose error is beyond that of wide ones by this."""
        one, space = anchors.part(slice(0, 1)), self._space
        borders = borders_of_distances(one.pairs, d_ap, space, self._margin, one.offset, one.slack)
        edges = np.sort(np.concatenate([borders.hard, borders.within]))
        keys = self._bias - self._sample @ one.queries[0]
        wide = borders.tolerance[0] + 1.05 * error
        open_ = np.searchsorted(edges, keys + wide) > np.searchsorted(edges, keys - wide)
        open_ |= keys < self.unclear(one.offset, one.slack + error)
        open_ &= ~np.isin(self._sampled, one.pairs.positives)  # which lie on a threshold
        anchors.open = float(open_.mean())
        anchors.reached = float((keys <= edges[-1]).mean())

    def narrow(self, lengths: Float64) -> Float64:
        """Bound how far a narrow key can be from the wide one, for queries of such lengths."""
        reach = self._space.reach
        products = (self._vectors.dim + 5) * lengths * reach
        own = 2 * reach * reach if self._space.euclidean else 0.0
        bound: Float64 = 1.01 * UNIT_ROUNDOFF_32 * (products + own)
        return bound

    def packing(self, lengths: Float64) -> Float64:
        """Bound what the row in an entry's lowest bits adds to its key."""
        reach = self._space.reach
        most = lengths * reach + (reach * reach if self._space.euclidean else 0.0)
        bound: Float64 = 2.0 ** (self._bits - 52) * most
        return bound

    def unclear(self, offset: Float64, error: Float64) -> Float64:
        """Return up to which key the distances of keys are not clear enough to sum the loss."""
        if not self._space.root:  # they are as clear as the keys
            return np.full(len(offset), -np.inf)
        return (_CLEAR * error - offset) / self._space.slope

    def unclear_of_wide(self, anchors: Anchors, borders: Borders, error: Float64) -> Float64:
        """Return the same for wide keys; infinite where the margin is lost in their error."""
        unclear = self.unclear(anchors.offset, error)
        least = np.minimum.reduceat(borders.within - borders.hard, anchors.pairs.starts[:-1])
        return np.where(least < _PLAIN * error, np.inf, unclear)
