"""How often the nearest row of an anchor is a positive, measured with an index."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from miner.triplets.relevance import Relevance
from miner.triplets.types import Float32

__all__ = ["Searched", "nearest_share"]

_SAMPLE = 1000
_DEPTH = 64


class Searched(Protocol):
    """An object that finds nearest rows."""

    def search(self, queries: Float32, k: int) -> NDArray[np.int64]:
        """Return the row numbers of the k nearest rows, nearest first, shape (q, k)."""


def nearest_share(
    index: Searched, anchors: Float32, relevance: Relevance, seed: int
) -> dict[str, Any]:
    """Return how often the nearest row that is not hidden is a positive, for a sample of anchors.

    This is recall@1 of the embedding for this relevance. Near 1 means that the model separates
    these classes; near the share of positives among all rows means that it does not.

    Returns
    -------
    dict
        ``anchors``: the size of the sample; ``positive``: the share whose nearest row is a positive
        (None if no anchor has a positive).
    """
    chosen = np.flatnonzero(relevance.positive_counts > 0)
    if len(chosen) > _SAMPLE:
        rng = np.random.default_rng(seed)
        chosen = np.sort(rng.choice(chosen, _SAMPLE, replace=False))
    if not len(chosen):
        return {"anchors": 0, "positive": None}
    depth = min(_DEPTH, relevance.rows)
    found = index.search(np.asarray(anchors[chosen]), depth)
    hits = [_hit(relevance, int(a), rows) for a, rows in zip(chosen, found, strict=True)]
    return {"anchors": len(chosen), "positive": round(sum(hits) / len(hits), 4)}


def _hit(relevance: Relevance, anchor: int, rows: NDArray[np.int64]) -> bool:
    """Whether the first row that is not hidden is a positive."""
    seen = rows[~np.isin(rows, relevance.hidden(anchor)) & (rows >= 0)]
    return bool(len(seen)) and bool(np.isin(seen[0], relevance.positives(anchor)))
