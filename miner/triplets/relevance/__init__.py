"""Which rows are positives of an anchor, and which are neither positive nor negative (hidden).

Anchors and rows (the candidates) are numbered from 0. For labelled items the anchors are the rows,
or some of them (`AnchorSubset`). For pairs the anchors are the queries and the rows are the corpus.
All rows that are neither positives nor hidden are negatives of the anchor. Hidden are the anchor
itself, rows with the same content as the anchor or as one of its positives, and rows of the
anchor's group.
"""

from __future__ import annotations

from collections.abc import Mapping

from miner.triplets.relevance.base import (
    NONE,
    Buckets,
    Relevance,
    Tally,
    among,
    cut_sizes,
    ranges,
    tally,
)
from miner.triplets.relevance.labels import LabelRelevance
from miner.triplets.relevance.left_out import WithoutRows, anchor_rows
from miner.triplets.relevance.links import LinkRelevance
from miner.triplets.relevance.multilabel import MultiLabelRelevance
from miner.triplets.relevance.subset import AnchorSubset
from miner.triplets.types import Rows

__all__ = [
    "NONE",
    "AnchorSubset",
    "Buckets",
    "LabelRelevance",
    "LinkRelevance",
    "MultiLabelRelevance",
    "Relevance",
    "Tally",
    "WithoutRows",
    "among",
    "anchor_rows",
    "cut_sizes",
    "load",
    "ranges",
    "tally",
]


def load(arrays: Mapping[str, Rows]) -> Relevance:
    """Build a relevance from its ``arrays()``, whose names determine its kind."""
    if "rows_left_out" in arrays:
        inner = {name: array for name, array in arrays.items() if name != "rows_left_out"}
        return WithoutRows(load(inner), arrays["rows_left_out"])
    if "chosen" in arrays:
        inner = {name: array for name, array in arrays.items() if name != "chosen"}
        return AnchorSubset(load(inner), arrays["chosen"])
    if "labels" in arrays and "starts" in arrays:
        return MultiLabelRelevance(**arrays)
    if "labels" in arrays:
        return LabelRelevance(**arrays)
    return LinkRelevance(**arrays)
