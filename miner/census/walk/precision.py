"""Error bounds of float32 and float64 keys, and the choice between the two.

**Narrow keys** come from a float32 product, which costs half as much as a float64 product. Their
error has a rigorous bound: rows and queries are rounded once (unit roundoff u = 2^-24), and an
inner product of d numbers is off by at most ``u (d + 2) |u||w|`` in any order of summation (Higham,
Accuracy and Stability of Numerical Algorithms, 2nd ed., section 3.1, to first order). The bias of
the row and the difference are rounded once each. The error of **wide keys** (float64) is described
in `miner.census.walk.key_space`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from miner.census.measure import Vectors
from miner.census.spread import evenly_spaced
from miner.census.walk.key_space import KeySpace
from miner.census.walk.pair_thresholds import Pairs, PairThresholds, thresholds_from_distances
from miner.triplets.distance import UNIT_ROUNDOFF_32
from miner.triplets.types import Float64

__all__ = ["MAX_NARROW_POSITIVES", "MAX_UNDECIDED", "Precision", "QueryBlock"]

MAX_NARROW_POSITIVES = 256
"""Anchors with more positives than this get float64 keys."""
MAX_UNDECIDED, _SAMPLE = 0.01, 2048
"""Anchors get float64 keys if float32 leaves a greater share of the keys undecided, as estimated
from `_SAMPLE` rows."""
_RANGE = (1e-15, 1e15)
"""Squared norms that float32 can hold without overflow or underflow."""
_LARGEST = 1e30
"""The greatest threshold, with its tolerance, that float32 keys are compared with."""
_FINE = 1024.0
"""Keys can be float32 only if the margin, in key units, is at least this multiple of their error:
the loss is summed from the keys."""
_STEADY = 65536.0
"""The same for the rounding of an anchor's offset, which is added to all its keys in float32 and is
off in one direction."""
_PLAIN = 1e7
"""The loss is summed from float64 keys only if the margin, in key units, is at least this multiple
of their error."""
_CLEAR = 1e4
"""A distance is computed from its key only if its square is at least this multiple of the error of
the key; otherwise it is measured."""


@dataclass(slots=True)
class QueryBlock:
    """A group of anchors, prepared for the matrix product.

    Attributes
    ----------
    pairs : Pairs
    queries : ndarray of shape (b, d), float64
        The prepared vectors of the anchors.
    offset, key_error : ndarray of shape (b,), float64
        See `KeySpace.offset` and `KeySpace.key_error`.
    norms : ndarray of shape (b,), float64
        The norms of the queries.
    non_easy, undecided : float
        Estimates: the share of rows that are hard or semi-hard for some positive of an anchor, and
        the share of keys that are too near to a threshold to decide, so that distances are
        measured.
    """

    pairs: Pairs
    queries: Float64
    offset: Float64
    key_error: Float64
    norms: Float64
    non_easy: float = 1.0
    undecided: float = 1.0

    def part(self, lines: slice) -> QueryBlock:
        """Return a range of the anchors."""
        own = (self.queries[lines], self.offset[lines], self.key_error[lines], self.norms[lines])
        return QueryBlock(self.pairs.part(lines), *own, self.non_easy, self.undecided)


class Precision:
    """The error bounds of the keys of one census.

    Parameters
    ----------
    vectors : Vectors
    space : KeySpace
    margin : float
    bits : int
        The number of low bits of an entry that hold the row number.
    """

    def __init__(self, vectors: Vectors, space: KeySpace, margin: float, bits: int) -> None:
        self._vectors, self._space, self._margin, self._bits = vectors, space, margin, bits
        self._usable = _RANGE[0] < space.max_norm**2 < _RANGE[1]
        self._sampled = evenly_spaced(len(vectors.rows), _SAMPLE)
        self._sample = space.prepare(vectors.rows[self._sampled])
        self._bias = space.bias(self._sample)

    def narrow_thresholds(self, anchors: QueryBlock) -> PairThresholds | None:
        """Return the thresholds of anchors whose keys can be float32, else None.

        Also sets `anchors.non_easy` and `anchors.undecided`, estimated from the first anchor.
        """
        pairs, sizes = anchors.pairs, np.diff(anchors.pairs.starts)
        if not self._usable or sizes.max() > MAX_NARROW_POSITIVES:
            return None
        d_ap = pairs.measured(self._vectors, self._space, slice(None))
        facts = (pairs, d_ap, self._space, self._margin, anchors.offset, anchors.key_error)
        thresholds = thresholds_from_distances(*facts)
        return thresholds if self.suits(anchors, thresholds, self.narrow(anchors.norms)) else None

    def suits(
        self, anchors: QueryBlock, thresholds: PairThresholds, error: Float64, *, loss: bool = True
    ) -> bool:
        """Whether keys with an error decide nearly all rows, and give a loss if it is wanted.

        Also sets `anchors.non_easy` and `anchors.undecided`, estimated from the first anchor.

        Parameters
        ----------
        anchors, thresholds
        error : ndarray of shape (b,), float64
            A bound on the difference of these keys, which are float32, and float64 keys.
        loss : bool
            Whether the loss is summed from the keys.
        """
        if not self._usable or not (anchors.norms**2 < _RANGE[1]).all():
            return False
        edges = np.abs(thresholds.non_easy).max() + thresholds.tolerance.max()
        starts = anchors.pairs.starts
        gap = np.add.reduceat(thresholds.non_easy - thresholds.hard, starts[:-1])
        least = _FINE * error + _STEADY * UNIT_ROUNDOFF_32 * np.abs(anchors.offset)
        if edges > _LARGEST or (loss and (gap < least * np.diff(starts)).any()):
            return False
        self._estimate_shares(anchors, thresholds.d_ap[: starts[1]], error[0])
        return anchors.undecided <= MAX_UNDECIDED

    def estimate_shares(self, anchors: QueryBlock) -> None:
        """Set `non_easy` and `undecided` of `anchors` for float64 keys, by the first anchor."""
        first = slice(0, anchors.pairs.starts[1])
        d_ap = anchors.pairs.measured(self._vectors, self._space, first)
        self._estimate_shares(anchors, d_ap, 0.0)

    def _estimate_shares(self, anchors: QueryBlock, d_ap: Float64, error: float) -> None:
        """Set both shares for keys whose error exceeds the float64 error by `error`."""
        one, space = anchors.part(slice(0, 1)), self._space
        thresholds = thresholds_from_distances(
            one.pairs, d_ap, space, self._margin, one.offset, one.key_error
        )
        edges = np.sort(np.concatenate([thresholds.hard, thresholds.non_easy]))
        keys = self._bias - self._sample @ one.queries[0]
        wide = thresholds.tolerance[0] + 1.05 * error
        undecided = np.searchsorted(edges, keys + wide) > np.searchsorted(edges, keys - wide)
        undecided |= keys < self.unclear(one.offset, one.key_error + error)
        undecided &= ~np.isin(self._sampled, one.pairs.positives)  # positives lie on a threshold
        anchors.undecided = float(undecided.mean())
        anchors.non_easy = float((keys <= edges[-1]).mean())

    def narrow(self, norms: Float64) -> Float64:
        """Bound the difference of float32 and float64 keys, given the norms of the queries."""
        max_norm = self._space.max_norm
        products = (self._vectors.dim + 5) * norms * max_norm
        own = 2 * max_norm * max_norm if self._space.euclidean else 0.0
        bound: Float64 = 1.01 * UNIT_ROUNDOFF_32 * (products + own)
        return bound

    def packing(self, norms: Float64) -> Float64:
        """Return a bound on the change of a key when the row number replaces its lowest bits."""
        max_norm = self._space.max_norm
        most = norms * max_norm + (max_norm * max_norm if self._space.euclidean else 0.0)
        bound: Float64 = 2.0 ** (self._bits - 52) * most
        return bound

    def unclear(self, offset: Float64, error: Float64) -> Float64:
        """Return, per anchor, the key below which distances are too inexact to sum the loss."""
        if not self._space.root:  # distances are as exact as keys
            return np.full(len(offset), -np.inf)
        return (_CLEAR * error - offset) / self._space.slope

    def unclear_of_wide(
        self, anchors: QueryBlock, thresholds: PairThresholds, error: Float64
    ) -> Float64:
        """Return the same limit for float64 keys; infinite if the margin is lost in their error."""
        unclear = self.unclear(anchors.offset, error)
        least = np.minimum.reduceat(
            thresholds.non_easy - thresholds.hard, anchors.pairs.starts[:-1]
        )
        return np.where(least < _PLAIN * error, np.inf, unclear)
