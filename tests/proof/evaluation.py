"""Recall@1 and MAP@R, by section 3.2 of Musgrave et al. 2020, "A Metric Learning Reality Check"."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Scores", "evaluate"]

_BLOCK = 512


@dataclass(frozen=True)
class Scores:
    """Mean scores over all queries that have another item of their class."""

    recall_at_1: float
    map_at_r: float


def evaluate(vectors: np.ndarray, labels: np.ndarray) -> Scores:
    """Rank all other items for each item, by the inner product of unit vectors.

    For a query with R relevant items, MAP@R is the mean over the ranks i = 1 to R of the precision
    at i if the i-th item is relevant, and of 0 otherwise.
    """
    unit = vectors.astype(np.float64)
    unit /= np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-300)
    first, average = [], []
    for start in range(0, len(unit), _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, len(unit)))
        near = -(unit[rows] @ unit.T)
        near[np.arange(len(rows)), rows] = np.inf  # the query itself comes last and never counts
        relevant = (labels[rows, None] == labels).sum(1) - 1
        order = _nearest(near, max(int(relevant.max()), 1))
        hit = labels[order] == labels[rows, None]
        ranks = np.arange(1, hit.shape[1] + 1)
        counted = hit & (ranks <= relevant[:, None])
        precision = np.cumsum(hit, axis=1) / ranks
        some = relevant > 0
        first.append(hit[some, 0])
        average.append((precision * counted).sum(1)[some] / relevant[some])
    return Scores(float(np.concatenate(first).mean()), float(np.concatenate(average).mean()))


def _nearest(distances: np.ndarray, count: int) -> np.ndarray:
    """Return the indices of each row's `count` smallest values, in ascending order."""
    if count < distances.shape[1]:
        places = np.argpartition(distances, count - 1, axis=1)[:, :count]
    else:
        places = np.broadcast_to(np.arange(distances.shape[1]), distances.shape)
    order = np.argsort(np.take_along_axis(distances, places, axis=1), axis=1, kind="stable")
    return np.take_along_axis(places, order, axis=1)
