"""The share of each class as a function of the margin: exact where the run counted gaps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from miner.census.triplet_sample import TripletSample
from miner.triplets.types import Float64

__all__ = ["MarginShares", "shares_of_gaps", "shares_of_sample"]

_STEPS = 48
_SETTLED = 1e-3
_REACH = 4.0
"""Margins that a curve from a sample reaches to, as multiples of the job's."""


@dataclass(frozen=True, slots=True)
class MarginShares:
    """Shares at some margins.

    Attributes
    ----------
    margins, hard, semi_hard, easy : ndarray of shape (n,), float64
        Margins ascend from 0; the three shares sum to 1.
    anchors, of : int
        Over all triplets of so many anchors, of all that have any; 0 for a sample of triplets.
    """

    margins: Float64
    hard: Float64
    semi_hard: Float64
    easy: Float64
    anchors: int = 0
    of: int = 0

    @property
    def exact(self) -> bool:
        """Whether these are counted over all triplets."""
        return bool(self.anchors) and self.anchors == self.of

    def reach(self, margin: float) -> float:
        """Return up to which margin there is something to see: until hardly one is easy."""
        settled = self.margins[self.easy < _SETTLED]
        reach = min(float(settled[0]) if len(settled) else math.inf, float(self.margins[-1]))
        return max(reach, min(2 * margin, float(self.margins[-1])))

    def rows(self, margin: float) -> list[dict[str, float]]:
        """Return a few margins around the job's as a table."""
        wanted = margin * np.array([0.25, 0.5, 1, 1.5, 2, 3, 4])
        places = sorted({int(np.abs(self.margins - one).argmin()) for one in wanted} - {0})
        columns = {"margin": self.margins, "hard": self.hard}
        columns |= {"semi_hard": self.semi_hard, "easy": self.easy}
        return [{name: float(one[place]) for name, one in columns.items()} for place in places]


def shares_of_gaps(gaps: Mapping[str, Any]) -> MarginShares | None:
    """Return the shares that a run's histogram of d(a,n) - d(a,p) tells; None of no triplet."""
    below = np.cumsum([gaps["below"], *gaps["counts"]], dtype=np.float64)
    total = below[-1] + gaps["above"]
    edges = np.asarray(gaps["edges"], dtype=np.float64)
    zero = int(np.searchsorted(edges, 0.0))
    if not total or not len(edges) or zero == len(edges) or edges[zero] != 0.0:
        return None
    within = below[zero:] / total
    hard = np.full(len(within), within[0])
    return MarginShares(
        edges[zero:], hard, within - hard, 1 - within, int(gaps["anchors"]), int(gaps["of"])
    )


def shares_of_sample(sample: TripletSample, margin: float) -> MarginShares | None:
    """Return the shares in a sample of triplets; None of an empty one."""
    if not len(sample):
        return None
    margins = np.linspace(0, _REACH * margin, _STEPS + 1)
    parts = [sample.shares(one) for one in margins.tolist()]
    hard, semi_hard, easy = (
        np.array([part[name] for part in parts]) for name in ("hard", "semi_hard", "easy")
    )
    return MarginShares(margins, hard, semi_hard, easy)
