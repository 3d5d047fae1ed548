"""A histogram of d(a,n) - d(a,p), to choose a margin by.

It uses a uniform sample of all valid triplets, drawn with a fixed seed, so its shares are
estimates.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from miner.census.triplet_sample import TripletSample
from miner.triplets.types import Float64

__all__ = ["gap_facts"]

_HALF = 32
"""Bins on either side of 0."""
_STEPS = 8
"""The margin is this many bins wide, times a power of two."""
_MOST_STEPS = 60


def gap_facts(sample: TripletSample, margin: float) -> dict[str, Any]:
    """Return the values of the gap histogram in the manifest.

    Returns
    -------
    dict
        ``sampled``: the number of triplets; ``error``: the greatest half-width of the 95 % interval
        of a share; ``edges`` of the bins, ascending, including 0 and the margin; ``below`` the
        first edge, ``counts`` of each bin, ``above`` the last edge. Values equal to an edge belong
        to the bin below it if the edge is 0 or less (ties are hard), else to the bin above.
    """
    gaps = np.sort(sample.d_an - sample.d_ap)
    edges = _edges(gaps, margin)
    until = np.where(
        edges <= 0,
        np.searchsorted(gaps, edges, side="right"),
        np.searchsorted(gaps, edges, side="left"),
    )
    return {
        "sampled": len(gaps),
        "error": sample.error,
        "edges": edges.tolist(),
        "below": int(until[0]),
        "counts": np.diff(until).tolist(),
        "above": len(gaps) - int(until[-1]),
    }


def _edges(gaps: Float64, margin: float) -> Float64:
    """Return edges that cover the gaps: the margin, and its multiples scaled by a power of two."""
    widest = float(np.abs(gaps).max(initial=0.0))
    fraction, power = math.frexp(widest / (_HALF / _STEPS) / margin)
    power = power - 1 if fraction == 0.5 else power
    scale = max(-_MOST_STEPS, min(power, _MOST_STEPS)) if widest else 0
    steps = np.arange(-_HALF, _HALF + 1, dtype=np.float64)
    return np.union1d(margin * 2.0**scale / _STEPS * steps, [margin])
