"""The counting kernel: how many keys of a row lie below each of its thresholds.

Two implementations of one function with the same results: `count_below` here, in NumPy, is the
reference and the fallback; `miner.census.kernels.count_binned` compiles a loop that does not sort
the keys.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from miner.census.kernels import choose_loops
from miner.triplets.types import Float64

__all__ = ["Below", "Kernel", "count_below", "load_kernel"]


@dataclass(frozen=True, slots=True)
class Below:
    """What a kernel found.

    Attributes
    ----------
    counts : ndarray of shape (thresholds,), int64
        Keys of the row that are below the threshold.
    sums : ndarray of shape (thresholds,), float64
        The sum of their distances.
    near : ndarray of shape (rows,), bool
        Whether some key of the row lies within the row's tolerance of a threshold, so that its
        counts are not sure.
    """

    counts: NDArray[np.int64]
    sums: Float64
    near: NDArray[np.bool_]


Kernel = Callable[[Float64, Float64, NDArray[np.int64], Float64, Float64, float, bool], Below]


def load_kernel(name: str = "auto") -> Kernel:
    """Return a kernel by name; ``auto`` is numba's where it is installed."""
    loops = choose_loops(name, "count_binned")
    kernel: Kernel = count_below if loops is None else loops.count_below
    return kernel


def count_below(
    keys: Float64,
    thresholds: Float64,
    starts: NDArray[np.int64],
    tolerance: Float64,
    offset: Float64,
    slope: float,
    root: bool,
) -> Below:
    """Count the keys below each threshold.

    Parameters
    ----------
    keys : ndarray of shape (rows, n), float64
        Infinite where a candidate does not count.
    thresholds : ndarray of shape (starts[-1],), float64
        Those of row i are ``thresholds[starts[i]:starts[i + 1]]``, in any order, at least one.
    starts : ndarray of shape (rows + 1,), int64
    tolerance : ndarray of shape (rows,), float64
    offset : ndarray of shape (rows,), float64
    slope, root : float, bool
        The distance of a key is ``offset + slope * key``, or the square root of it.

    Returns
    -------
    Below
    """
    counts = np.empty(len(thresholds), dtype=np.int64)
    sums = np.empty(len(thresholds))
    near = np.zeros(len(keys), dtype=np.bool_)
    for row in range(len(keys)):
        part = slice(starts[row], starts[row + 1])
        mine = thresholds[part]
        inside = keys[row][keys[row] <= mine.max() + tolerance[row]]
        inside.sort()
        below = inside.searchsorted(mine)
        after = inside[np.minimum(below, len(inside) - 1)] if len(inside) else mine + np.inf
        before = inside[below - 1] if len(inside) else mine - np.inf
        near[row] = bool(
            ((below < len(inside)) & (after - mine <= tolerance[row])).any()
            or ((below > 0) & (mine - before <= tolerance[row])).any()
        )
        distances = offset[row] + slope * inside
        if root:
            distances = np.sqrt(np.maximum(distances, 0.0))
        counts[part] = below
        sums[part] = np.concatenate([[0.0], np.cumsum(distances)])[below]
    return Below(counts, sums, near)
