"""The true distances of stored rows, by row number, in NumPy or compiled.

Two implementations return the same bits: `measure_rows` in this module is the reference and the
fallback; `miner.census.kernels.measure` is faster because it does not copy rows.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from miner.census.kernels import choose_loops
from miner.triplets.distance import METRICS, Metric, measure
from miner.triplets.types import Float32, Float64, Rows

__all__ = ["Measure", "Vectors", "load_measure", "measure_rows"]

Measure = Callable[[Metric, Float32, Float32, Rows, Rows], Float64]
Bound = Callable[[Metric, Float32, Float32, Rows, Rows], tuple[Float64, Float64]]


_GATHER_BYTES = 4 << 20
_TRIED = (3, 21, 128, 300, 1000)
"""Dimensions for which the compiled sums are compared with NumPy's."""


def measure_rows(
    metric: Metric, anchors: Float32, rows: Float32, left: Rows, right: Rows
) -> Float64:
    """Measure rows from one anchor, or from one anchor each; gather few vectors at a time.

    Parameters
    ----------
    metric : str
    anchors : ndarray of shape (n, d), float32
    rows : ndarray of shape (m, d), float32
    left : ndarray of shape (k,) or (1,), int64
        The anchor of each row, or one anchor for all rows.
    right : ndarray of shape (k,), int64
        The rows.

    Returns
    -------
    ndarray of shape (k,), float64
        `miner.triplets.distance.measure` of each.
    """
    step = max(1, _GATHER_BYTES // (4 * max(1, rows.shape[1])))
    result = np.empty(len(right))
    for start in range(0, len(right), step):
        part = slice(start, start + step)
        own = left if len(left) == 1 else left[part]
        result[part] = measure(metric, anchors[own], rows[right[part]])
    return result


@functools.cache
def load_measure(name: str = "auto") -> Measure:
    """Return an implementation; ``auto`` is numba if it is installed and returns NumPy's bits."""
    loops = choose_loops(name, "measure")
    if loops is None or (name == "auto" and not _alike(loops.measure_rows)):
        return measure_rows
    compiled: Measure = loops.measure_rows
    return compiled


@functools.cache
def _load_bound(name: str) -> Bound | None:
    """Return the compiled loop that bounds distances, or None."""
    loops = choose_loops(name, "bounds")
    return None if loops is None else loops.bound_rows


def _alike(other: Measure) -> bool:
    """Whether an implementation returns the same bits as NumPy on this machine."""
    rng = np.random.default_rng(0)
    for dim in _TRIED:
        drawn = rng.normal(size=(40, dim)).astype(np.float32)
        rows = Vectors(drawn, drawn).rows
        left, right = rng.integers(0, 40, (2, 200))
        for metric in METRICS:
            given = (metric, rows, rows, left, right)
            if not np.array_equal(other(*given), measure_rows(*given)):  # type: ignore[arg-type]
                return False
    return True


def _fixed(rows: Float32) -> Float32:
    view = np.asarray(rows).view()
    view.flags.writeable = False
    return view


@dataclass(frozen=True)
class Vectors:
    """The stored vectors of the anchors and of the rows.

    For labelled items both are the same array.

    Attributes
    ----------
    anchors, rows : ndarray of shape (n, d), float32
    kernel : str
        ``auto``, ``numba`` or ``numpy``; the distances are the same.
    """

    anchors: Float32
    rows: Float32
    kernel: str = "auto"

    def __post_init__(self) -> None:
        """Make the arrays read-only, as stored vectors are: numba compiles for one type only."""
        rows = _fixed(self.rows)
        anchors = rows if self.anchors is self.rows else _fixed(self.anchors)
        object.__setattr__(self, "rows", rows)
        object.__setattr__(self, "anchors", anchors)

    @property
    def dim(self) -> int:
        """The number of dimensions."""
        return int(self.rows.shape[1])

    @property
    def work(self) -> float:
        """The multiplications of a census of these vectors."""
        return float(len(self.anchors)) * len(self.rows) * self.dim

    def measure(self, metric: Metric, anchors: Rows, columns: Rows) -> Float64:
        """Measure rows from one anchor or from one anchor each, by the definition."""
        return load_measure(self.kernel)(metric, self.anchors, self.rows, anchors, columns)

    def bound(self, metric: Metric, anchors: Rows, columns: Rows) -> tuple[Float64, Float64]:
        """Bound the distances of rows from one anchor each; cheap if compiled loops do it.

        Parameters
        ----------
        metric : str
        anchors, columns : ndarray of shape (k,), int64

        Returns
        -------
        low, high : ndarray of shape (k,), float64
            Each distance that `measure` returns is in [low, high]; bounds may be infinite.
        """
        bound_rows = _load_bound(self.kernel)
        if bound_rows is None:
            measured = self.measure(metric, anchors, columns)
            return measured, measured
        return bound_rows(metric, self.anchors, self.rows, anchors, columns)
