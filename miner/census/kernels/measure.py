"""The definition's distances as a compiled loop: the same bits as NumPy's, without copies.

NumPy adds the values of a row up in pairs of blocks: a block of up to 128 values in eight sums, a
longer row as the sum of its halves, the first a multiple of eight long (``pairwise_sum`` in NumPy's
source, loops_utils.h). The order of additions is all that rounding hangs on, so that these loops
follow it; `miner.census.measure` holds them against NumPy before they are used.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miner.census.kernels.jit import compiled
from miner.triplets.distance import Metric
from miner.triplets.types import Float32, Float64

__all__ = ["CODES", "measure_rows"]

_BLOCK = 128
_DEPTH = 64
CODES = {"euclidean": 0, "sqeuclidean": 1, "cosine": 2, "dot": 3}


@compiled
def _term(x: Any, y: Any, squares: Any) -> Any:  # pragma: no cover  (compiled)
    if squares:
        gap = np.float64(x) - np.float64(y)
        return gap * gap
    return np.float64(x) * np.float64(y)


@compiled
def _block(a: Any, b: Any, at: Any, end: Any, squares: Any) -> Any:  # pragma: no cover  (compiled)
    """Add up at most `_BLOCK` terms."""
    if end - at < 8:
        total = -0.0
        for i in range(at, end):
            total += _term(a[i], b[i], squares)
        return total
    r0, r1 = _term(a[at], b[at], squares), _term(a[at + 1], b[at + 1], squares)
    r2, r3 = _term(a[at + 2], b[at + 2], squares), _term(a[at + 3], b[at + 3], squares)
    r4, r5 = _term(a[at + 4], b[at + 4], squares), _term(a[at + 5], b[at + 5], squares)
    r6, r7 = _term(a[at + 6], b[at + 6], squares), _term(a[at + 7], b[at + 7], squares)
    whole = end - (end - at) % 8
    for i in range(at + 8, whole, 8):
        r0 += _term(a[i], b[i], squares)
        r1 += _term(a[i + 1], b[i + 1], squares)
        r2 += _term(a[i + 2], b[i + 2], squares)
        r3 += _term(a[i + 3], b[i + 3], squares)
        r4 += _term(a[i + 4], b[i + 4], squares)
        r5 += _term(a[i + 5], b[i + 5], squares)
        r6 += _term(a[i + 6], b[i + 6], squares)
        r7 += _term(a[i + 7], b[i + 7], squares)
    total = ((r0 + r1) + (r2 + r3)) + ((r4 + r5) + (r6 + r7))
    for i in range(whole, end):
        total += _term(a[i], b[i], squares)
    return total


@compiled
def _sum(a: Any, b: Any, squares: Any, ends: Any, joins: Any, stack: Any) -> Any:
    """Add up a row's terms; after each block so many of the last sums are joined."""
    top, at = 0, np.int64(0)  # pragma: no cover  (compiled)
    for block in range(len(ends)):  # pragma: no cover
        stack[top] = _block(a, b, at, ends[block], squares)
        at = ends[block]
        for _ in range(joins[block]):
            top -= 1
            stack[top] += stack[top + 1]
        top += 1
    return 0.0 + stack[0]  # pragma: no cover


@compiled
def _measure(
    anchors: Any, rows: Any, left: Any, right: Any, metric: Any, ends: Any, joins: Any, out: Any
) -> None:  # pragma: no cover  (compiled)
    """Measure pairs; one number in `left` stands for all."""
    stack = np.empty(_DEPTH)
    for k in range(len(right)):
        a, x = anchors[left[k if len(left) > 1 else 0]], rows[right[k]]
        if metric < 2:
            squared = _sum(a, x, True, ends, joins, stack)
            out[k] = np.sqrt(squared) if metric == 0 else squared
            continue
        inner = _sum(a, x, False, ends, joins, stack)
        if metric == 3:
            out[k] = -inner
            continue
        own = np.sqrt(_sum(a, a, False, ends, joins, stack))
        norms = own * np.sqrt(_sum(x, x, False, ends, joins, stack))
        out[k] = 1.0 if norms == 0 else 1.0 - inner / norms


@functools.cache
def _plan(dim: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Say where the blocks of a row end, and how many sums are joined after each."""
    ends: list[int] = []
    joins: list[int] = []

    def cut(start: int, count: int) -> None:
        if count <= _BLOCK:
            ends.append(start + count)
            joins.append(0)
            return
        half = count // 2 - count // 2 % 8
        cut(start, half)
        cut(start + half, count - half)
        joins[-1] += 1

    cut(0, dim)
    return np.array(ends, dtype=np.int64), np.array(joins, dtype=np.int64)


def measure_rows(
    metric: Metric,
    anchors: Float32,
    rows: Float32,
    left: NDArray[np.int64],
    right: NDArray[np.int64],
) -> Float64:
    """Measure rows from one anchor or from one each; see `miner.census.measure.measure_rows`."""
    result = np.empty(len(right))
    numbers = (np.ascontiguousarray(left), np.ascontiguousarray(right))
    _measure(anchors, rows, *numbers, CODES[metric], *_plan(rows.shape[1]), result)
    return result
