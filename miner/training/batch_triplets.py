"""The triplets of a run that lie inside a batch, as places in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from miner.errors import UsageError
from miner.runs.run import Run
from miner.training.row_groups import ROLES, RowGroups

__all__ = ["BatchTriplets", "places_of"]

Places = NDArray[np.int64]
Triplets = tuple[Places, Places, Places]


class BatchTriplets:
    """All triplets of a run by the numbers of their ids, 12 bytes each, sorted by anchor."""

    def __init__(self, run: Run, difficulty: str) -> None:
        groups = RowGroups.of(run, difficulty)
        self.paired = run.manifest["dataset"]["kind"] != "labelled"
        names = [f"{role}_id" for role in ROLES]
        kinds: list[list[Any]] = [[], [], []]
        for table in groups.whole(names):
            for kind, name in zip(kinds, names, strict=True):
                kind.append(table[name].combine_chunks().dictionary_encode())
        anchors, positives, negatives = (pa.chunked_array(kind) for kind in kinds)
        self._rows = _values(
            [positives, negatives] if self.paired else [anchors, positives, negatives]
        )
        self._anchors = _values([anchors]) if self.paired else self._rows
        first = _numbers(anchors, self._anchors)
        order = np.argsort(first, kind="stable")
        self._starts = np.searchsorted(first[order], np.arange(len(self._anchors) + 1))
        self._positives = _numbers(positives, self._rows)[order]
        self._negatives = _numbers(negatives, self._rows)[order]

    def __len__(self) -> int:
        return len(self._positives)

    def inside(self, ids: Sequence[Any], others: Sequence[Any] | None) -> Triplets:
        """Return the triplets whose ids are all there, as places of anchors, positives, negatives.

        Parameters
        ----------
        ids : sequence
            Of the batch. Of an id that stands there more than once the first place counts.
        others : sequence or None
            Ids of documents, where anchors are queries: positives and negatives are places in it.
        """
        if self.paired and others is None:
            raise UsageError("anchors are queries: give the ids of the documents too, as ref_ids")
        anchors = _places(ids, self._anchors)
        rows = _places(ids if others is None else others, self._rows)
        there = np.flatnonzero(anchors >= 0)
        counts = self._starts[there + 1] - self._starts[there]
        ends = np.cumsum(counts)
        picked = np.arange(counts.sum()) + np.repeat(self._starts[there] - (ends - counts), counts)
        positives, negatives = rows[self._positives[picked]], rows[self._negatives[picked]]
        kept = (positives >= 0) & (negatives >= 0)
        return np.repeat(anchors[there], counts)[kept], positives[kept], negatives[kept]


def places_of(columns: Sequence[Sequence[Any]]) -> tuple[list[Any], list[Places]]:
    """Return the distinct values of some columns in the order they appear, and each one's place."""
    found: dict[Any, int] = {}
    places = [
        np.array([found.setdefault(value, len(found)) for value in column], dtype=np.int64)
        for column in columns
    ]
    return list(found), places


def _values(columns: list[Any]) -> Any:
    """Return each value of some columns once."""
    chunks = [chunk.dictionary for column in columns for chunk in column.chunks]
    return pc.unique(pa.chunked_array(chunks))


def _numbers(column: Any, values: Any) -> NDArray[np.int32]:
    """Return the place of each row's value among the values."""
    parts = []
    for chunk in column.chunks:
        known = pc.index_in(chunk.dictionary, value_set=values).to_numpy()
        parts.append(known[chunk.indices.to_numpy()].astype(np.int32))
    return np.concatenate(parts)


def _places(ids: Sequence[Any], values: Any) -> Places:
    """Return where each value stands first among some ids, -1 where it does not."""
    try:
        wanted = pa.array(list(ids), values.type)
    except (pa.ArrowException, TypeError, OverflowError) as error:
        raise UsageError(f"the ids of this run are of the type {values.type}: {error}") from error
    known = pc.index_in(wanted, value_set=values).fill_null(-1).to_numpy()
    places = np.full(len(values), -1, dtype=np.int64)
    backwards = np.flatnonzero(known >= 0)[::-1]
    places[known[backwards]] = backwards
    return places
