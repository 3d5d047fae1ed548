"""The thresholds of a block of anchors: where hard and where semi-hard end, pair by pair."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from miner.census.block import STEEP
from miner.census.kernels import load_loops
from miner.census.key_space import KeySpace
from miner.census.measure import Vectors
from miner.triplets.distance import UNIT_ROUNDOFF
from miner.triplets.relevance import Relevance
from miner.triplets.types import Float32, Float64, Rows

__all__ = ["PairBorders", "Pairs"]

_LIKE, _MANY = 4, 32
"""From so many anchors that share so many positives on, their keys are one product."""
_CHUNK = 4096


@dataclass(frozen=True, slots=True)
class Pairs:
    """The pairs of a block: of anchor i they are ``starts[i]:starts[i + 1]``.

    Attributes
    ----------
    starts : ndarray of shape (b + 1,), int64
    columns : ndarray of shape (pairs,), int64
        The positives.
    hard, within, d_ap : ndarray of shape (pairs,), float64
        The keys where hard and where semi-hard end; the distance.
    tolerance : ndarray of shape (b,), float64
        How far a float64 key may be from a threshold and still be unsure.
    """

    starts: Rows
    columns: Rows
    hard: Float64
    within: Float64
    d_ap: Float64
    tolerance: Float64

    @property
    def most(self) -> int:
        """Positives that one of the anchors has, at most."""
        return int(np.diff(self.starts).max())

    @property
    def borders(self) -> tuple[Any, ...]:
        """What the compiled loops call `pairs`."""
        return self.starts, self.hard, self.within, self.d_ap


class PairBorders:
    """Places the borders of all pairs of some anchors.

    Parameters
    ----------
    vectors : Vectors
    relevance : Relevance
    space : KeySpace
    margin : float
    """

    def __init__(
        self, vectors: Vectors, relevance: Relevance, space: KeySpace, margin: float
    ) -> None:
        self._loops: Any = load_loops("float64_keys")
        self._vectors, self._relevance = vectors, relevance
        self._space, self._margin = space, margin
        self.bias, self.scale = _row_facts(space, vectors.rows)

    def space(self, queries: Float64, offset: Float64) -> tuple[Any, ...]:
        """Return what the compiled loops call `space`."""
        space = self._space
        rows = (self._vectors.rows, space.center, self.scale, self.bias)
        return (queries, *rows, offset, float(space.slope), float(self._margin), space.root)

    def of(
        self,
        anchors: Rows,
        data: tuple[Any, ...],
        slack: Float64,
        products: Float64 | None = None,
    ) -> Pairs:
        """Place both borders of every pair, in float64.

        Parameters
        ----------
        anchors : ndarray of shape (b,), int64
        data : tuple
            Their `space`.
        slack : ndarray of shape (b,), float64
        products : ndarray of shape (b, rows), float64, optional
            Of the anchors with all rows, where they were made already.
        """
        starts, columns, keys = self._pair_keys(anchors, data, products)
        pairs = Pairs(
            starts, columns, keys, np.empty(len(keys)), np.empty(len(keys)), np.empty(len(anchors))
        )
        given = np.full(len(keys), np.nan)
        place = (pairs.borders, data, slack, STEEP, UNIT_ROUNDOFF, given, pairs.tolerance)
        if self._loops.place_borders(*place):
            missing = np.flatnonzero(np.isinf(pairs.d_ap))
            lines = np.searchsorted(starts, missing, side="right") - 1
            given[missing] = self._vectors.measure(
                self._space.metric, anchors[lines], columns[missing]
            )
            self._loops.place_borders(*place)
        return pairs

    def _pair_keys(
        self, anchors: Rows, data: tuple[Any, ...], products: Float64 | None
    ) -> tuple[Rows, Rows, Float64]:
        """Return starts, columns and float64 keys of the pairs, in the order of the anchors."""
        lists = self._relevance.positive_lists(anchors)
        starts = np.concatenate([[0], np.cumsum(lists.counts)])
        columns = np.empty(starts[-1], dtype=np.int64)
        keys = np.empty(starts[-1])
        runs = np.flatnonzero(np.diff(lists.starts, prepend=-1))
        for begin, end in zip(runs.tolist(), [*runs[1:].tolist(), len(anchors)], strict=True):
            members = lists.rows[lists.starts[begin] : lists.stops[begin]]
            there = members[None, :] != lists.skipped[begin:end, None]
            pairs = slice(starts[begin], starts[end])
            columns[pairs] = np.broadcast_to(members, there.shape)[there]
            if products is not None:
                continue
            if end - begin >= _LIKE and len(members) >= _MANY:
                prepared = self._space.prepare(self._vectors.rows[members])
                block = self.bias[members] - data[0][begin:end] @ prepared.T
                keys[pairs] = block[there]
            else:
                mine = (data[0][begin:end], *data[1:])
                self._loops.key_pairs(
                    mine, starts[begin : end + 1] - starts[begin], columns[pairs], keys[pairs]
                )
        if products is not None:
            self._loops.gather_keys(products, self.bias, starts, columns, keys)
        return starts, columns, keys


def _row_facts(space: KeySpace, rows: Float32) -> tuple[Float64, Float64]:
    """Return what each row adds to its keys, and what its stored vector is scaled by."""
    bias, scale = np.empty(len(rows)), np.ones(len(rows))
    for start in range(0, len(rows), _CHUNK):
        part = slice(start, start + _CHUNK)
        prepared = space.prepare(rows[part])
        bias[part] = space.bias(prepared)
        if space.metric == "cosine":
            wide = rows[part].astype(np.float64)
            norms = np.sqrt((wide * wide).sum(-1))
            scale[part] = 1.0 / np.where(norms == 0, 1.0, norms)
    return bias, scale
