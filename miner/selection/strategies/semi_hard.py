"""``semi-hard``: per pair the nearest negative that is farther than the positive, or the nth.

``argmin d(a,n)`` over ``d(a,p) < d(a,n)``: the semi-hard exemplar of FaceNet (Schroff, Kalenichenko
and Philbin 2015, section 3.2), over the whole data set. Here ``d(a,n) < d(a,p) + margin`` is asked
for too: beyond it the loss is zero. It writes ``semi_hard`` only.

With ``nth`` it takes the nth nearest of these, or the last where a pair has fewer: a looser pick,
which a wrong label or a row that means the same as the positive reaches less often.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from miner.errors import UsageError
from miner.selection.strategies.base import Counts, EligibleRanks, Selected, Strategy, check_count
from miner.triplets.distance import Metric
from miner.triplets.hardness import Kept, Mined

__all__ = ["SemiHard"]


@dataclass(frozen=True)
class SemiHard(Strategy):
    """Takes the `nth` nearest semi-hard negative of each pair."""

    by_pair = True
    seeded = False
    nth: int = 1

    def __post_init__(self) -> None:
        check_count("nth", self.nth)

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

    def take(self, eligible: EligibleRanks, name: Kept) -> Selected:
        """Take the nth of the semi-hard interval, or its last."""
        begin, span = eligible.span(name)
        if name == "hard":
            return Selected(begin, span * 0, span * 0, 0)
        counts = np.minimum(span, 1)
        return Selected(begin + np.minimum(span, self.nth) - counts, counts, counts, len(span))

    def wants(self, span: Counts, name: Mined) -> Counts:
        """Want one semi-hard negative of each pair."""
        return np.full_like(span, int(name == "semi_hard"))
