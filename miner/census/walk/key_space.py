"""Sort keys of the counting pass, and the vectors that they are computed from.

**Key.** For a fixed anchor every metric is an increasing function of one number per row, the key: a
term that depends on the row alone, minus an inner product. A block of keys is one matrix product.
With u and w the prepared vectors of the anchor and of the row, ``key = |w|^2 / 2 - u.w`` for the
Euclidean metrics (so that ``distance^2 = |u|^2 + 2 key``), and ``key = -u.w`` for the others. For
the Euclidean metrics a common centre is subtracted from all vectors first. This changes no
distance, and a large common offset then does not cancel.

**Error bound.** A float64 key differs from the key of the true distance by at most `key_error`,
which is ``u (2 d + 64) s``, with u = 2^-53, d the number of dimensions and s the scale of the terms
(``(|u| + max|w|)^2`` for the Euclidean metrics, ``|u| max|w|`` for the others). The bound covers
the rounding of the inner product in any order of summation, ``d u |u||w|`` (Higham, Accuracy and
Stability of Numerical Algorithms, 2nd ed., section 3.1), the rounding of the norms and of the
centring, and the rounding of `triplets.distance.measure` itself. Two keys that differ by more than
the sum of their errors have the order of their true distances. The distances of nearer keys are
measured.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from miner.triplets.distance import UNIT_ROUNDOFF, Metric, row_norms
from miner.triplets.types import Float32, Float64

__all__ = ["KeySpace", "tile_rows"]

_TILE_BYTES, _LEAST_TILE, _MOST_TILE = 4 << 20, 1024, 4096


def tile_rows(dim: int) -> int:
    """Return the number of rows of `dim` dimensions to prepare at once, a power of two."""
    fits = _TILE_BYTES // (8 * max(1, dim))
    return min(max(1 << max(0, fits.bit_length() - 1), _LEAST_TILE), _MOST_TILE)


@dataclass(frozen=True, slots=True)
class KeySpace:
    """How the keys of one metric are computed from stored rows, and turned into distances.

    Parameters
    ----------
    metric : str
    center : ndarray of shape (d,), dtype float64
        Subtracted from every vector by the Euclidean metrics; zero for the others.
    max_norm : float
        The greatest norm of a prepared row; part of the error bound.
    largest : float or None
        The greatest absolute value in the vectors if all values are integers, else None. Keys of
        small integers, and the distances computed from them, equal the definition to the last bit.
    """

    metric: Metric
    center: Float64
    max_norm: float
    largest: float | None = None

    @classmethod
    def fit(cls, metric: Metric, rows: Float32, anchors: Float32) -> KeySpace:
        """Find the centre and the greatest norm of all rows, one chunk at a time.

        The centre only has to be near the data: results do not depend on its value.
        """
        largest = _largest(rows) if metric != "cosine" else None
        if largest is not None and anchors is not rows:
            other = _largest(anchors)
            largest = None if other is None else max(largest, other)
        count, dim = rows.shape
        center, chunk = np.zeros(dim), tile_rows(dim)
        if metric in ("euclidean", "sqeuclidean"):
            for start in range(0, count, chunk):
                center += rows[start : start + chunk].sum(axis=0, dtype=np.float64)
            center /= max(1, count)
            center = center if largest is None else np.rint(center)
        space = cls(metric, center, 0.0)
        max_norm = 0.0
        for start in range(0, count, chunk):
            lengths = row_norms(space.prepare(rows[start : start + chunk]))
            max_norm = max(max_norm, float(lengths.max(initial=0.0)))
        return cls(metric, center, max_norm, largest)

    def exact(self, dim: int, bits: int) -> bool:
        """Whether keys of `dim` dimensions are exact and leave `bits` bits of a float64 unused."""
        if self.largest is None:
            return False
        return dim * (4 * self.largest + 1) ** 2 < 2.0 ** (51 - bits)

    @property
    def euclidean(self) -> bool:
        """Whether the key contains half the squared norm of the row."""
        return self.metric in ("euclidean", "sqeuclidean")

    def prepare(self, rows: Float32) -> Float64:
        """Return the float64 vectors whose inner products make the keys, shape (n, d)."""
        wide = rows.astype(np.float64)
        if self.euclidean:
            wide -= self.center
        elif self.metric == "cosine":
            norms = row_norms(wide)
            norms[norms == 0] = 1.0
            wide /= norms[:, None]
        return wide

    def bias(self, prepared: Float64) -> Float64:
        """Return the term that each row adds to its keys, shape (n,)."""
        if self.euclidean:
            half: Float64 = (prepared * prepared).sum(-1) / 2
            return half
        return np.zeros(len(prepared))

    def offset(self, prepared: Float64) -> Float64:
        """Return the offset of each anchor that `distance` needs, shape (b,)."""
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
        """Return the (approximate) distances of keys, elementwise."""
        value = offset + self.slope * keys
        return np.sqrt(np.maximum(value, 0.0)) if self.root else value

    def key(self, distances: Float64, offset: Float64) -> Float64:
        """Return the keys of distances, elementwise: the inverse of `distance`."""
        value = distances * distances if self.root else distances
        return (value - offset) / self.slope

    def key_at(self, scores: Float64, normalized: bool, offset: Float64) -> Float64:
        """Return the keys of similarity scores: the inverse of `miner.triplets.distance.score`.

        A score that is higher than any distance allows has a key below the key of distance 0.
        """
        if self.metric == "cosine":
            value = 1.0 - scores
        elif self.metric == "dot" or not normalized:
            with np.errstate(over="ignore"):  # the key of a huge score is infinite
                value = -scores * np.abs(scores) if self.root else -scores
        else:
            value = 2.0 * (1.0 - scores)
        return (value - offset) / self.slope

    def key_error(self, prepared: Float64) -> Float64:
        """Return a bound on the error of each anchor's keys, shape (b,), float64."""
        lengths = row_norms(prepared)
        scale = (lengths + self.max_norm) ** 2 if self.euclidean else lengths * self.max_norm
        bound: Float64 = UNIT_ROUNDOFF * (2 * prepared.shape[1] + 64) * scale
        return bound


def _largest(rows: Float32) -> float | None:
    """Return the greatest absolute value of the rows, or None if a value is not an integer."""
    largest, chunk = 0.0, tile_rows(rows.shape[1])
    for start in range(0, len(rows), chunk):
        part = rows[start : start + chunk]
        if (part != np.rint(part)).any():
            return None
        largest = max(largest, float(np.abs(part).max(initial=0.0)))
    return largest
