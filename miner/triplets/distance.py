"""The metrics: the float64 distances of the definition.

`measure` computes the distances of stored (float32) rows in float64, as NumPy computes them row by
row. Classes are decided by comparing these numbers.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from miner.triplets.types import Float32, Float64

__all__ = [
    "METRICS",
    "UNIT_ROUNDOFF",
    "UNIT_ROUNDOFF_32",
    "Metric",
    "measure",
    "normalize_rows",
    "row_norms",
    "scales",
    "score",
    "score_range",
    "widest_gap",
]

Metric = Literal["euclidean", "sqeuclidean", "cosine", "dot"]

METRICS: dict[str, str] = {
    "euclidean": "|a - x|",
    "sqeuclidean": "|a - x|^2 (FaceNet's)",
    "cosine": "1 - cos(a, x)",
    "dot": "-(a . x), never normalised",
}

UNIT_ROUNDOFF = 2.0**-53
UNIT_ROUNDOFF_32 = 2.0**-24
"""The relative error of one rounding, in float64 and in float32."""
_MEASURE_BYTES = 4 << 20


def normalize_rows(rows: NDArray[np.floating]) -> Float32:
    """Scale rows to unit L2 norm, in float64, rounded once to float32.

    Parameters
    ----------
    rows : ndarray of shape (n, d)

    Returns
    -------
    ndarray of shape (n, d), dtype float32
        A zero row stays zero.
    """
    wide = np.ascontiguousarray(rows, dtype=np.float64)
    norms = row_norms(wide)
    norms[norms == 0] = 1.0
    return (wide / norms[:, None]).astype(np.float32)


def scales(metric: str, normalize: bool | None) -> bool:
    """Whether vectors are scaled to unit norm: `normalize` if it is set, else by the metric."""
    return metric != "dot" if normalize is None else normalize


def row_norms(wide: Float64) -> Float64:
    """Return the norms of rows as the definition has them: roots of float64 sums of squares."""
    norms: Float64 = np.sqrt((wide * wide).sum(-1))
    return norms


def measure(metric: Metric, anchors: Float32, rows: Float32) -> Float64:
    """Return the true distances of pairs of anchors and rows.

    Parameters
    ----------
    metric : str
        A key of `METRICS`.
    anchors : ndarray of shape (k, d) or (1, d), dtype float32
        One anchor per row, or one for all rows.
    rows : ndarray of shape (k, d), dtype float32

    Returns
    -------
    ndarray of shape (k,), dtype float64
        Each value equals NumPy's float64 expression over the two C-contiguous rows. It does not
        depend on the other pairs of the call.
    """
    count, dim = rows.shape
    step = max(1, _MEASURE_BYTES // (8 * max(1, dim)))
    result = np.empty(count, dtype=np.float64)
    for start in range(0, count, step):
        part = slice(start, start + step)
        left = anchors if len(anchors) == 1 else anchors[part]
        result[part] = _measure(metric, _wide(left), _wide(rows[part]))
    return result


def _wide(rows: Float32) -> Float64:
    """Return rows in float64, C-contiguous: NumPy's sum over a row depends on the layout."""
    return np.ascontiguousarray(rows, dtype=np.float64)


def _measure(metric: Metric, left: Float64, right: Float64) -> Float64:
    if metric in ("euclidean", "sqeuclidean"):
        squared: Float64 = ((left - right) ** 2).sum(-1)
        return np.sqrt(squared) if metric == "euclidean" else squared
    inner: Float64 = (left * right).sum(-1)
    if metric == "dot":
        return -inner
    norms = row_norms(left) * row_norms(right)
    safe = np.where(norms == 0, 1.0, norms)
    return np.where(norms == 0, 1.0, 1.0 - inner / safe)


def score(metric: Metric, normalized: bool, distances: Float64) -> Float64:
    """Return the similarity scores of true distances: larger is closer.

    The score is the cosine if the metric determines it: ``1 - d`` for ``cosine``, and for unit
    vectors ``1 - d^2 / 2`` (``euclidean``) and ``1 - d / 2`` (``sqeuclidean``). Otherwise it is
    ``-d``: the inner product for ``dot``, and the negative Euclidean distance of vectors that are
    not normalised.

    Parameters
    ----------
    metric : str
    normalized : bool
        Whether the stored vectors have unit norm.
    distances : ndarray of float64

    Returns
    -------
    ndarray of float64
        It never grows with the distance, not even by rounding: each step is monotone in float64.
    """
    if metric == "cosine":
        return 1.0 - distances
    if metric == "dot" or not normalized:
        return -distances
    squared = distances * distances if metric == "euclidean" else distances
    return 1.0 - squared / 2.0


def widest_gap(metric: Metric, normalized: bool) -> float:
    """Return what no difference of two distances is beyond; infinity where none is known.

    Parameters
    ----------
    metric : str
    normalized : bool
        Whether the stored vectors have unit length.
    """
    if metric == "cosine":
        return 2.0
    return {"euclidean": 2.0, "sqeuclidean": 4.0}.get(metric, np.inf) if normalized else np.inf


def score_range(metric: Metric, normalized: bool) -> tuple[float, float]:
    """Return the least and the largest score (see `score`); infinity where none is known."""
    if metric == "cosine" or (normalized and metric != "dot"):
        return -1.0, 1.0
    return -np.inf, np.inf if metric == "dot" else 0.0
