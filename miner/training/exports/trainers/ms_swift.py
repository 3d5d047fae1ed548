"""The lines of ms-swift (4.6) for InfoNCE: an anchor, one positive and its negatives as messages.

It takes exactly one positive, so that there is a line for each pair.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from miner.training.exports.groups import Groups, Wish
from miner.training.exports.triplets import Block

__all__ = ["lines"]


def lines(block: Block, wish: Wish) -> tuple[Any]:
    """Return a row for each pair of an anchor and a positive."""
    pairs = wish.nearest(wish.distinct(block))
    first = pairs.firsts
    one = Groups(first, np.arange(len(first) + 1))
    columns = {
        "messages": _messages(block.anchors_shown(first)),
        "positive_messages": one.lists(_messages(block.passages_shown(block.positives[first]))),
        "negative_messages": pairs.lists(
            _messages(block.passages_shown(block.negatives[pairs.rows]))
        ),
    }
    return (pa.RecordBatch.from_pydict(columns),)


def _messages(texts: Any) -> Any:
    """Return a list with one message of the user for each text."""
    user = pa.DictionaryArray.from_arrays(np.zeros(len(texts), dtype=np.int32), pa.array(["user"]))
    messages = pa.StructArray.from_arrays([user, texts], ["role", "content"])
    return pa.ListArray.from_arrays(pa.array(np.arange(len(texts) + 1), pa.int32()), messages)
