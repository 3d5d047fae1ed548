"""The lines of FlagEmbedding (1.4): a query with all its positives and negatives, and their scores.

It draws one positive and some negatives of a line, and takes the scores for knowledge distillation.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from miner.training.exports.groups import Wish
from miner.training.exports.triplets import Block

__all__ = ["lines"]


def lines(block: Block, wish: Wish) -> tuple[Any]:
    """Return a row for each anchor."""
    positives, negatives = wish.sides(block)
    columns = {
        "query": block.anchors_shown(positives.firsts),
        "pos": positives.lists(block.passages_shown(block.positives[positives.rows])),
        "neg": negatives.lists(block.passages_shown(block.negatives[negatives.rows])),
    }
    if block.scores:
        columns["pos_scores"] = positives.lists(block.scores["positive"][positives.rows])
        columns["neg_scores"] = negatives.lists(block.scores["negative"][negatives.rows])
    return (pa.RecordBatch.from_pydict(columns),)
