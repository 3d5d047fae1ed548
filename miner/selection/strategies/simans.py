"""``simans``: negatives whose score is near the positive's (Zhou et al. 2022).

``w = exp(-a (s(a,n) - s(a,p) - b)^2)``, with the paper's defaults a = 0.5 and b = 0 and the paper's
sign of b. Scores are computed by `miner.triplets.distance.score`. Cosine scores differ by little,
so a larger `a` is needed there to prefer negatives near the positive clearly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from miner.errors import UsageError
from miner.selection.strategies.base import EligibleRanks
from miner.selection.strategies.weighted import Weighted
from miner.triplets.types import Float64

__all__ = ["SimAns"]


@dataclass(frozen=True)
class SimAns(Weighted):
    """Draws `k` negatives of each pair and class; scores near the positive's are more likely."""

    a: float = 0.5
    b: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (0 <= self.a < 1e100 and math.isfinite(self.b)):
            raise UsageError(
                f"select.options.a = {self.a} must be 0 or more, and b = {self.b} a number"
            )

    def log_weights(self, eligible: EligibleRanks, pair: int, begin: int, end: int) -> Float64:
        """Return the formula in the module's docstring."""
        anchor = eligible.anchor
        away = anchor.score(anchor.d_an[begin:end]) - anchor.score(anchor.d_ap[pair : pair + 1])
        weights: Float64 = -self.a * (away - self.b) ** 2
        return weights
