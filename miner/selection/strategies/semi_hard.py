"""``semi-hard``: for each pair the nearest, or the nth nearest, semi-hard negative.

``argmin d(a,n)`` over ``d(a,p) < d(a,n)``: the semi-hard exemplar of FaceNet (Schroff, Kalenichenko
and Philbin 2015, section 3.2), over the whole data set. ``d(a,n) < d(a,p) + margin`` is required
too, because the loss of other triplets is zero. The strategy writes ``semi_hard`` only.

With ``nth``, the nth nearest semi-hard negative is selected, or the farthest one if a pair has
fewer than n. Wrongly labelled rows and rows with the meaning of the positive are mostly among the
nearest, so a larger n selects fewer of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from miner.errors import UsageError
from miner.selection.strategies.base import Counts, EligibleRanks, Selected, Strategy, check_count
from miner.triplets.distance import Metric
from miner.triplets.hardness import MinedClass, OutputFolder

__all__ = ["SemiHard"]


@dataclass(frozen=True)
class SemiHard(Strategy):
    """Selects the `nth` nearest semi-hard negative of each pair."""

    by_pair = True
    seeded = False
    nth: int = 1

    def __post_init__(self) -> None:
        check_count("nth", self.nth)

    def check(self, metric: Metric, normalized: bool, classes: tuple[MinedClass, ...]) -> None:
        """Raise `UsageError` if the job writes no semi-hard triplets."""
        if "semi_hard" not in classes:
            raise UsageError(
                "strategy 'semi-hard' finds semi-hard triplets only, and select.classes leaves "
                "them out; add 'semi_hard', or use the strategy 'hardest'"
            )

    def at_most(self, name: MinedClass, pairs: int, anchors: int) -> int:
        """Return the number of pairs for ``semi_hard``, 0 for ``hard``."""
        return pairs if name == "semi_hard" else 0

    def take(self, eligible: EligibleRanks, name: OutputFolder) -> Selected:
        """Select the nth rank of each pair's semi-hard interval, or the last one."""
        begin, span = eligible.span(name)
        if name == "hard":
            return Selected(begin, span * 0, span * 0, 0)
        counts = np.minimum(span, 1)
        return Selected(begin + np.minimum(span, self.nth) - counts, counts, counts, len(span))

    def wants(self, span: Counts, name: MinedClass) -> Counts:
        """Request one semi-hard negative of each pair."""
        return np.full_like(span, int(name == "semi_hard"))
