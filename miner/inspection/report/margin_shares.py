"""The share of each class as a function of the margin, estimated from a sample of triplets."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from miner.census.gap_histogram import gap_facts
from miner.census.triplet_sample import TripletSample
from miner.triplets.types import Float64

__all__ = ["MarginShares", "shares_of_gaps", "shares_of_sample"]

_SETTLED = 1e-3


@dataclass(frozen=True, slots=True)
class MarginShares:
    """The shares of the classes at some margins.

    Attributes
    ----------
    margins, hard, semi_hard, easy : ndarray of shape (n,), float64
        Margins ascend from 0; the three shares sum to 1.
    triplets : int
        The size of the sample.
    error : float
        The largest half-width of the 95 % interval of a share.
    """

    margins: Float64
    hard: Float64
    semi_hard: Float64
    easy: Float64
    triplets: int
    error: float

    def reach(self, margin: float) -> float:
        """Return the largest margin to draw: where nearly no triplet is easy any more."""
        settled = self.margins[self.easy < _SETTLED]
        reach = min(float(settled[0]) if len(settled) else math.inf, float(self.margins[-1]))
        return max(reach, min(2 * margin, float(self.margins[-1])))

    def rows(self, margin: float) -> list[dict[str, float]]:
        """Return the shares at a few multiples of the job's margin, as rows of a table."""
        wanted = margin * np.array([0.25, 0.5, 1, 1.5, 2, 3, 4])
        places = sorted({int(np.abs(self.margins - one).argmin()) for one in wanted} - {0})
        columns = {"margin": self.margins, "hard": self.hard}
        columns |= {"semi_hard": self.semi_hard, "easy": self.easy}
        return [{name: float(one[place]) for name, one in columns.items()} for place in places]


def shares_of_gaps(
    gaps: Mapping[str, Any], census: Mapping[str, Any], margin: float
) -> MarginShares | None:
    """Return the shares from a histogram of d(a,n) - d(a,p), or None if it is empty.

    The sampled histogram gives the distribution within each class, and the census gives the size of
    each class. So the shares at the run's own margin are exact.
    """
    edges = np.asarray(gaps.get("edges", []), dtype=np.float64)
    zero, own = np.searchsorted(edges, [0.0, margin])
    if not gaps.get("sampled") or own == len(edges) or edges[own] != margin:
        return None
    below = np.cumsum([gaps["below"], *gaps["counts"]], dtype=np.float64)
    hard, semi_hard = (census[name] / census["valid"] for name in ("hard", "semi_hard"))
    drawn = [below[zero], below[own], float(gaps["sampled"])]
    within = np.interp(below[zero:], drawn, [hard, hard + semi_hard, 1.0])
    within[[0, own - zero]] = hard, hard + semi_hard
    shares = np.full(len(within), hard), within - hard, 1 - within
    return MarginShares(edges[zero:], *shares, int(gaps["sampled"]), float(gaps["error"]))


def shares_of_sample(sample: TripletSample, margin: float) -> MarginShares | None:
    """Return the shares in a sample of triplets, or None if it is empty."""
    if not len(sample):
        return None
    census = {**sample.shares(margin), "valid": 1}
    return shares_of_gaps(gap_facts(sample, margin), census, margin)
