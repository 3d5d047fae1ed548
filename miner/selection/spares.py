"""Spare negatives: the next ones by distance, for slots whose triplet a teacher may reject."""

from __future__ import annotations

import numpy as np

from miner.selection.strategies.base import Counts, Picks

__all__ = ["with_spares"]


def with_spares(picks: Picks, span: tuple[Counts, Counts], spares: int) -> Picks:
    """Return chosen triplets of an anchor and their spares, sorted by pair and rank.

    For each chosen rank, in their order, the spares are the next `spares` eligible ranks that are
    neither chosen nor spares of the pair already. A spare has the weight of its triplet with the
    opposite sign, which the records of unit files keep.

    Parameters
    ----------
    picks : Picks
        `rank` is the rank among the anchor's negatives, one pair after the other, ascending within
        a pair.
    span : tuple of ndarray of shape (positives,), int64
        The first eligible rank of each pair in the class, and their number.
    spares : int
        The number of spares for each chosen rank.
    """
    owners: list[int] = []
    ranks: list[int] = []
    pairs, starts = np.unique(picks.pair, return_index=True)
    stops = np.append(starts[1:], len(picks.pair))
    for pair, start, stop in zip(pairs.tolist(), starts.tolist(), stops.tolist(), strict=True):
        own = picks.rank[start:stop].tolist()
        taken = dict(zip(own, range(start, stop), strict=True))
        end, after = int(span[0][pair] + span[1][pair]), 0
        for owner, rank in enumerate(own, start):
            after, missing = max(after, rank + 1), spares
            while missing and after < end:
                if after not in taken:
                    taken[after] = owner
                    missing -= 1
                after += 1
        for rank in sorted(taken):
            owners.append(taken[rank])
            ranks.append(rank)
    owner_of, rank_of = np.array(owners, dtype=np.int64), np.array(ranks, dtype=np.int64)
    chosen = rank_of == picks.rank[owner_of]
    weight = picks.weight[owner_of]
    return Picks(picks.pair[owner_of], rank_of, np.where(chosen, weight, -weight))
