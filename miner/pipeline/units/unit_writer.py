"""Writing a unit's triplets: from listed rows where there are lists, else from whole blocks.

Anchors of both kinds follow one another in any way. A stretch of anchors whose listed ones write
few enough triplets to hold is done at a time: first those, then the others block by block, and
what was held goes between.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from miner.census.candidate_lists import Reach
from miner.census.reference import Census
from miner.pipeline.units.block_writer import BlockWriter, write_block
from miner.pipeline.units.layout import Share, cut_sizes
from miner.pipeline.units.records import Gathered, Interleaved, Sink
from miner.selection.anchor_view import AnchorView
from miner.selection.rank_grid import Found, Sieve
from miner.selection.ranking import Block
from miner.selection.selection import Selection
from miner.triplets.hardness import Kept
from miner.triplets.types import Rows

__all__ = ["Blocks", "ListedAnchors", "UnitWriter"]

_STRETCH = 1 << 18
_ENTRIES = 1 << 18
"""Listed rows and pairs of the anchors that are done at once."""


@dataclass(frozen=True, slots=True)
class ListedAnchors:
    """What is known of a unit's anchors that write something.

    Attributes
    ----------
    reach : Reach
        Where nothing is listed whole blocks are made.
    hard, within : ndarray of shape (anchors,), int64
        Their triplets that are hard; that are hard or semi-hard.
    positives : ndarray of shape (anchors,), int64
    """

    reach: Reach
    hard: Rows
    within: Rows
    positives: Rows

    def of(self, places: Rows) -> ListedAnchors:
        """Return what is known of some of the anchors."""
        reach = self.reach.take(places)
        return ListedAnchors(reach, self.hard[places], self.within[places], self.positives[places])


class Blocks(Protocol):
    """Makes blocks of anchors whose rows are listed, and finds rows by rank in them."""

    def block(self, anchors: Rows, reach: Reach, hard: Rows, within: Rows) -> Any:
        """Return a block of some anchors; see `miner.selection.listed_block.Lister.block`."""

    def find(self, block: Any, lines: Rows, starts: Rows, ranks: Rows) -> Found:
        """Find rows by rank; see `miner.selection.rank_grid.Sieve.find`."""


@dataclass(frozen=True)
class UnitWriter:
    """Writes anchors.

    Parameters
    ----------
    census : Census
    selection : Selection
    seed : int
    normalized : bool
        Whether the vectors have unit length: what a score is depends on it.
    blocks : callable
        Counts anchors, a block at a time.
    sieve : Sieve or None
        What counts these blocks, where it does: it finds rows by rank.
    lister : Blocks or None
        What makes blocks of listed rows.
    """

    census: Census
    selection: Selection
    seed: int
    normalized: bool
    blocks: Callable[[Rows], Iterator[Any]]
    sieve: Sieve | None
    lister: Blocks | None

    def write(
        self,
        anchors: Rows,
        shares: Mapping[Kept, Share],
        files: Mapping[Kept, Sink],
        known: ListedAnchors | None = None,
    ) -> None:
        """Write the triplets of some anchors, ascending.

        Parameters
        ----------
        anchors : ndarray of shape (anchors,), int64
        shares : mapping
            Per folder, that of these anchors.
        files : mapping
            Per folder, its file.
        known : ListedAnchors, optional
            Of these anchors.
        """
        if known is None or self.lister is None:
            self._write_whole(anchors, np.arange(len(anchors)), shares, files)
            return
        total = np.sum([share.counts for share in shares.values()], axis=0)
        listed = (known.reach.head["held"] >= 0) & (total <= _STRETCH)
        for first, last in cut_sizes(np.where(listed, total, 0), _STRETCH):
            some = np.arange(first, last)
            mine, others = some[listed[some]], some[~listed[some]]
            if not len(others):
                self._write_listed(self.lister, anchors, mine, shares, files, known)
                continue
            held: dict[Kept, Gathered] = {name: Gathered() for name in files}
            self._write_listed(self.lister, anchors, mine, shares, held, known)
            merged = {name: Interleaved(files[name], held[name].taken()) for name in files}
            self._write_whole(anchors, others, shares, merged)
            for file in merged.values():
                file.close()

    def _write_whole(
        self,
        anchors: Rows,
        lines: Rows,
        shares: Mapping[Kept, Share],
        files: Mapping[Kept, Sink],
    ) -> None:
        """Write some of the anchors from blocks of all keys."""
        for block in self.blocks(anchors[lines]):
            mine, lines = lines[: len(block.anchors)], lines[len(block.anchors) :]
            find = functools.partial(self.sieve.find, block) if self.sieve else None
            self._write_block(BlockWriter(files, self.census, block, find), block, shares, mine)

    def _write_listed(
        self,
        lister: Blocks,
        anchors: Rows,
        lines: Rows,
        shares: Mapping[Kept, Share],
        files: Mapping[Kept, Sink],
        known: ListedAnchors,
    ) -> None:
        """Write some of the anchors from their listed rows."""
        for first, last in cut_sizes(known.reach.sizes[lines] + known.positives[lines], _ENTRIES):
            mine = lines[first:last]
            block = lister.block(
                anchors[mine], known.reach.take(mine), known.hard[mine], known.within[mine]
            )
            find = functools.partial(lister.find, block)
            self._write_block(BlockWriter(files, self.census, block, find), block, shares, mine)

    def _write_block(
        self, writer: BlockWriter, block: Block, shares: Mapping[Kept, Share], lines: Rows
    ) -> None:
        own = {name: share.of(lines) for name, share in shares.items()}
        view = functools.partial(self._view, block)
        write_block(writer, block, self.selection, own, view, self.seed)

    def _view(self, block: Block, line: int) -> AnchorView:
        return AnchorView(self.census, block, line, self.normalized, self.seed)
