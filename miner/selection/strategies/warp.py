"""``warp``: the i-th nearest negative has the weight ``1 / i``.

WARP (Weston, Bengio and Usunier 2011) gives a positive at rank r the loss
``L(r) = 1 + 1/2 + ... + 1/r``, one term for each negative that is ranked above it, and estimates r
by sampling. Here all ranks are exact, so each negative is drawn with a weight equal to its term.
The terms of a pair's negatives add up to L of the positive's exact rank (the ordered weighted
average of Usunier, Buffoni and Gallinari 2009).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from miner.selection.strategies.base import EligibleRanks
from miner.selection.strategies.weighted import Weighted
from miner.triplets.types import Float64

__all__ = ["Warp"]


@dataclass(frozen=True)
class Warp(Weighted):
    """Draws `k` negatives of each pair and class; nearer ones are more likely."""

    def log_weights(self, eligible: EligibleRanks, pair: int, begin: int, end: int) -> Float64:
        """Return ``-log i``, with i = 1 for the anchor's nearest negative."""
        weights: Float64 = -np.log(np.arange(begin + 1.0, end + 1.0))
        return weights
