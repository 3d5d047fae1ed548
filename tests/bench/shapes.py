"""Data of the benchmarks, made from a seed: clusters on the unit sphere with the width of a shape.

The data is made in slices, so that making it does not increase the peak memory of a benchmark.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from miner.triplets.distance import normalize_rows

_SLICE = 4096


@dataclass(frozen=True)
class Shape:
    """Vectors with either labels or links, which define the positives.

    Attributes
    ----------
    anchors, rows : ndarray of float32
        The same array for labelled items.
    labels : ndarray of int64, or None
        Labels of the rows.
    links : ndarray of shape (n, 2), int64, or None
        Pairs of query and document.
    """

    anchors: np.ndarray
    rows: np.ndarray
    labels: np.ndarray | None = None
    links: np.ndarray | None = None

    def positive(self, anchor: int) -> np.ndarray:
        """Return the mask of an anchor's positives."""
        if self.labels is not None:
            mask = self.labels == self.labels[anchor]
            mask[anchor] = False
            return np.asarray(mask)
        assert self.links is not None
        mask = np.zeros(len(self.rows), dtype=bool)
        mask[self.links[self.links[:, 0] == anchor, 1]] = True
        return mask

    def negative(self, anchor: int) -> np.ndarray:
        """Return the mask of an anchor's negatives."""
        mask = ~self.positive(anchor)
        if self.labels is not None:
            mask[anchor] = False
        return mask


def clusters(
    rng: np.random.Generator,
    labels: np.ndarray,
    centers: np.ndarray,
    wide: tuple[float, float] = (1.0, 1.0),
    positive: bool = False,
) -> np.ndarray:
    """Return unit vectors around their labels' centres: ``wide[0]`` centre, ``wide[1]`` noise."""
    vectors = np.empty((len(labels), centers.shape[1]), np.float32)
    for start in range(0, len(labels), _SLICE):
        part = slice(start, start + _SLICE)
        mine = labels[part]
        drawn = wide[0] * centers[mine] + wide[1] * rng.standard_normal((len(mine), len(centers.T)))
        vectors[part] = normalize_rows(np.abs(drawn) if positive else drawn)
    return vectors


def labelled(vectors: np.ndarray, labels: np.ndarray) -> Shape:
    """Return a shape of labelled items."""
    return Shape(vectors, vectors, labels=labels.astype(np.int64))


def mnist(rows: int = 10_000, dim: int = 784, classes: int = 10) -> Shape:
    """Return overlapping clusters in the positive orthant, like pixels."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, rows)
    centers = rng.standard_normal((classes, dim))
    return labelled(clusters(rng, labels, centers, (0.6, 1.0), positive=True), labels)


def even(classes: int, noise: float, rows: int = 50_000, dim: int = 128) -> Shape:
    """Return classes of equal size, in random order."""
    rng = np.random.default_rng(1)
    labels = rng.permutation(np.arange(rows) % classes)
    centers = rng.standard_normal((classes, dim))
    return labelled(clusters(rng, labels, centers, (1.0, noise)), labels)


def skewed(rows: int = 110_000, dim: int = 256) -> Shape:
    """Return 1,900 classes of 110,000 rows by a power law; the largest has 3 % of all rows."""
    rng = np.random.default_rng(2)
    sizes = zipf_sizes(rows, classes=max(2, rows * 1_900 // 110_000), largest=rows * 3 // 100)
    labels = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    centers = rng.standard_normal((len(sizes), dim))
    return labelled(clusters(rng, labels, centers, (1.0, 1.5)), labels)


def zipf_sizes(rows: int, classes: int, largest: int) -> np.ndarray:
    """Return class sizes ``largest / rank^s``, at least 2, with s such that they sum to `rows`."""
    ranks = np.arange(1.0, classes + 1)
    low, high = 0.0, 3.0
    for _ in range(60):
        power = (low + high) / 2
        sizes = np.maximum(2, (largest * ranks**-power).astype(np.int64))
        low, high = (power, high) if sizes.sum() > rows else (low, power)
    each, more = divmod(int(rows - sizes.sum()), classes - 1)  # the rest from rounding down
    sizes[1:] += each
    sizes[1 : 1 + more] += 1
    assert sizes.sum() == rows
    return sizes


def pairs(queries: int = 20_000, dim: int = 256) -> Shape:
    """Return queries with 1 to 3 positives each among the 59 documents of their cluster."""
    rng = np.random.default_rng(3)
    topics = queries // 10
    documents = 59 * topics
    centers = rng.standard_normal((topics, dim))
    topic = rng.permutation(np.arange(documents) % topics)
    asked = rng.integers(0, topics, queries)
    members = np.argsort(topic, kind="stable").reshape(topics, -1)
    counts = rng.integers(1, 4, queries)
    linked = [
        np.sort(rng.choice(members[t], n, replace=False))
        for t, n in zip(asked, counts, strict=True)
    ]
    links = np.column_stack([np.repeat(np.arange(queries), counts), np.concatenate(linked)])
    asking = clusters(rng, asked, centers)
    return Shape(asking, clusters(rng, topic, centers), links=links)


SHAPES: dict[str, tuple[str, Callable[..., Shape]]] = {
    "mnist": ("10,000 x 784 in 10 classes", mnist),
    "tight": (
        "50,000 x 128, 5,000 classes of 10, far apart",
        lambda rows=50_000: even(rows // 10, 0.8, rows),
    ),
    "loose": (
        "50,000 x 128, 5,000 classes of 10, overlapping",
        lambda rows=50_000: even(rows // 10, 2.0, rows),
    ),
    "ten": ("50,000 x 128 in 10 classes, overlapping", lambda rows=50_000: even(10, 2.0, rows)),
    "skewed": ("110,000 x 256, 1,900 classes, the largest 3,300", skewed),
    "pairs": ("20,000 queries x 118,000 documents x 256, 1 to 3 positives", pairs),
    "ten30": ("30,000 x 128 in 10 classes, overlapping", lambda rows=30_000: even(10, 2.0, rows)),
    "loose30": (
        "30,000 x 128, 3,000 classes of 10, overlapping",
        lambda rows=30_000: even(rows // 10, 2.0, rows),
    ),
}
"""Description and function of each shape; the function takes the number of rows (queries)."""
