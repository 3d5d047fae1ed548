"""The truth, written the stupid way: three loops over float64 distances of single pairs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from miner.triplets.relevance import Relevance


def distance(metric: str, a: np.ndarray, x: np.ndarray) -> float:
    """The definition for one pair of stored rows."""
    left, right = a.astype(np.float64), x.astype(np.float64)
    if metric == "sqeuclidean":
        return float(((left - right) ** 2).sum(-1))
    if metric == "euclidean":
        return float(np.sqrt(((left - right) ** 2).sum(-1)))
    if metric == "dot":
        return float(-(left * right).sum(-1))
    norms = float(np.sqrt((left * left).sum(-1)) * np.sqrt((right * right).sum(-1)))
    return 1.0 if norms == 0 else float(1 - (left * right).sum(-1) / norms)


@dataclass
class Truth:
    """Counts per anchor, and the sets of (anchor, positive, negative) rows."""

    easy: dict[int, int] = field(default_factory=dict)
    semi_hard: dict[int, int] = field(default_factory=dict)
    hard: dict[int, int] = field(default_factory=dict)
    loss: float = 0.0
    sets: dict[str, set[tuple[int, int, int]]] = field(
        default_factory=lambda: {"semi_hard": set(), "hard": set()}
    )
    d: dict[tuple[int, int], float] = field(default_factory=dict)


def negatives(relevance: Relevance, anchor: int) -> Iterator[int]:
    """Rows that are neither positives nor hidden."""
    no = {*relevance.positives(anchor).tolist(), *relevance.hidden(anchor).tolist()}
    return (row for row in range(relevance.rows) if row not in no)


def enumerate_triplets(
    metric: str, margin: float, anchors: np.ndarray, rows: np.ndarray, relevance: Relevance
) -> Truth:
    """Classify every valid triplet, one by one."""
    truth = Truth()
    for a in range(relevance.anchors):
        d = [distance(metric, anchors[a], row) for row in rows]
        truth.d.update({(a, row): value for row, value in enumerate(d)})
        counts = {"easy": 0, "semi_hard": 0, "hard": 0}
        for p in relevance.positives(a).tolist():
            for n in negatives(relevance, a):
                if d[n] <= d[p]:
                    name = "hard"
                elif d[n] < d[p] + margin:
                    name = "semi_hard"
                else:
                    name = "easy"
                counts[name] += 1
                if name != "easy":
                    truth.sets[name].add((a, p, n))
                    truth.loss += margin + d[p] - d[n]
        truth.easy[a], truth.semi_hard[a], truth.hard[a] = counts.values()
    return truth
