"""Make the columns of an export from a block of triplets.

Each passage of an anchor or of a pair occurs once, sorted by distance. All formats except ``pair``
have the columns of `sentence_transformers.util.mine_hard_negatives` (6.2), in the same order. That
function takes the names of the first two columns from its input, so that its labelled formats have
negatives in a column named after the positives; here the column is ``passage`` or ``passages``.
Trainers use the order of the columns, and only the names ``label`` and ``labels``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from miner.training.exports.triplets import Block, Codes

__all__ = ["FORMATS", "Groups", "Wish", "written_batches"]

_SLICE_ROWS = 1 << 12
_SLICE_PASSAGES = 1 << 15


@dataclass(slots=True)
class Wish:
    """The options of an export, and counters that are filled while it is made.

    Attributes
    ----------
    negatives : int or None
        Negatives to take for each pair (for each anchor of labelled pairs); None for all.
    ragged : bool
        Whether pairs with fewer negatives are written.
    balance : bool
        Whether an anchor has as many positives as negatives.
    left_out : Counter
        The numbers of rows, negatives or pairs that were left out, by reason.
    positives : int
        The number of labelled pairs with label 1.
    """

    negatives: int | None = None
    ragged: bool = False
    balance: bool = False
    left_out: Counter[str] = field(default_factory=Counter)
    positives: int = 0

    def distinct(self, block: Block) -> Groups:
        """Return the distinct negatives of each pair; count the rows that repeat one."""
        pairs = negatives_of_pairs(block)
        self.left_out["repeated_triplets"] += len(block.anchors) - len(pairs.rows)
        return pairs

    def nearest(self, groups: Groups) -> Groups:
        """Keep the nearest negatives of each group; count the others."""
        if self.negatives is None:
            return groups
        kept = groups.first(self.negatives)
        self.left_out["farther_negatives"] += len(groups.rows) - len(kept.rows)
        return kept

    def full(self, pairs: Groups) -> Groups:
        """Keep the pairs that have enough negatives; count the others."""
        assert self.negatives is not None  # formats of fixed length have a default
        enough = pairs.sizes >= self.negatives
        self.left_out["pairs_with_too_few_negatives"] += int((~enough).sum())
        return self.nearest(pairs.chosen(enough))


def _triplets(block: Block, wish: Wish) -> Any:
    rows = wish.nearest(wish.distinct(block)).rows
    columns = {
        "anchor": block.anchors_shown(rows),
        "positive": block.passages_shown(block.positives[rows]),
        "negative": block.passages_shown(block.negatives[rows]),
    }
    return pa.RecordBatch.from_pydict(columns)


def _tuples(block: Block, wish: Wish) -> Any:
    pairs = wish.full(wish.distinct(block))
    assert wish.negatives is not None
    grid = pairs.rows.reshape(-1, wish.negatives)
    columns = {
        "anchor": block.anchors_shown(grid[:, 0]),
        "positive": block.passages_shown(block.positives[grid[:, 0]]),
    }
    for number, rows in enumerate(grid.T, start=1):
        columns[f"negative_{number}"] = block.passages_shown(block.negatives[rows])
    return pa.RecordBatch.from_pydict(columns)


def _lists(block: Block, wish: Wish) -> Any:
    distinct = wish.distinct(block)
    pairs = wish.nearest(distinct) if wish.ragged else wish.full(distinct)
    heads = pairs.starts[:-1]
    first = pairs.rows[heads]
    offsets = pa.array(pairs.starts + np.arange(len(pairs.starts)), pa.int32())
    passages = np.insert(block.negatives[pairs.rows], heads, block.positives[first])
    labels = np.insert(np.zeros(len(pairs.rows), dtype=np.int64), heads, 1)
    columns = {
        "anchor": block.anchors_shown(first),
        "passages": pa.ListArray.from_arrays(offsets, block.passages_shown(passages)),
        "labels": pa.ListArray.from_arrays(offsets, pa.array(labels)),
    }
    return pa.RecordBatch.from_pydict(columns)


def _labelled_pairs(block: Block, wish: Wish, other: str, label: type[np.generic]) -> Any:
    """Return pairs of an anchor and a passage: for each anchor its positives, then its negatives.

    Both are sorted by distance, and each passage occurs once for an anchor. To balance, an anchor
    keeps the same number of both, the nearest ones.
    """
    positives = nearest_distinct(block.anchors, block.positives, block.d_ap)
    every = nearest_distinct(block.anchors, block.negatives, block.d_an)
    negatives = wish.nearest(every)
    if wish.balance:
        fewer = np.minimum(positives.sizes, negatives.sizes)
        for reason, groups in (("positives", positives), ("negatives", negatives)):
            wish.left_out[f"{reason}_to_balance"] += int((groups.sizes - fewer).sum())
        positives, negatives = positives.first(fewer), negatives.first(fewer)
    wish.positives += len(positives.rows)
    rows = np.concatenate([positives.rows, negatives.rows])
    codes = np.concatenate([block.positives[positives.rows], block.negatives[negatives.rows]])
    labels = np.repeat(np.array([1, 0], dtype=label), [len(positives.rows), len(negatives.rows)])
    order = np.argsort(block.anchors[rows], kind="stable")
    columns = {
        "anchor": block.anchors_shown(rows[order]),
        other: block.passages_shown(codes[order]),
        "label": pa.array(labels[order]),
    }
    return pa.RecordBatch.from_pydict(columns)


FORMATS: dict[str, Callable[[Block, Wish], Any]] = {
    "triplet": _triplets,
    "n-tuple": _tuples,
    "labeled-pair": partial(_labelled_pairs, other="passage", label=np.int64),
    "labeled-list": _lists,
    "pair": partial(_labelled_pairs, other="other", label=np.float32),
}
"""Functions that make the rows of a block, as a record batch with dictionary-encoded values."""


def written_batches(rows: Any) -> Iterator[Any]:
    """Yield a format's rows in batches of bounded size, with dictionaries decoded."""
    plain = pa.schema([(field.name, _plain(field.type)) for field in rows.schema])
    lists = [column for column in rows.columns if pa.types.is_list(column.type)]
    widest = max([pc.max(pc.list_value_length(column)).as_py() or 1 for column in lists], default=1)
    step = max(1, min(_SLICE_ROWS, _SLICE_PASSAGES // widest))
    for start in range(0, max(len(rows), 1), step):
        yield rows.slice(start, step).cast(plain)


def _plain(kind: Any) -> Any:
    """Return a type without dictionaries."""
    if pa.types.is_list(kind):
        return pa.list_(_plain(kind.value_type))
    return kind.value_type if pa.types.is_dictionary(kind) else kind


@dataclass(frozen=True, slots=True)
class Groups:
    """Rows of a block, sorted by group.

    Attributes
    ----------
    rows : ndarray of int64
        The rows of all groups, one group after the other.
    starts : ndarray of shape (groups + 1,), int64
        Group g has ``rows[starts[g]:starts[g + 1]]``.
    """

    rows: Codes
    starts: Codes

    @property
    def sizes(self) -> Codes:
        """The number of rows in each group."""
        return np.diff(self.starts)

    def first(self, counts: Codes | int) -> Groups:
        """Keep the first `counts` rows of each group; an array has a count for each group."""
        kept = np.minimum(self.sizes, counts)
        places = np.arange(len(self.rows)) - np.repeat(self.starts[:-1], self.sizes)
        return Groups(self.rows[places < np.repeat(kept, self.sizes)], _starts(kept))

    def chosen(self, keep: NDArray[np.bool_]) -> Groups:
        """Keep some of the groups."""
        return Groups(self.rows[np.repeat(keep, self.sizes)], _starts(self.sizes[keep]))


def _starts(sizes: Codes) -> Codes:
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)


def nearest_distinct(groups: Codes, codes: Codes, distances: NDArray[np.float32]) -> Groups:
    """Return the nearest row of each code in each group, sorted by distance.

    Parameters
    ----------
    groups : ndarray of shape (rows,), int64
        The group of each row; groups are numbered from 0 without gaps.
    codes : ndarray of shape (rows,), int64
        The code of each row's passage; equal passages have equal codes.
    distances : ndarray of shape (rows,), float32
        Ties keep the order of the rows.
    """
    order = np.lexsort((distances, groups))
    keys = groups[order] * (codes.max(initial=0) + 1) + codes[order]
    _, first = np.unique(keys, return_index=True)
    rows = order[np.sort(first)]
    count = int(groups.max(initial=-1)) + 1
    return Groups(rows, np.searchsorted(groups[rows], np.arange(count + 1)).astype(np.int64))


def negatives_of_pairs(block: Block) -> Groups:
    """Return the distinct negatives of each pair (anchor, positive) of a block.

    Pairs are in the order of their first rows: by anchor, hard rows first.
    """
    keys = block.anchors * (block.positives.max(initial=0) + 1) + block.positives
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    number = np.empty(len(first), dtype=np.int64)
    number[np.argsort(first)] = np.arange(len(first))
    return nearest_distinct(number[inverse], block.negatives, block.d_an)
