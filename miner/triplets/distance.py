"""The metrics: the float64 distance that is the truth, and the ordering key of the fast pass.

**Truth.** `measure` is the distance between stored (float32) rows, in float64, as NumPy computes it
row by row. Classes are decided by comparing these numbers.

**Key.** For a fixed anchor `a` every metric is an increasing function of one number per row, the
key: an inner product plus a number that belongs to the row. A block of keys is one matrix product.
``key = |w|^2 / 2 - u.w`` for the Euclidean metrics (so that ``distance^2 = |u|^2 + 2 key``), and
``key = -u.w`` for the others. The Euclidean keys are computed on vectors from which a common centre
has been taken away, which changes no distance and keeps a large common offset from cancelling.

**Error bound.** A float64 key differs from the key of the true distance by at most ``slack``:
``u (2 d + 64) s``, with u = 2^-53 and s the scale of the terms (``(|u| + max|w|)^2`` for Euclidean
metrics, ``|u| max|w|`` for the others). It adds up the rounding of the inner product, whatever the
order of its sums, ``d u |u||w|`` (Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed.,
section 3.1), that of the norms and of centring, and that of `measure` itself. Two keys further
apart than their slacks are in the order of their true distances; nearer ones are measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["METRICS", "KeySpace", "Metric", "measure", "normalize_rows", "score", "tile_rows"]

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Metric = Literal["euclidean", "sqeuclidean", "cosine", "dot"]

METRICS: dict[str, str] = {
    "euclidean": "|a - x|",
    "sqeuclidean": "|a - x|^2 (FaceNet's)",
    "cosine": "1 - cos(a, x)",
    "dot": "-(a . x), never normalised",
}

_UNIT = 2.0**-53
_MEASURE_BYTES = 4 << 20
_TILE_BYTES, _LEAST_TILE, _MOST_TILE = 4 << 20, 1024, 4096


def normalize_rows(rows: NDArray[np.floating]) -> Float32:
    """Scale rows to unit L2 length, in float64, rounded once to float32.

    Parameters
    ----------
    rows : ndarray of shape (n, d)

    Returns
    -------
    ndarray of shape (n, d), dtype float32
        A zero row stays zero.
    """
    wide = np.ascontiguousarray(rows, dtype=np.float64)
    norms = _norms(wide)
    norms[norms == 0] = 1.0
    return (wide / norms[:, None]).astype(np.float32)


def _norms(wide: Float64) -> Float64:
    """Row norms as the definition has them: the square root of the float64 sum of squares."""
    norms: Float64 = np.sqrt((wide * wide).sum(-1))
    return norms


def measure(metric: Metric, anchors: Float32, rows: Float32) -> Float64:
    """Return the true distances of anchors and rows, pair by pair.

    Parameters
    ----------
    metric : str
        A key of `METRICS`.
    anchors : ndarray of shape (k, d) or (1, d), dtype float32
        One anchor a row, or one for all rows.
    rows : ndarray of shape (k, d), dtype float32

    Returns
    -------
    ndarray of shape (k,), dtype float64
        Each value is that of NumPy's float64 expression over the two C-contiguous rows; it does
        not depend on which other pairs are measured in the same call.
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
    """Return rows in float64, C-contiguous: NumPy's sum over a row hangs on its layout."""
    return np.ascontiguousarray(rows, dtype=np.float64)


def _measure(metric: Metric, left: Float64, right: Float64) -> Float64:
    if metric in ("euclidean", "sqeuclidean"):
        squared: Float64 = ((left - right) ** 2).sum(-1)
        return np.sqrt(squared) if metric == "euclidean" else squared
    inner: Float64 = (left * right).sum(-1)
    if metric == "dot":
        return -inner
    norms = _norms(left) * _norms(right)
    safe = np.where(norms == 0, 1.0, norms)
    return np.where(norms == 0, 1.0, 1.0 - inner / safe)


def score(metric: Metric, normalized: bool, distances: Float64) -> Float64:
    """Return the similarity scores of true distances: larger is closer.

    The cosine where the metric knows it: ``1 - d`` for ``cosine``, and of unit vectors
    ``1 - d^2 / 2`` for ``euclidean`` and ``1 - d / 2`` for ``sqeuclidean``. The inner product
    ``-d`` for ``dot``, and ``-d`` for Euclidean distances of vectors that are not unit.

    Parameters
    ----------
    metric : str
    normalized : bool
        Whether the stored vectors have unit length.
    distances : ndarray of float64

    Returns
    -------
    ndarray of float64
        In float64 too it never grows with the distance: each step of it is monotone.
    """
    if metric == "cosine":
        return 1.0 - distances
    if metric == "dot" or not normalized:
        return -distances
    squared = distances * distances if metric == "euclidean" else distances
    return 1.0 - squared / 2.0


def tile_rows(dim: int) -> int:
    """Return how many rows of so many dimensions are made ready at once: a power of two."""
    fits = _TILE_BYTES // (8 * max(1, dim))
    return min(max(1 << max(0, fits.bit_length() - 1), _LEAST_TILE), _MOST_TILE)


@dataclass(frozen=True, slots=True)
class KeySpace:
    """How one metric's keys are computed from stored rows, and turned into distances.

    Parameters
    ----------
    metric : str
    center : ndarray of shape (d,), dtype float64
        Taken away from every vector by the Euclidean metrics; zero for the others.
    reach : float
        The greatest length of a prepared row; part of the error bound.
    """

    metric: Metric
    center: Float64
    reach: float

    @classmethod
    def fit(cls, metric: Metric, rows: Float32) -> KeySpace:
        """Find the centre and the greatest length of all rows, a chunk at a time.

        The centre only has to be near the data: results do not depend on its value.
        """
        count, dim = rows.shape
        center, chunk = np.zeros(dim), tile_rows(dim)
        if metric in ("euclidean", "sqeuclidean"):
            for start in range(0, count, chunk):
                center += rows[start : start + chunk].sum(axis=0, dtype=np.float64)
            center /= max(1, count)
        space = cls(metric, center, 0.0)
        reach = 0.0
        for start in range(0, count, chunk):
            lengths = _norms(space.prepare(rows[start : start + chunk]))
            reach = max(reach, float(lengths.max(initial=0.0)))
        return cls(metric, center, reach)

    @property
    def euclidean(self) -> bool:
        """Whether the key holds half the squared length of the row."""
        return self.metric in ("euclidean", "sqeuclidean")

    def prepare(self, rows: Float32) -> Float64:
        """Return the float64 vectors whose inner products make the keys, shape (n, d)."""
        wide = rows.astype(np.float64)
        if self.euclidean:
            wide -= self.center
        elif self.metric == "cosine":
            norms = _norms(wide)
            norms[norms == 0] = 1.0
            wide /= norms[:, None]
        return wide

    def bias(self, prepared: Float64) -> Float64:
        """Return what a row adds to its keys, shape (n,)."""
        if self.euclidean:
            half: Float64 = (prepared * prepared).sum(-1) / 2
            return half
        return np.zeros(len(prepared))

    def offset(self, prepared: Float64) -> Float64:
        """Return per anchor what turns a key into a distance (see `distance`), shape (b,)."""
        if self.euclidean:
            squares: Float64 = (prepared * prepared).sum(-1)
            return squares
        return np.full(len(prepared), 1.0 if self.metric == "cosine" else 0.0)

    @property
    def slope(self) -> float:
        """The factor of the key in ``offset + slope * key``."""
        return 2.0 if self.euclidean else 1.0

    @property
    def root(self) -> bool:
        """Whether the distance is the square root of ``offset + slope * key``."""
        return self.metric == "euclidean"

    def distance(self, keys: Float64, offset: Float64) -> Float64:
        """Turn keys into (approximate) distances, elementwise."""
        value = offset + self.slope * keys
        return np.sqrt(np.maximum(value, 0.0)) if self.root else value

    def key(self, distances: Float64, offset: Float64) -> Float64:
        """Turn distances into keys, elementwise: the inverse of `distance`."""
        value = distances * distances if self.root else distances
        return (value - offset) / self.slope

    def key_at(self, scores: Float64, normalized: bool, offset: Float64) -> Float64:
        """Turn scores into keys, elementwise: the inverse of `score` of `distance`.

        A score that no distance has, because it is too high, has a key below that of distance 0.
        """
        if self.metric == "cosine":
            value = 1.0 - scores
        elif self.metric == "dot" or not normalized:
            with np.errstate(over="ignore"):  # a score beyond all has an infinite key
                value = -scores * np.abs(scores) if self.root else -scores
        else:
            value = 2.0 * (1.0 - scores)
        return (value - offset) / self.slope

    def slack(self, prepared: Float64) -> Float64:
        """Bound per anchor how far a key can be from the true one, shape (b,), float64."""
        lengths = _norms(prepared)
        scale = (lengths + self.reach) ** 2 if self.euclidean else lengths * self.reach
        bound: Float64 = _UNIT * (2 * prepared.shape[1] + 64) * scale
        return bound
