"""A compiled radix sort of lines of numbers that are distributed about evenly.

NumPy's own sort is as fast where it has vector instructions, and eight times slower where it has
none (on AMD Zen 4, for example).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from miner.census.kernels.jit import compiled
from miner.triplets.types import Float64, Rows

__all__ = ["sort_lines"]

_BITS = 11
"""Bits of one digit. Numbers are sorted by two digits, and numbers with equal digits by
insertion."""
_MOVES = 8
"""If the insertion moves numbers by more than this on average, NumPy sorts the line instead."""


@compiled
def _digits(own: Any, low: Any, scale: Any, codes: Any) -> None:  # pragma: no cover  (compiled)
    """Scale each number by the range of the line to an integer of two digits."""
    top = np.float64((1 << (2 * _BITS)) - 1)
    for place in range(own.size):
        value = (own[place] - low) * scale
        codes[place] = np.uint32(value if value < top else top)


@compiled
def _count_digits(codes: Any, ends: Any) -> None:  # pragma: no cover  (compiled)
    """Write where the numbers of each digit begin in the sorted line."""
    mask, shift, one = np.uint32((1 << _BITS) - 1), np.uint32(_BITS), np.uint32(1)
    ends[:] = 0
    for code in codes:
        ends[0, np.uint64(code & mask)] += one
        ends[1, np.uint64(code >> shift)] += one
    for digit in range(2):
        total = np.uint32(0)
        for value in range(ends.shape[1]):
            size = ends[digit, value]
            ends[digit, value] = total
            total += size


@compiled
def _deal(
    own: Any, codes: Any, shift: Any, ends: Any, room: Any, sorted_codes: Any
) -> None:  # pragma: no cover  (compiled)
    """Sort numbers by one digit; numbers with the same digit keep their order."""
    mask = np.uint32((1 << _BITS) - 1)
    for place in range(own.size):
        digit = np.uint64((codes[place] >> shift) & mask)
        to = np.uint64(ends[digit])
        ends[digit] += np.uint32(1)
        room[to], sorted_codes[to] = own[place], codes[place]


@compiled
def _insert(own: Any) -> Any:  # pragma: no cover  (compiled)
    """Sort nearly sorted numbers by insertion; return False if that takes too many moves."""
    none, step, moves = np.uint64(0), np.uint64(1), np.int64(_MOVES * own.size)
    for start in range(1, own.size):
        value, place = own[start], np.uint64(start)
        while place > none and own[place - step] > value:
            own[place] = own[place - step]
            place -= step
            moves -= 1
        own[place] = value
        if moves < 0:
            return False
    return True


@compiled
def _sort_line(own: Any, room: Any, codes: Any, ends: Any) -> Any:  # pragma: no cover  (compiled)
    """Sort a line; return False if its numbers are not distributed evenly enough."""
    low, high = own[0], own[0]
    for value in own:
        low, high = min(low, value), max(high, value)
    scale = ((1 << (2 * _BITS)) - 1) / (high - low)
    if not scale < np.inf:  # all numbers are equal, or one is infinite
        return low == high
    _digits(own, low, scale, codes[0])
    _count_digits(codes[0], ends)
    _deal(own, codes[0], np.uint32(0), ends[0], room, codes[1])
    _deal(room, codes[1], np.uint32(_BITS), ends[1], own, codes[0])
    return _insert(own)


@compiled
def _sort_lines(
    numbers: Any, firsts: Any, longest: Any, done: Any
) -> None:  # pragma: no cover  (compiled)
    room, codes = np.empty(longest), np.empty((2, longest), np.uint32)
    ends = np.empty((2, 1 << _BITS), np.uint32)
    for line in range(done.size):
        own = numbers[firsts[line] : firsts[line + 1]]
        if own.size > 64:
            done[line] = _sort_line(own, room[: own.size], codes[:, : own.size], ends)
        else:
            done[line] = _insert(own)


def sort_lines(numbers: Float64, firsts: Rows) -> None:
    """Sort the numbers of each line; see `miner.census.walk.line_loops.sort_lines`."""
    done = np.ones(len(firsts) - 1, dtype=np.bool_)
    if len(done):
        _sort_lines(numbers, firsts, np.diff(firsts).max(), done)
    for line in np.flatnonzero(~done).tolist():
        numbers[firsts[line] : firsts[line + 1]].sort()
