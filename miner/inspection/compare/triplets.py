"""Compare the written triplets of two runs: as sets, or by classifying samples again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from miner.census.measure import Vectors
from miner.census.spread import evenly_spaced
from miner.embedding.store import Store
from miner.runs.run import Run
from miner.triplets.hardness import CLASSES, MINED_CLASSES, classify

__all__ = ["Moves", "Sets", "compare_sets", "reclassify"]

_IDS = ["anchor_id", "positive_id", "negative_id"]
_SAMPLE = 5000


@dataclass(frozen=True, slots=True)
class Sets:
    """The comparison of all written triplets of two runs.

    Attributes
    ----------
    kept : int
        Triplets with the same class in both runs.
    changed : dict
        Triplets that changed class, by ``"hard to semi_hard"`` and so on.
    new, gone : int
        Triplets in B only, and in A only. In the other run they are easy or do not exist.
    """

    kept: int
    changed: dict[str, int]
    new: int
    gone: int


@dataclass(frozen=True, slots=True)
class Moves:
    """A sample of one run's triplets of a class, classified by the vectors of the other run.

    Attributes
    ----------
    direction : str
        ``AB``: written by A, classified by B; ``BA``: the reverse.
    name : str
        The class as which the triplets were written.
    looked : int
        The number of triplets classified.
    classes : dict
        The number in each class by the other run's vectors, metric and margin.
    """

    direction: str
    name: str
    looked: int
    classes: dict[str, int]


def compare_sets(a: Run, b: Run) -> Sets | None:
    """Compare all written triplets of two runs; return None if their ids differ in type."""
    tables = [_triplets(run) for run in (a, b)]
    if tables[0].select(_IDS).schema != tables[1].select(_IDS).schema:
        return None
    joined = tables[0].join(
        tables[1], keys=_IDS, join_type="full outer", right_suffix="_b", use_threads=False
    )
    before, after = (joined[name].fill_null(-1).to_numpy() for name in ("class", "class_b"))
    changed = {
        f"{was} to {now}": int(((before == i) & (after == j)).sum())
        for i, was in enumerate(MINED_CLASSES)
        for j, now in enumerate(MINED_CLASSES)
        if i != j
    }
    kept = int(((before == after) & (before >= 0)).sum())
    return Sets(kept, changed, int((before < 0).sum()), int((after < 0).sum()))


def _triplets(run: Run) -> Any:
    """Return a table with the ids and the class of all written triplets."""
    parts = []
    for number, name in enumerate(MINED_CLASSES):
        triplets = run.triplets(name)
        with run.reading():
            table = triplets.to_table(columns=_IDS)
        codes = pa.array(np.full(table.num_rows, number, dtype=np.int8))
        parts.append(table.replace_schema_metadata(None).append_column("class", codes))
    return pa.concat_tables(parts)


def reclassify(run: Run, other: Run, store: Store | None, direction: str) -> Iterator[Moves]:
    """Classify samples of the triplets that `run` wrote by the vectors of `other`.

    Parameters
    ----------
    run, other : Run
    store : Store or None
        The vectors of `other`; if None, nothing is yielded.
    direction : str
        See `Moves`.
    """
    if store is None:
        return
    mining = other.manifest["job"]["mining"]
    vectors = Vectors(store.vectors(0), store.vectors(store.row_side), "numpy")
    for name in reversed(MINED_CLASSES):
        table = _sample(run, name)
        rows = [
            store.ids(side).rows_of(table[column].to_pylist())
            for side, column in zip((0, store.row_side, store.row_side), _IDS, strict=True)
            if _fits(store, side, table[column])
        ]
        if len(rows) < len(_IDS):
            return
        known = np.flatnonzero(np.all([one >= 0 for one in rows], axis=0))
        anchors, positives, negatives = (one[known] for one in rows)
        if not len(known):
            continue
        d_ap = vectors.measure(mining["metric"], anchors, positives)
        d_an = vectors.measure(mining["metric"], anchors, negatives)
        classes = classify(d_ap, d_an, mining["margin"])
        counts = {one: int((classes == one).sum()) for one in reversed(CLASSES)}
        yield Moves(direction, name, len(known), counts)


def _fits(store: Store, side: int, column: Any) -> bool:
    """Return whether the ids of a column and of the store are both integers or both not."""
    texts = {pa.types.is_integer(kind) for kind in (column.type, store.ids(side).type)}
    return len(texts) == 1


def _sample(run: Run, name: Any) -> Any:
    """Return the ids of at most `_SAMPLE` triplets of a class, evenly spaced over its rows."""
    triplets = run.triplets(name)
    with run.reading():
        total = triplets.count_rows()
        places = evenly_spaced(total, _SAMPLE)
        return triplets.take(places, columns=_IDS) if total else triplets.head(0, columns=_IDS)
