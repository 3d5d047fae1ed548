"""Compiled sort of lines of numbers that are spread about evenly.

NumPy's own sort is as fast where it has vector instructions for it, and eight times slower where it
has none (AMD Zen 4, for one).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from miner.census.kernels.jit import compiled
from miner.triplets.types import Float64, Rows

__all__ = ["sort_lines"]

_CROWD = 48
"""Where more numbers than this fall into one bucket, the line is left to NumPy."""
_BUCKETS = 1 << 15
"""Buckets of a line at most: a cache holds their ends."""


@compiled
def _insert(own: Any) -> None:  # pragma: no cover  (compiled)
    """Sort numbers each of which is near its place."""
    none, step = np.uint64(0), np.uint64(1)
    for start in range(1, own.size):
        value, place = own[start], np.uint64(start)
        while place > none and own[place - step] > value:
            own[place] = own[place - step]
            place -= step
        own[place] = value


@compiled
def _choose(
    own: Any, low: Any, scale: Any, ends: Any, bucket: Any
) -> None:  # pragma: no cover  (compiled)
    """Find the bucket of each number, in their order."""
    top = np.float64(ends.size - 1)
    for place in range(own.size):
        value = (own[place] - low) * scale
        bucket[place] = np.uint32(value if value < top else top)


@compiled
def _sort_line(own: Any, ends: Any, bucket: Any, room: Any) -> Any:  # pragma: no cover  (compiled)
    """Sort a line, and return True; return False where it is not spread evenly enough."""
    low, high = own[0], own[0]
    for value in own:
        low, high = min(low, value), max(high, value)
    scale = ends.size / (high - low)
    if not scale < np.inf:  # all are equal, or one is infinite
        return low == high
    _choose(own, low, scale, ends, bucket)
    ends[:] = 0
    for place in range(own.size):
        ends[np.uint64(bucket[place])] += np.uint32(1)
    end, most = np.uint32(0), np.uint32(0)
    for number in range(ends.size):
        size = ends[number]
        ends[number] = end
        end += size
        most = max(most, size)
    if most > _CROWD:
        return False
    for place in range(own.size):
        number = np.uint64(bucket[place])
        room[np.uint64(ends[number])] = own[place]
        ends[number] += np.uint32(1)
    own[:] = room
    _insert(own)
    return True


@compiled
def _sort_lines(numbers: Any, firsts: Any, done: Any) -> None:  # pragma: no cover  (compiled)
    longest = np.diff(firsts).max()
    room, bucket = np.empty(longest), np.empty(longest, np.uint32)
    ends = np.empty(_BUCKETS, np.uint32)
    for line in range(done.size):
        own = numbers[firsts[line] : firsts[line + 1]]
        if own.size:
            some = ends[: min(own.size, _BUCKETS)]
            done[line] = _sort_line(own, some, bucket[: own.size], room[: own.size])


def sort_lines(numbers: Float64, firsts: Rows) -> None:
    """Sort the numbers of each line; see `miner.census.walk.line_loops.sort_lines`."""
    done = np.ones(len(firsts) - 1, dtype=np.bool_)
    if len(done):
        _sort_lines(numbers, firsts, done)
    for line in np.flatnonzero(~done).tolist():
        numbers[firsts[line] : firsts[line + 1]].sort()
