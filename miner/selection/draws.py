"""Seeded uniform draws: distinct integers, and one stream of random numbers for each anchor."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["draw_distinct", "draw_distinct_per_anchor", "stream_states", "stream_uniforms"]

Counts = NDArray[np.int64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_OWNERS, _PLACES = 18, 10
"""Bits of a packed 64-bit number for the anchor's index and for the index of its number."""
_MIX = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1))


def draw_distinct(rng: np.random.Generator, total: int, take: int) -> Counts:
    """Draw `take` distinct integers below `total`, every subset equally likely, in ascending order.

    Numbers are drawn one after the other and repeats are ignored, so memory is proportional to
    `take`. If `take` is more than half of `total`, the numbers to leave out are drawn instead.
    """
    if take == total:
        return np.arange(total, dtype=np.int64)
    if 2 * take > total:
        kept = np.ones(total, dtype=np.bool_)
        kept[draw_distinct(rng, total, total - take)] = False
        return np.flatnonzero(kept)
    drawn = np.sort(rng.integers(0, total, size=take, dtype=np.int64))
    while (drawn[1:] == drawn[:-1]).any():
        drawn = np.unique(drawn)
        fresh = rng.integers(0, total, size=take - len(drawn), dtype=np.int64)
        drawn = np.sort(np.concatenate([drawn, fresh]))
    return drawn


def draw_distinct_per_anchor(
    key: np.random.SeedSequence, anchors: Counts, totals: Counts, takes: Counts
) -> Counts:
    """Draw for each anchor `takes` distinct integers below its total, every subset equally likely.

    Each integer gets 36 random bits, and the integers with the lowest bits are drawn. Two integers
    have equal bits with a probability of 1 in 7 x 10^10; then the lower one is drawn. The bits come
    from SplitMix64 (Steele, Lea & Flood 2014, Fast splittable pseudorandom number generators,
    figure 17). Its initial state depends on the key and the anchor only, so the draw of an anchor
    does not depend on the other anchors.

    Parameters
    ----------
    key : SeedSequence
    anchors, totals, takes : ndarray of shape (anchors,), int64
        At most 2^18 anchors, each total at most 2^10. Memory is proportional to the sum of totals.

    Returns
    -------
    ndarray of shape (takes.sum(),), int64
        The drawn integers of each anchor in ascending order, one anchor after the other; the
        totals of the preceding anchors are added to them.
    """
    begin = stream_states(key, anchors)
    owner = np.repeat(np.arange(len(anchors)), totals)
    place = np.arange(len(owner)) - np.repeat(np.cumsum(totals) - totals, totals)
    bits = _mixed(begin[owner] + (place.astype(np.uint64) + np.uint64(1)) * _GOLDEN)
    # Anchor, bits and integer are packed into one number: sorting it is much faster than argsort.
    assert len(anchors) <= 1 << _OWNERS and (totals <= 1 << _PLACES).all()
    packed = (owner.astype(np.uint64) << np.uint64(64 - _OWNERS)) | place.astype(np.uint64)
    packed |= (bits >> np.uint64(_OWNERS + _PLACES)) << np.uint64(_PLACES)
    packed.sort()
    first = packed[place < np.repeat(takes, totals)] & np.uint64((1 << _PLACES) - 1)
    drawn = np.zeros(len(owner), dtype=np.bool_)
    drawn[first.astype(np.int64) + np.repeat(np.cumsum(totals) - totals, takes)] = True
    return np.flatnonzero(drawn)


def stream_states(key: np.random.SeedSequence, anchors: Counts) -> NDArray[np.uint64]:
    """Return the initial state of each anchor's stream; it depends on the key and the anchor."""
    start, gap = key.generate_state(2, np.uint64)
    return _mixed(_mixed(anchors.astype(np.uint64) * _GOLDEN + start) + gap)


def stream_uniforms(begin: NDArray[np.uint64], number: Counts) -> NDArray[np.float64]:
    """Return random numbers of streams, uniform in [0, 1) in steps of 2^-53.

    Parameters
    ----------
    begin : ndarray of shape (k,), uint64
        Initial states of the streams, from `stream_states`.
    number : ndarray of shape (k,), int64
        Positions in the streams, counted from 0.
    """
    bits = (number + 1).view(np.uint64)
    bits *= _GOLDEN
    bits += begin
    bits = _mixed(bits)
    bits >>= np.uint64(11)
    return np.asarray(bits * 2.0**-53, dtype=np.float64)


def _mixed(bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Apply SplitMix64's finaliser, which is a permutation of all 64-bit numbers."""
    for shift, factor in _MIX:
        mixed = bits >> np.uint64(shift)
        mixed ^= bits
        if factor != 1:
            mixed *= np.uint64(factor)
        bits = mixed
    return bits
