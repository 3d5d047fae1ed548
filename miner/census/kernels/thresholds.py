"""A compiled merge of the two thresholds of each pair into one ascending order."""

from __future__ import annotations

from typing import Any

import numpy as np

from miner.census.kernels.jit import compiled
from miner.triplets.types import Float64, Rows

__all__ = ["merge_thresholds"]


@compiled
def _merge_thresholds(
    hard: Any, non_easy: Any, order: Any, starts: Any, longest: Any, tolerance: Any, edges: Any,
    pairs: Any, above: Any,
) -> None:  # fmt: skip  # pragma: no cover  (compiled)
    left, right = np.empty(longest + 1), np.empty(longest + 1)
    for line in range(starts.size - 1):
        own, error = order[starts[line] : starts[line + 1]], tolerance[line]
        for place in range(own.size):
            pair = np.uint64(own[place])
            left[place], right[place] = hard[pair] + error, non_easy[pair] + error
        left[own.size], right[own.size] = np.inf, np.inf
        one: Any = np.uint64(0)
        other: Any = np.uint64(0)
        most = -np.inf
        size, shift = np.uint64(own.size), np.uint64(32)
        begin = 2 * starts[line] + line
        for end in range(begin, begin + 2 * own.size):  # no branches: they could not be predicted
            above[end] = (size - one) + ((size - other) << shift)
            first = left[one] <= right[other]
            value = left[one] if first else right[other]
            most = value if value > most else most
            place, soft = (one if first else other), np.int64(not first)
            edges[end], pairs[end] = most, own[place] + soft * hard.size
            one += np.uint64(first)
            other += np.uint64(soft)
        above[begin + 2 * own.size], edges[begin + 2 * own.size] = 0, np.nan


def merge_thresholds(
    hard: Float64, non_easy: Float64, order: Rows, starts: Rows, tolerance: Float64
) -> tuple[Float64, Rows, Rows]:
    """Return the thresholds of each line in ascending order.

    Parameters
    ----------
    hard, non_easy : ndarray of shape (pairs,), float64
        The keys up to which negatives are hard, and hard or semi-hard; finite.
    order : ndarray of shape (pairs,), int64
        The pairs of each line, nearly ascending.
    starts : ndarray of shape (b + 1,), int64
        Where the pairs of each line begin, and the end; each line has at least one.
    tolerance : ndarray of shape (b,), float64

    Returns
    -------
    edges : ndarray of shape (2 * pairs + b,), float64
        Each threshold plus the tolerance, ascending; NaN after the last one of each line.
    pairs : ndarray of the same shape, int64
        The pair of each threshold; for semi-hard thresholds the number of pairs is added.
    above : ndarray of the same shape, int64
        How many thresholds are at or after each position: hard ones in the low 32 bits, semi-hard
        ones in the high bits.
    """
    size = 2 * len(hard) + len(starts) - 1
    edges, pairs, above = np.empty(size), np.zeros(size, np.int64), np.empty(size, np.int64)
    longest = np.diff(starts).max()
    given = (hard, non_easy, order, starts, longest, tolerance)
    _merge_thresholds(*given, edges, pairs, above)
    return edges, pairs, above
