"""How far negatives lie beyond positives: a histogram of d(a,n) - d(a,p), to choose a margin by.

It is of a uniform sample of all valid triplets, drawn by a fixed seed, so its shares are estimates.
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
"""Bins that a margin is wide, times a power of two."""
_MOST_STEPS = 60


def gap_facts(sample: TripletSample, margin: float) -> dict[str, Any]:
    """Return what the manifest says of the gaps.

    Returns
    -------
    dict
        ``sampled`` triplets; ``error``, half the width of the 95 % interval of a share, at most;
        ``edges`` of the bins, ascending, with 0 and the margin among them; ``below`` the first,
        ``counts`` in each bin, ``above`` the last. Below an edge that is not above 0 are ties, as
        they are hard.
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
    """Lay edges as far as gaps reach: the margin, and multiples of it and of a power of two."""
    widest = float(np.abs(gaps).max(initial=0.0))
    fraction, power = math.frexp(widest / (_HALF / _STEPS) / margin)
    power = power - 1 if fraction == 0.5 else power
    scale = max(-_MOST_STEPS, min(power, _MOST_STEPS)) if widest else 0
    steps = np.arange(-_HALF, _HALF + 1, dtype=np.float64)
    return np.union1d(margin * 2.0**scale / _STEPS * steps, [margin])
