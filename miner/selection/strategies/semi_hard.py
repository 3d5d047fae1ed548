"""``semi-hard``: per pair the nearest negative that is farther than the positive.

``argmin d(a,n)`` over ``d(a,p) < d(a,n)``: the semi-hard exemplar of FaceNet (Schroff, Kalenichenko
and Philbin 2015, section 3.2), over the whole data set. Here ``d(a,n) < d(a,p) + margin`` is asked
for too: beyond it the loss is zero. It writes ``semi_hard`` only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from miner.errors import UsageError
from miner.selection.strategies.base import Admitted, Counts, Strategy, Take
from miner.triplets.distance import Metric
from miner.triplets.hardness import Kept, Mined

__all__ = ["SemiHard"]


@dataclass(frozen=True)
class SemiHard(Strategy):
    """Takes the nearest semi-hard negative of each pair."""

    by_pair = True
    seeded = False

    def check(self, metric: Metric, normalized: bool, classes: tuple[Mined, ...]) -> None:
        """Refuse a job that writes no semi-hard triplets."""
        if "semi_hard" not in classes:
            raise UsageError(
                "strategy 'semi-hard' finds semi-hard triplets only, and select.classes leaves "
                "them out; add 'semi_hard', or use the strategy 'hardest'"
            )

    def at_most(self, name: Mined, pairs: int, anchors: int) -> int:
        """Bound it by one semi-hard triplet a pair."""
        return pairs if name == "semi_hard" else 0

    def take(self, admitted: Admitted, name: Kept) -> Take:
        """Take the first of the semi-hard interval."""
        begin, span = admitted.span(name)
        if name == "hard":
            return Take(begin, span * 0, span * 0, 0)
        counts = np.minimum(span, 1)
        return Take(begin, counts, counts, len(span))

    def wants(self, span: Counts, name: Mined) -> Counts:
        """Want one semi-hard negative of each pair."""
        return np.full_like(span, int(name == "semi_hard"))
