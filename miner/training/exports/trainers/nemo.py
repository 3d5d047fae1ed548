"""The files of NeMo Automodel (0.7): questions with the ids of documents, and the documents.

It draws one positive and some negatives of a question. Its loader passes over scores, which its
own mining of hard negatives writes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from miner.training.exports.groups import Groups, Wish
from miner.training.exports.triplets import Block

__all__ = ["tables"]


def tables(block: Block, wish: Wish) -> tuple[Any, Any]:
    """Return a row for each anchor, and the new documents."""
    positives, negatives = wish.sides(block)
    first = positives.firsts
    ids = block.ids["anchor"].take(pa.array(first))
    columns = {
        "question_id": ids,
        "question": block.anchors_shown(first),
        "corpus_id": pa.array([wish.corpus_id] * len(first), pa.string()),
        "pos_doc": _documents(block, "positive", positives),
        "neg_doc": _documents(block, "negative", negatives),
    }
    rows = np.concatenate([positives.rows, len(block.anchors) + negatives.rows])
    names, texts = wish.new_documents(block, rows)
    return (
        pa.RecordBatch.from_pydict(columns),
        pa.RecordBatch.from_pydict({"id": names, "text": texts}),
    )


def _documents(block: Block, role: str, groups: Groups) -> Any:
    fields = {"id": block.ids[role].take(pa.array(groups.rows))}
    if block.scores:
        fields["score"] = pa.array(block.scores[role][groups.rows])
    return groups.lists(pa.StructArray.from_arrays([*fields.values()], [*fields]))
