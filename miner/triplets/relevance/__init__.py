"""Which rows are positives of an anchor, and which are neither positive nor negative (hidden).

Anchors and rows (the candidates) are numbered from 0. For labelled items the anchors are the rows,
or some of them (`AnchorSubset`). For pairs the anchors are the queries and the rows are the corpus.
All rows that are neither positives nor hidden are negatives of the anchor. Hidden are the anchor
itself, rows with the same content as the anchor or as one of its positives, rows of the anchor's
group, and rows that constraints do not allow.
"""

from __future__ import annotations

from collections.abc import Mapping

from miner.triplets.relevance.base import (
    NONE,
    REASONS,
    Buckets,
    Relevance,
    Tally,
    among,
    cut_sizes,
    ranges,
    tally,
)
from miner.triplets.relevance.constrained import (
    LATEST,
    Constrained,
    anchor_rows,
    unconstrained,
    without_pairs,
    without_rows,
)
from miner.triplets.relevance.labels import LabelRelevance
from miner.triplets.relevance.links import LinkRelevance
from miner.triplets.relevance.multilabel import MultiLabelRelevance
from miner.triplets.relevance.subset import AnchorSubset
from miner.triplets.types import Rows

__all__ = [
    "LATEST",
    "NONE",
    "REASONS",
    "AnchorSubset",
    "Buckets",
    "Constrained",
    "LabelRelevance",
    "LinkRelevance",
    "MultiLabelRelevance",
    "Relevance",
    "Tally",
    "among",
    "anchor_rows",
    "cut_sizes",
    "load",
    "ranges",
    "tally",
    "unconstrained",
    "without_pairs",
    "without_rows",
]


def load(arrays: Mapping[str, Rows]) -> Relevance:
    """Build a relevance from its ``arrays()``, whose names determine its kind."""
    if "within" in arrays:
        inner = {name: array for name, array in arrays.items() if name.startswith("inner_")}
        own = {name: array for name, array in arrays.items() if name not in inner}
        return Constrained(load({name[6:]: array for name, array in inner.items()}), **own)
    if "chosen" in arrays:
        inner = {name: array for name, array in arrays.items() if name != "chosen"}
        return AnchorSubset(load(inner), arrays["chosen"])
    if "labels" in arrays and "starts" in arrays:
        return MultiLabelRelevance(**arrays)
    if "labels" in arrays:
        return LabelRelevance(**arrays)
    return LinkRelevance(**arrays)
