"""Negatives that were judged are taken before others, where a strategy chooses."""

from __future__ import annotations

import numpy as np

from miner.selection.strategies.base import Counts

__all__ = ["prefer_judged"]


def prefer_judged(
    judged: Counts, span: tuple[Counts, Counts], pair: Counts, ranks: Counts
) -> Counts:
    """Return chosen ranks in which judged negatives of the same pair and class come first.

    Each pair keeps its number of ranks. The nearest judged negatives take the place of the farthest
    ranks that the strategy chose.

    Parameters
    ----------
    judged : ndarray of int64
        The ranks of the anchor's judged negatives, ascending.
    span : tuple of ndarray of shape (positives,), int64
        The first eligible rank of each pair in the class, and their number.
    pair, ranks : ndarray of shape (k,), int64
        The chosen ranks, one pair after the other, ascending within a pair.
    """
    result = ranks.copy()
    pairs, starts = np.unique(pair, return_index=True)
    for number, start, end in zip(pairs, starts, np.append(starts[1:], len(pair)), strict=True):
        low, count = span[0][number], span[1][number]
        first = judged[(judged >= low) & (judged < low + count)][: end - start]
        others = ranks[start:end][~np.isin(ranks[start:end], first)][: end - start - len(first)]
        result[start:end] = np.sort(np.concatenate([first, others]))
    return result
