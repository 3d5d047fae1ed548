"""Bounds of the true distances from float32 sums, far quicker than measuring.

A float32 sum of n products is off by at most ``n u / (1 - n u)`` times the sum of their absolute
values, in any order, with or without fused operations (u = 2^-24; Higham, Accuracy and Stability of
Numerical Algorithms, 2nd ed., sections 3.1 and 4.2). A difference, its square and a norm cost a few
more roundings. A product that underflows is off by less than 2^-149. The float64 error of the
definition is far smaller than the slack allowed here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from miner.census.kernels.jit import compiled
from miner.census.kernels.measure import CODES
from miner.triplets.distance import UNIT_ROUNDOFF_32, Metric
from miner.triplets.types import Float32, Float64

__all__ = ["bound_rows"]

_TINY = 2.0**-148
"""More than underflow changes a product."""
_ROUNDINGS = 8
_SAFE = 1.1
_LONG = 1 << 20
"""From this number of dimensions on, the error is too large for the formula."""
_RANGE = (1e-25, 1e25)
"""Squared norms for which the float32 cosine is bounded."""


def _squares_loop(x: Any, y: Any) -> Any:  # pragma: no cover  (compiled)
    total = np.float32(0.0)
    for k in range(len(x)):
        gap = x[k] - y[k]
        total += gap * gap
    return np.float64(total)


def _products_loop(x: Any, y: Any) -> Any:  # pragma: no cover  (compiled)
    total = np.float32(0.0)
    for k in range(len(x)):
        total += x[k] * y[k]
    return np.float64(total)


_squares = compiled(_squares_loop, reorder=True)
_products = compiled(_products_loop, reorder=True)


@compiled
def _bound(
    anchors: Any, rows: Any, left: Any, right: Any, facts: Any, low: Any, high: Any
) -> None:  # pragma: no cover  (compiled)
    """Bound the distances of pairs.

    `facts` are the metric's code, the relative error, the error of underflow, and the least and the
    greatest squared norm.
    """
    metric, error, tiny, least, most = facts
    for k in range(len(right)):
        a, x = anchors[left[k]], rows[right[k]]
        low[k], high[k] = -np.inf, np.inf
        if metric < 2:
            square = _squares(a, x)
            if not square < np.inf:
                continue
            low[k] = max(square * (1.0 - error) - tiny, 0.0)
            high[k] = square * (1.0 + error) + tiny
            if metric == 0:
                low[k], high[k] = np.sqrt(low[k]), np.sqrt(high[k])
            continue
        inner, own, other = _products(a, x), _products(a, a), _products(x, x)
        size = np.sqrt((own + tiny) * (other + tiny))
        if not (abs(inner) < np.inf and size < np.inf):
            continue
        if metric == 3:
            low[k], high[k] = -inner - error * size - tiny, -inner + error * size + tiny
        elif least < own < most and least < other < most:
            cosine = inner / size
            low[k], high[k] = 1.0 - cosine - 2.0 * error, 1.0 - cosine + 2.0 * error


def bound_rows(
    metric: Metric,
    anchors: Float32,
    rows: Float32,
    left: NDArray[np.int64],
    right: NDArray[np.int64],
) -> tuple[Float64, Float64]:
    """Bound distances from below and above; see `miner.census.measure.Vectors.bound`."""
    low, high = np.empty((2, len(right)))
    dim = rows.shape[1]
    error = _SAFE * (dim + _ROUNDINGS) * UNIT_ROUNDOFF_32 if dim < _LONG else np.inf
    facts = (CODES[metric], error, dim * _TINY, *_RANGE)
    numbers = (np.ascontiguousarray(left), np.ascontiguousarray(right))
    _bound(anchors, rows, *numbers, facts, low, high)
    return low, high
