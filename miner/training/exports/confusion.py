"""How often labels are taken for each other: hard triplets by (label of anchor, of negative)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from miner.errors import StorageError
from miner.runs.run import Run
from miner.runs.tables import has_table
from miner.training.exports.labels import Labelled
from miner.training.exports.triplets import Codes, read_batches

__all__ = ["Confusion", "count_confusion"]

_ROWS = 1 << 17
_TABLE = "confusion.parquet"

Sums = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Confusion:
    """Per label, the labels that it is confused with.

    Attributes
    ----------
    starts : ndarray of shape (labels + 1,), int64
    others : ndarray of int64
        Those of label c are ``others[starts[c]:starts[c + 1]]``, ascending.
    weights : ndarray of float64
        How many hard triplets have the two as labels of anchor and negative, either way round.
    source : str
        ``run`` when the run has a table of them, ``shards`` when its hard triplets were counted.
    """

    starts: Codes
    others: Codes
    weights: Sums
    source: str

    def of(self, code: int) -> tuple[Codes, Sums]:
        """Return the labels that a label is confused with, and how much."""
        mine = slice(self.starts[code], self.starts[code + 1])
        return self.others[mine], self.weights[mine]


def count_confusion(run: Run, labelled: Labelled) -> Confusion:
    """Count the confusions of a run.

    They come from its ``confusion.parquet``, where it has one and the labels have values to match,
    else from the hard shards: of a sample each row counts as its ``weight``, so that the sums
    estimate the whole.

    Raises
    ------
    StorageError
        When an id of a shard, or a label of the table, is not in the embedding store.
    """
    there = has_table(run, _TABLE) or (run.path / _TABLE).exists()
    table = there and labelled.names is not None
    parts = _from_table(run, labelled) if table else _from_shards(run, labelled)
    count = len(labelled.members.sizes)
    keys, sums = np.empty(0, dtype=np.int64), np.empty(0)
    for anchors, negatives, weights in parts:
        both = np.concatenate([anchors * count + negatives, negatives * count + anchors])
        keys, sums = _summed(np.append(keys, both), np.concatenate([sums, weights, weights]))
    keys, sums = keys[sums > 0], sums[sums > 0]
    starts = np.searchsorted(keys, np.arange(count + 1) * count).astype(np.int64)
    return Confusion(starts, keys % count, sums, "run" if table else "shards")


def _summed(keys: Codes, values: Sums) -> tuple[Codes, Sums]:
    unique, inverse = np.unique(keys, return_inverse=True)
    sums: Sums = np.bincount(inverse, weights=values, minlength=len(unique)).astype(np.float64)
    return unique, sums


def _from_shards(run: Run, labelled: Labelled) -> Iterator[tuple[Codes, Codes, Sums]]:
    ids = labelled.ids
    names = ["anchor_id", "negative_id", "weight"]
    for batch in read_batches(run.part_paths("hard"), names, _ROWS):
        rows = [_places(batch.column(name), ids, f"{run.where}/hard") for name in names[:2]]
        weights = np.asarray(batch.column("weight").to_numpy()).astype(np.float64)
        yield labelled.codes[rows[0]], labelled.codes[rows[1]], weights


def _from_table(run: Run, labelled: Labelled) -> Iterator[tuple[Codes, Codes, Sums]]:
    path = run.file(_TABLE)
    names = ["anchor_label", "negative_label", "hard"]
    for batch in read_batches([path], names, _ROWS):
        codes = [_places(batch.column(name), labelled.names, str(path)) for name in names[:2]]
        yield codes[0], codes[1], np.asarray(batch.column("hard").to_numpy()).astype(np.float64)


def _places(values: Any, known: Any, where: str) -> Codes:
    """Return where each value stands among the known ones."""
    known = known if known.type == values.type else known.cast(values.type)
    places = pc.index_in(values, value_set=known)
    if places.null_count:
        lost = values[int(pc.index(places.is_null(), True).as_py())].as_py()
        raise StorageError(f"{where}: {lost!r} is not in the embedding store; see mine verify")
    return np.asarray(places.to_numpy()).astype(np.int64)
