"""How many triplets each anchor writes when a class is larger than its cap.

The cap is shared out in proportion to what the anchors have, by systematic sampling (Madow 1949):
anchor i gets ``floor((C[i] M + r) / T) - floor((C[i-1] M + r) / T)``, with C the running sum of
the anchors' slots, T their total, M the cap and r one random integer below T. Every slot has the
inclusion probability M / T exactly, the shares sum to M exactly, and no anchor is more than one
triplet away from its proportion. The arithmetic is that of Python's integers: totals may pass 2^63.
"""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

__all__ = ["allocate"]


def allocate(slots: NDArray[np.int64], cap: int, seed: np.random.SeedSequence) -> NDArray[np.int64]:
    """Share out a cap over anchors.

    Parameters
    ----------
    slots : ndarray of shape (anchors,), int64
        What each anchor has to write.
    cap : int
        At most so many in total.
    seed : SeedSequence
        Seeds the one draw.

    Returns
    -------
    ndarray of shape (anchors,), int64
        ``slots`` itself when its total is within the cap.
    """
    counts = slots.tolist()
    total = sum(counts)
    if total <= cap:
        return slots
    start = _below(total, np.random.default_rng(seed))
    ends = [(running * cap + start) // total for running in itertools.accumulate(counts)]
    shares: NDArray[np.int64] = np.diff(np.array([0, *ends], dtype=np.int64)).astype(np.int64)
    return shares


def _below(total: int, rng: np.random.Generator) -> int:
    """Draw a uniform integer below `total`, which may be larger than any NumPy integer."""
    words = [int(word) for word in rng.integers(0, 2**32, size=total.bit_length() // 32 + 3)]
    wide = 0
    for word in words:
        wide = (wide << 32) | word
    return wide * total >> (32 * len(words))
