"""The three tables of PyLate (1.6) for knowledge distillation: ids with scores, queries, documents.

Its collator needs lists of one length, so that each pair has the same number of negatives.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from miner.training.exports.groups import Wish
from miner.training.exports.triplets import Block

__all__ = ["tables"]


def tables(block: Block, wish: Wish) -> tuple[Any, Any, Any]:
    """Return a row for each pair of an anchor and a positive, the queries and the new documents."""
    pairs = wish.full(wish.distinct(block))
    lists, both, first = pairs.led(block), block.both, pairs.firsts
    ids = block.ids["anchor"].take(pa.array(first))
    train = {
        "query_id": ids,
        "document_ids": lists.lists(both.ids.take(pa.array(lists.rows))),
        "scores": lists.lists(both.scores[lists.rows]),
    }
    _, once = np.unique(block.anchors[first], return_index=True)
    queries = {
        "query_id": ids.take(pa.array(once)),
        "text": block.anchors_shown(first[once]),
    }
    names, texts = wish.new_documents(block, lists.rows)
    return (
        pa.RecordBatch.from_pydict(train),
        pa.RecordBatch.from_pydict(queries),
        pa.RecordBatch.from_pydict({"document_id": names, "text": texts}),
    )
