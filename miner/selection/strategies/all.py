"""``all``: every semi-hard and hard triplet (batch-all of Hermans, Beyer and Leibe 2017, eq. 6)."""

from __future__ import annotations

from dataclasses import dataclass

from miner.selection.strategies.base import EligibleRanks, Selected, Strategy
from miner.triplets.hardness import OutputFolder

__all__ = ["All"]


@dataclass(frozen=True)
class All(Strategy):
    """Selects every triplet that passes the filters."""

    from_totals = True
    by_pair = True
    seeded = False

    def take(self, eligible: EligibleRanks, name: OutputFolder) -> Selected:
        """Select the whole interval of each pair."""
        begin, span = eligible.span(name)
        return Selected(begin, span, span, int(span.sum()))
