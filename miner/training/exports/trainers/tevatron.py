"""The lines of Tevatron: a query with the texts of its positives and negatives.

Its versions 1 and 2 read them. With a `title`, they would put it and a space before the text, so
that there is none; version 2 distils the scores.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from miner.training.exports.groups import Groups, Wish
from miner.training.exports.triplets import Block, Codes

__all__ = ["lines"]


def lines(block: Block, wish: Wish) -> tuple[Any]:
    """Return a row for each anchor."""
    positives, negatives = wish.sides(block)
    first = positives.firsts
    columns = {
        "query_id": block.ids["anchor"].take(pa.array(first)),
        "query": block.anchors_shown(first),
        "positive_passages": _passages(block, "positive", block.positives, positives),
        "negative_passages": _passages(block, "negative", block.negatives, negatives),
    }
    return (pa.RecordBatch.from_pydict(columns),)


def _passages(block: Block, role: str, codes: Codes, groups: Groups) -> Any:
    fields = {
        "docid": block.ids[role].take(pa.array(groups.rows)),
        "text": block.passages_shown(codes[groups.rows]),
    }
    if block.scores:
        fields["score"] = pa.array(block.scores[role][groups.rows])
    return groups.lists(pa.StructArray.from_arrays([*fields.values()], [*fields]))
