"""``distance-weighted``: negatives spread uniformly over distances (Wu et al. 2017, section 4).

On the unit sphere in n dimensions, distances have the density
``q(d) ~ d^(n-2) (1 - d^2/4)^((n-3)/2)``; the weight is ``1 / q(max(d, 0.5))``, and zero beyond 1.4
(the paper's code): ``log w = (2 - n) log x - (n - 3)/2 log(1 - x^2/4)``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from miner.errors import UsageError
from miner.selection.strategies.base import EligibleRanks, Selected
from miner.selection.strategies.weighted import Weighted
from miner.triplets.distance import Metric
from miner.triplets.hardness import MinedClass, OutputFolder
from miner.triplets.types import Float64

__all__ = ["DistanceWeighted"]

_LEAST = 0.5
_MOST = 1.4


@dataclass(frozen=True)
class DistanceWeighted(Weighted):
    """Draws `k` negatives of each pair and class, weighted by the inverse density of distances."""

    by_pair = False  # the number of negatives with a weight depends on their distances

    def check(self, metric: Metric, normalized: bool, classes: tuple[MinedClass, ...]) -> None:
        """Raise `UsageError` unless distances are Euclidean and vectors have unit length."""
        if metric != "euclidean" or not normalized:
            raise UsageError(
                "strategy 'distance-weighted' is defined for euclidean distances of unit vectors; "
                "set mining.metric = 'euclidean' and mining.normalize = true, or use another"
            )

    def take(self, eligible: EligibleRanks, name: OutputFolder) -> Selected:
        """Select k of the negatives of each pair whose weight is above zero."""
        most = eligible.anchor.count_nearer(float(np.nextafter(_MOST, 2.0)))
        nearer = EligibleRanks(
            eligible.anchor,
            eligible.low,
            np.minimum(eligible.high, most),
            eligible.suspects,
            eligible.classes,
        )
        return super().take(nearer, name)

    def log_weights(self, eligible: EligibleRanks, pair: int, begin: int, end: int) -> Float64:
        """Return the formula in the module's docstring."""
        n = eligible.anchor.dim
        x = np.maximum(eligible.anchor.d_an[begin:end], _LEAST)
        weights: Float64 = (2.0 - n) * np.log(x) - (n - 3.0) / 2.0 * np.log1p(-x * x / 4.0)
        return weights
