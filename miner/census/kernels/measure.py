"""The true distances as a compiled loop: the same bits as NumPy's, without copies of rows.

NumPy adds the values of a row in blocks: up to 128 values in eight sums, and a longer row as the
sum of its halves, of which the first has a length that is a multiple of eight (``pairwise_sum`` in
NumPy's source, loops_utils.h). Rounding depends on nothing but the order of additions, so these
loops use the same order. `miner.census.measure` compares them with NumPy before they are used.
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
def _fill_terms(a: Any, b: Any, squares: Any, terms: Any) -> None:  # pragma: no cover  (compiled)
    if squares:
        for i in range(terms.size):
            gap = np.float64(a[i]) - np.float64(b[i])
            terms[i] = gap * gap
    else:
        for i in range(terms.size):
            terms[i] = np.float64(a[i]) * np.float64(b[i])


@compiled
def _add_up(terms: Any) -> Any:  # pragma: no cover  (compiled)
    """Return the sum of at most `_BLOCK` terms."""
    if terms.size < 8:
        total = -0.0
        for term in terms:
            total += term
        return total
    r0, r1, r2, r3 = terms[0], terms[1], terms[2], terms[3]
    r4, r5, r6, r7 = terms[4], terms[5], terms[6], terms[7]
    whole = terms.size - terms.size % 8
    for at in range(8, whole, 8):
        eight = terms[at : at + 8]
        r0 += eight[0]
        r1 += eight[1]
        r2 += eight[2]
        r3 += eight[3]
        r4 += eight[4]
        r5 += eight[5]
        r6 += eight[6]
        r7 += eight[7]
    total = ((r0 + r1) + (r2 + r3)) + ((r4 + r5) + (r6 + r7))
    for term in terms[whole:]:
        total += term
    return total


@compiled
def _sum(a: Any, b: Any, squares: Any, ends: Any, joins: Any, room: Any) -> Any:
    """Return the sum of a row's terms; after block i, join the last ``joins[i]`` sums."""
    terms, stack = room  # pragma: no cover  (compiled)
    top, at = 0, np.int64(0)  # pragma: no cover
    for block in range(len(ends)):  # pragma: no cover
        own = terms[: ends[block] - at]
        _fill_terms(a[at : ends[block]], b[at : ends[block]], squares, own)
        stack[top] = _add_up(own)
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
    """Measure pairs; if `left` has one number, it is the anchor of all rows."""
    room = (np.empty(_BLOCK), np.empty(_DEPTH))
    last, own = np.int64(-1), 0.0
    for k in range(len(right)):
        anchor = left[k if len(left) > 1 else 0]
        a, x = anchors[anchor], rows[right[k]]
        if metric < 2:
            squared = _sum(a, x, True, ends, joins, room)
            out[k] = np.sqrt(squared) if metric == 0 else squared
            continue
        inner = _sum(a, x, False, ends, joins, room)
        if metric == 3:
            out[k] = -inner
            continue
        if anchor != last:
            last, own = anchor, np.sqrt(_sum(a, a, False, ends, joins, room))
        norms = own * np.sqrt(_sum(x, x, False, ends, joins, room))
        out[k] = 1.0 if norms == 0 else 1.0 - inner / norms


@functools.cache
def _plan(dim: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where the blocks of a row end, and how many sums are joined after each."""
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
