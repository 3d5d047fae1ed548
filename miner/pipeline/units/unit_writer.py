"""Writes the triplets of a unit, from candidate lists if there are any, else by counting again.

The anchors are processed in groups whose triplets fit in memory. Within a group the order is the
fastest one; the triplets are then sorted by anchor.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from miner.census.walk.candidate_lists import CandidateLists
from miner.census.walk.census import Census
from miner.pipeline.units.block_writer import BlockWriter, write_block
from miner.pipeline.units.layout import Quota
from miner.pipeline.units.records import RecordBuffer, Sink
from miner.pipeline.units.sampled import SampledClasses
from miner.selection.anchor_view import AnchorView, Block
from miner.selection.selection import Selection
from miner.triplets.hardness import OutputFolder
from miner.triplets.relevance import cut_sizes
from miner.triplets.types import Rows

__all__ = ["UnitWriter"]

_STRETCH = 1 << 18
_ENTRIES = 1 << 18
"""Candidate list entries of the anchors that form one block."""


@dataclass(frozen=True)
class UnitWriter:
    """Writes the triplets of anchors.

    Parameters
    ----------
    census : Census
    selection : Selection
    seed : int
    normalized : bool
        Whether the vectors have unit length; the definition of a score depends on it.
    blocks : callable
        Counts anchors block by block; yields the positions of a block's anchors, and the block.
    listed : callable
        Builds a block of anchors from their candidate lists.
    """

    census: Census
    selection: Selection
    seed: int
    normalized: bool
    blocks: Callable[[Rows], Iterator[tuple[Rows, Block]]]
    listed: Callable[[Rows, CandidateLists], Block]

    def write(
        self,
        anchors: Rows,
        quotas: Mapping[OutputFolder, Quota],
        files: Mapping[OutputFolder, Sink],
        lists: CandidateLists,
        sampled: SampledClasses | None = None,
    ) -> None:
        """Write the triplets of anchors, which must be ascending.

        Parameters
        ----------
        anchors : ndarray of shape (anchors,), int64
        quotas : mapping
            The quota of these anchors per folder.
        files : mapping
            The file or other sink of each folder.
        lists : CandidateLists
            The lists of these anchors.
        sampled : SampledClasses, optional
            The classes that are written by drawing triplets at random.
        """
        left = sampled.left(quotas) if sampled else quotas
        total, walked = (
            np.sum([quota.counts for quota in each.values()], axis=0) for each in (quotas, left)
        )
        for first, last in cut_sizes(total, _STRETCH):
            some = first + np.flatnonzero(walked[first:last])
            alone = last - first == 1  # one anchor may write more triplets than fit in memory
            held: dict[OutputFolder, RecordBuffer] = {name: RecordBuffer() for name in files}
            sinks: Mapping[OutputFolder, Sink] = files if alone else held
            for name, records in sampled.records(first, last).items() if sampled else ():
                sinks[name].append(records)
            self._write(anchors, some, left, sinks, lists)
            for folder, file in files.items():
                file.append(held[folder].in_order())

    def _write(
        self,
        anchors: Rows,
        some: Rows,
        quotas: Mapping[OutputFolder, Quota],
        files: Mapping[OutputFolder, Sink],
        lists: CandidateLists,
    ) -> None:
        listed = lists.head["held"][some] >= 0
        mine, others = some[listed], some[~listed]
        for first, last in cut_sizes(lists.sizes[mine], _ENTRIES):
            part = mine[first:last]
            block = self.listed(anchors[part], lists.take(part))
            self._write_block(block, part, quotas, files)
        if len(others):
            for places, block in self.blocks(anchors[others]):
                self._write_block(block, others[places], quotas, files)

    def _write_block(
        self,
        block: Block,
        lines: Rows,
        quotas: Mapping[OutputFolder, Quota],
        files: Mapping[OutputFolder, Sink],
    ) -> None:
        own = {name: quota.take(lines) for name, quota in quotas.items()}
        view = functools.partial(self._view, block)
        writer = BlockWriter(files, self.census, block)
        write_block(writer, block, self.selection, own, view, self.seed)

    def _view(self, block: Block, line: int) -> AnchorView:
        return AnchorView(self.census, block, line, self.normalized, self.seed)
