"""Find the triplets of a run whose three items are in a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from miner.errors import UsageError
from miner.runs.run import Run
from miner.training.encoded_triplets import ROLES, encode_triplets

__all__ = ["BatchTriplets"]

Places = NDArray[np.int64]
Triplets = tuple[Places, Places, Places]


class BatchTriplets:
    """All triplets of a run, sorted by anchor; ids are stored as integers, 12 bytes per triplet."""

    def __init__(self, run: Run, difficulty: str) -> None:
        self.paired = run.manifest["dataset"]["kind"] != "labelled"
        triplets = encode_triplets(run, difficulty, [f"{role}_id" for role in ROLES])
        anchors, positives, negatives = triplets.numbers.T
        self._anchors, self._rows = triplets.values[0], triplets.values[-1]
        order = np.argsort(anchors, kind="stable")
        self._starts = np.searchsorted(anchors[order], np.arange(len(self._anchors) + 1))
        self._positives, self._negatives = positives[order], negatives[order]

    def __len__(self) -> int:
        return len(self._positives)

    def inside(self, ids: Sequence[Any], others: Sequence[Any] | None) -> Triplets:
        """Return the triplets inside a batch as positions of anchors, positives and negatives.

        Parameters
        ----------
        ids : sequence
            The ids of the batch. Of a repeated id, the first position is used.
        others : sequence or None
            Ids of the documents if anchors are queries; the positions of positives and negatives
            then refer to this sequence.

        Raises
        ------
        UsageError
            When the type of the ids differs from the type in the run, or `others` is missing.
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


def _places(ids: Sequence[Any], values: Any) -> Places:
    """Return the first position of each value in `ids`, or -1 if it is not in `ids`."""
    try:
        wanted = pa.array(list(ids), values.type)
    except (pa.ArrowException, TypeError, OverflowError) as error:
        kind = str(values.type).removeprefix("large_")
        raise UsageError(f"the ids of this run are of the type {kind}: {error}") from error
    known = pc.index_in(wanted, value_set=values).fill_null(-1).to_numpy()
    places = np.full(len(values), -1, dtype=np.int64)
    backwards = np.flatnonzero(known >= 0)[::-1]
    places[known[backwards]] = backwards
    return places
