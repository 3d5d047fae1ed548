"""The formats of sentence-transformers.

Each passage of an anchor or of a pair occurs once, sorted by distance. All formats except ``pair``
and ``msmarco-ids`` have the columns of `sentence_transformers.util.mine_hard_negatives` (6.2), in
the same order, with and without scores. That function takes the names of the first two columns
from its input, so that its labelled formats have negatives in a column named after the positives;
here the column is ``passage`` or ``passages``. Trainers use the order of the columns, and only the
names ``label``, ``labels``, ``score`` and ``scores``. ``msmarco-ids`` has the columns of their data
set ``sentence-transformers/msmarco``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from miner.training.exports.groups import Groups, Wish
from miner.training.exports.triplets import Block

__all__ = ["MAKERS"]


def _triplets(block: Block, wish: Wish) -> tuple[Any]:
    rows = wish.nearest(wish.distinct(block)).rows
    columns = {
        "anchor": block.anchors_shown(rows),
        "positive": block.passages_shown(block.positives[rows]),
        "negative": block.passages_shown(block.negatives[rows]),
    }
    if block.scores:
        both = np.stack([scores[rows] for scores in block.scores.values()], axis=1)
        two = Groups(rows, np.arange(len(rows) + 1) * 2)
        columns["scores"] = two.lists(both.ravel())
    return (pa.RecordBatch.from_pydict(columns),)


def _tuples(block: Block, wish: Wish) -> tuple[Any]:
    pairs = wish.full(wish.distinct(block))
    assert wish.negatives is not None
    grid = pairs.rows.reshape(-1, wish.negatives)
    columns = {
        "anchor": block.anchors_shown(grid[:, 0]),
        "positive": block.passages_shown(block.positives[grid[:, 0]]),
    }
    for number, rows in enumerate(grid.T, start=1):
        columns[f"negative_{number}"] = block.passages_shown(block.negatives[rows])
    if block.scores:
        lists = pairs.led(block)
        columns["scores"] = lists.lists(block.both.scores[lists.rows])
    return (pa.RecordBatch.from_pydict(columns),)


def _lists(block: Block, wish: Wish) -> tuple[Any]:
    distinct = wish.distinct(block)
    pairs = wish.nearest(distinct) if wish.ragged else wish.full(distinct)
    lists, both = pairs.led(block), block.both
    columns = {
        "anchor": block.anchors_shown(pairs.firsts),
        "passages": lists.lists(block.passages_shown(both.codes[lists.rows])),
    }
    if block.scores:
        columns["scores"] = lists.lists(both.scores[lists.rows])
    else:
        labels = (lists.rows < len(block.anchors)).astype(np.int64)
        columns["labels"] = lists.lists(labels)
    return (pa.RecordBatch.from_pydict(columns),)


def _labelled_pairs(block: Block, wish: Wish, other: str, label: type[np.generic]) -> tuple[Any]:
    """Return pairs of an anchor and a passage: for each anchor its positives, then its negatives.

    Both are sorted by distance, and each passage occurs once for an anchor. To balance, an anchor
    keeps the same number of both, the nearest ones.
    """
    positives, negatives = wish.sides(block)
    if wish.balance:
        fewer = np.minimum(positives.sizes, negatives.sizes)
        for reason, groups in (("positives", positives), ("negatives", negatives)):
            wish.left_out[f"{reason}_to_balance"] += int((groups.sizes - fewer).sum())
        positives, negatives = positives.first(fewer), negatives.first(fewer)
    wish.positives += len(positives.rows)
    rows = np.concatenate([positives.rows, negatives.rows])
    order = np.argsort(block.anchors[rows], kind="stable")
    both, places = block.both, np.concatenate([positives.rows, len(block.anchors) + negatives.rows])
    columns = {
        "anchor": block.anchors_shown(rows[order]),
        other: block.passages_shown(both.codes[places[order]]),
    }
    if block.scores:
        columns["score"] = pa.array(both.scores[places[order]])
    else:
        columns["label"] = pa.array((places[order] < len(block.anchors)).astype(label))
    return (pa.RecordBatch.from_pydict(columns),)


def _ids(block: Block, wish: Wish) -> tuple[Any]:
    """Return the ids of each triplet, with the difference of its scores."""
    rows = wish.nearest(wish.distinct(block)).rows
    columns = {
        "query_id": block.anchors_shown(rows),
        "positive_id": block.passages_shown(block.positives[rows]),
        "negative_id": block.passages_shown(block.negatives[rows]),
    }
    if block.scores:
        columns["score"] = pa.array(block.scores["positive"][rows] - block.scores["negative"][rows])
    return (pa.RecordBatch.from_pydict(columns),)


MAKERS: dict[str, Callable[[Block, Wish], tuple[Any]]] = {
    "triplet": _triplets,
    "n-tuple": _tuples,
    "labeled-pair": partial(_labelled_pairs, other="passage", label=np.int64),
    "labeled-list": _lists,
    "pair": partial(_labelled_pairs, other="other", label=np.float32),
    "msmarco-ids": _ids,
}
