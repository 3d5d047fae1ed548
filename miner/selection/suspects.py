"""What ``select.suspects`` keeps: the hard and semi-hard triplets that a guard dropped.

Every one that `absolute_margin`, `relative_margin` or `max_score` drops, whatever the other filters
and the strategy would have made of it.
"""

from __future__ import annotations

from dataclasses import dataclass

from miner.selection.strategies.base import Admitted, Strategy, Take
from miner.triplets.hardness import Kept

__all__ = ["Suspects"]


@dataclass(frozen=True)
class Suspects(Strategy):
    """Takes the ranks below the guards."""

    def take(self, admitted: Admitted, name: Kept) -> Take:
        """Take each pair's nearest negatives, as many as were dropped."""
        dropped = admitted.suspects
        return Take(dropped * 0, dropped, dropped, int(dropped.sum()))
