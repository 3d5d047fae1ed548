"""``all``: every semi-hard and hard triplet (batch-all of Hermans, Beyer and Leibe 2017, eq. 6)."""

from __future__ import annotations

from dataclasses import dataclass

from miner.selection.strategies.base import Admitted, Strategy, Take
from miner.triplets.hardness import Kept

__all__ = ["All"]


@dataclass(frozen=True)
class All(Strategy):
    """Takes everything that the filters leave."""

    from_totals = True
    by_pair = True
    seeded = False

    def take(self, admitted: Admitted, name: Kept) -> Take:
        """Take the whole interval of each pair."""
        begin, span = admitted.span(name)
        return Take(begin, span, span, int(span.sum()))
