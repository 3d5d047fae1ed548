"""Units of an approximate job: counted among nominees, written from those that were kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miner.census.candidate_lists import Reach, ReachFiles
from miner.census.column_sums import ColumnSums
from miner.pipeline.units.approximate_block import NominatedBlock, Nominees
from miner.pipeline.units.layout import Share, cut_sizes
from miner.pipeline.units.miner import Miner, write_files, writing_lines
from miner.pipeline.units.unit_writer import ListedAnchors, UnitWriter
from miner.triplets.hardness import Kept

__all__ = ["ApproximateMiner"]

Rows = NDArray[np.int64]

_BATCH = 256
"""Anchors that are searched at once: always the same ones, for FAISS may round otherwise."""
_PAIRS = 1 << 16
"""Pairs of the anchors of a batch, about."""


@dataclass(frozen=True)
class ApproximateMiner(Miner):
    """Counts and writes units among nominees.

    Parameters
    ----------
    nominees : Nominees
        In a job that has an approximate index; the other parameters are those of `Miner`.
    """

    nominees: Nominees | None = None

    def _batches(self, anchors: Rows) -> Iterator[Rows]:
        """Cut places in `anchors` into batches, those with about as many positives together."""
        positives = self.tally.positives[anchors]
        order = np.lexsort((anchors, positives))
        sizes = np.maximum(positives[order], _PAIRS // _BATCH)
        for first, last in cut_sizes(sizes, _PAIRS):
            yield order[first:last]

    def count(
        self,
        unit: tuple[int, int],
        sums: ColumnSums | None = None,
        reaches: list[Reach] | None = None,
    ) -> NDArray[np.void]:
        """Return what is found of a unit's anchors, an array of `COUNTED`; see `Miner.count`.

        ``easy`` is what was not found to be anything else.
        """
        assert self.nominees is not None
        anchors = np.arange(*unit)
        result, wanted = self._uncounted(anchors)
        places = np.flatnonzero(wanted)
        parts = []
        for batch in self._batches(anchors[places]):
            at = places[batch]
            block = self.nominees.nominate(anchors[at])
            result["hard"][at] = np.add.reduceat(block.hard, block.starts[:-1])
            result["semi_hard"][at] = np.add.reduceat(block.within - block.hard, block.starts[:-1])
            result["loss"][at] = block.loss
            self._select_block(block, at, result)
            parts.append((at, block.reach()))
        if reaches is not None:
            reaches.append(Reach.gathered(len(anchors), parts))
        return self._completed(result)

    def write(
        self,
        unit: tuple[int, int],
        shares: Mapping[Kept, Share],
        paths: Mapping[Kept, Path],
        counted: NDArray[np.void] | None = None,
        files: ReachFiles | None = None,
    ) -> dict[str, dict[str, Any]]:
        """Write a unit's triplets; see `Miner.write`. What was kept as they were counted is read.

        Raises
        ------
        AssertionError
            When nothing was kept: the files of counted units are part of their records.
        """
        assert self.nominees is not None and files is not None and counted is not None
        lines = writing_lines(shares)
        anchors = lines + unit[0]
        hard = counted["hard"][lines]
        within = hard + counted["semi_hard"][lines]
        reach = files.of(anchors)
        known = ListedAnchors(reach, hard, within, self.tally.positives[anchors])

        def blocks(some: Rows) -> Iterator[NominatedBlock]:
            """Return anchors one by one, which write too many triplets for more."""
            assert self.nominees is not None
            for place in np.searchsorted(anchors, some).tolist():
                one = slice(place, place + 1)
                own = reach.take(np.array([place]))
                yield self.nominees.block(anchors[one], own, hard[one], within[one])

        facing = (self.census, self.selection, self.seed, self.normalized)
        writer = UnitWriter(*facing, blocks, None, self.nominees)
        return write_files(writer, anchors, lines, shares, paths, known)
