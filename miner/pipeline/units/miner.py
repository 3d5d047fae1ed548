"""One unit of work, pure given its inputs: count a block of anchors, or write its triplets.

A unit is a range of anchors. A job counts all units first; then the caps are shared out over the
anchors, and the units write their triplets as records (rows, distances, weight) in a fixed order:
by anchor, positive, and rank. Which triplets are drawn hangs on the seed and the anchor's row only.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miner.census.column_sums import ColumnSums
from miner.census.statistics import StatisticsPlan
from miner.census.walk.candidate_lists import CandidateFiles, CandidateLists
from miner.census.walk.census import Census, CensusRequest
from miner.census.walk.ranked_block import RankedBlock
from miner.pipeline.units.layout import COUNTED, Share
from miner.pipeline.units.records import Records, Sink
from miner.pipeline.units.sampled import SampledClasses, choose_sampled
from miner.pipeline.units.unit_writer import UnitWriter
from miner.selection.anchor_view import AnchorView, Block, BlockView
from miner.selection.rejection import RejectionSampler
from miner.selection.selection import Selection
from miner.storage.files import atomic_open
from miner.triplets.hardness import MINED, Kept
from miner.triplets.relevance import Tally
from miner.triplets.types import Rows

__all__ = ["Miner", "listed_bytes"]

_MOST = 512
"""The longest list of an anchor's nearest rows."""
_ENTRIES = (1 << 29) // 8
"""Rows that are listed for all anchors together: half a GiB on disk;"""
_EACH = 256
"""or so many for each, where that is more: a large job would otherwise count most anchors again."""


@dataclass(frozen=True)
class Miner:
    """Counts and writes units.

    Parameters
    ----------
    census : Census
    tally : Tally
    selection : Selection
    seed : int
    memory : int
        Bytes for a block of keys.
    normalized : bool
        Whether the vectors have unit length: what a score is depends on it.
    loss : bool
        Whether the loss is summed; else it is zero.
    writes : bool
        Whether triplets will be written: then rows are listed for that as they are counted.
    besides : StatisticsPlan
        What is counted beside the classes.
    """

    census: Census
    tally: Tally
    selection: Selection
    seed: int
    memory: int
    normalized: bool = True
    loss: bool = True
    writes: bool = False
    besides: StatisticsPlan = field(default_factory=StatisticsPlan)

    def counted(self) -> None:
        """Let go of what writing does not need."""
        self.census.release_rows()

    def count(
        self,
        unit: tuple[int, int],
        sums: ColumnSums | None = None,
        lists: list[CandidateLists] | None = None,
    ) -> NDArray[np.void]:
        """Return the census of a unit's anchors, an array of `COUNTED`.

        Parameters
        ----------
        unit : tuple of int
            Places in the order in which anchors are counted.
        sums : ColumnSums, optional
            Takes the triplets by row and label.
        lists : list of CandidateLists, optional
            Takes the nearest rows of the anchors, for those that write triplets from them.
        """
        anchors = self.besides.anchors(unit)
        result, wanted = self._uncounted(anchors)
        places = np.flatnonzero(wanted)
        places = places[self.census.in_order(anchors[places])]
        parts, room = [], self._room(len(anchors))
        request = CensusRequest(self._needs_ranks, self.besides.neighbours, self.loss, sums)
        for block in self.census.blocks(anchors[places], self.memory, request):
            at, places = places[: len(block.anchors)], places[len(block.anchors) :]
            self._enter(block, at, result)
            result[at] = self.besides.vote(block, result[at])
            if lists is not None:
                parts.append((at, self._listed(block, room)))
                room -= len(parts[-1][1].entries)
        if lists is not None:
            lists.append(CandidateLists.assemble(len(anchors), parts))
        return self._completed(anchors, result)

    @property
    def _needs_ranks(self) -> bool:
        """Whether the slots of anchors hang on more than the counts of their pairs."""
        return self.selection.needs_pairs and not self.selection.by_rank

    def _enter(self, block: RankedBlock, at: Rows, result: NDArray[np.void]) -> None:
        """Enter the counts of a block's anchors."""
        for name, counts in (("semi_hard", block.within - block.hard), ("hard", block.hard)):
            result[name][at] = np.add.reduceat(counts, block.starts[:-1])
        if self.loss:
            result["loss"][at] = block.loss
        self._select_block(block, at, result)

    def _room(self, anchors: int) -> int:
        """Return how many rows are listed at most of so many anchors."""
        whole = len(self.tally.positives)
        return int(_kept(whole) * anchors / max(1, whole))

    def _listed(self, block: RankedBlock, room: int) -> CandidateLists:
        """Return lists of the rows that a block's anchors may write, as far as there is room."""
        if not (self.writes and self.selection.ranks_from_counts):
            return CandidateLists.empty(len(block.anchors))
        depths = self.selection.depths(block)
        deep = np.maximum.reduceat(depths, block.starts[:-1])
        deep[deep > _MOST] = -1
        deep[np.cumsum(np.maximum(deep, 0)) > room] = -1
        return block.nearest(deep)

    def _uncounted(self, anchors: Rows) -> tuple[NDArray[np.void], NDArray[np.bool_]]:
        """Return the census of anchors before they are counted, and which of them have triplets."""
        result = np.zeros(len(anchors), dtype=COUNTED)
        result["neighbour"] = -1
        result["positives"] = self.tally.positives[anchors]
        result["negatives"] = self.tally.negatives[anchors]
        return result, (result["positives"] > 0) & (result["negatives"] > 0)

    def _completed(self, anchors: Rows, result: NDArray[np.void]) -> NDArray[np.void]:
        """Fill what follows from the hard and semi-hard triplets of anchors; return them."""
        valid = result["positives"] * result["negatives"]
        result["easy"] = valid - result["semi_hard"] - result["hard"]
        if not self.selection.needs_pairs:
            self.select_from_totals(anchors, result)
        return result

    def _select_block(self, block: Block, at: Rows, result: NDArray[np.void]) -> None:
        """Say what the selection makes of a block's anchors, if it needs their pairs."""
        if self.selection.needs_pairs and self.selection.by_pair:
            self._select_by_pair(block, at, result)
        elif self.selection.needs_pairs:
            for line, place in enumerate(at.tolist()):
                view = AnchorView(self.census, block, line, self.normalized, self.seed)
                self._select(view, result[place : place + 1])

    def _select(self, view: AnchorView, counted: NDArray[np.void]) -> None:
        """Say what the selection makes of an anchor, in its line of `COUNTED`, shape (1,)."""
        eligible = self.selection.eligible_ranks(view)
        for name in MINED:
            strategy, caps = self.selection.rule(name)
            take = strategy.take(eligible, name)
            counted[f"slots_{name}"] = caps.slots(take.counts)
            counted[f"wanted_{name}"] = take.wanted
            counted[f"available_{name}"] = eligible.span(name)[1].sum()
        if self.selection.suspects:
            counted["slots_suspects"] = eligible.suspects.sum()

    def _select_by_pair(self, block: Block, at: Rows, result: NDArray[np.void]) -> None:
        """Say the same of many anchors, where their pairs tell it one by one."""
        eligible = self.selection.eligible_ranks_of_pairs(
            BlockView(self.census, block, self.normalized)
        )
        starts = block.starts[:-1]
        for name in MINED:
            found = self.selection.of_pairs(name, eligible, starts)
            for column, values in zip(("slots", "wanted", "available"), found, strict=True):
                result[f"{column}_{name}"][at] = values
        if self.selection.suspects:
            result["slots_suspects"][at] = np.add.reduceat(eligible.suspects, starts)

    def select_from_totals(self, anchors: Rows, counted: NDArray[np.void]) -> None:
        """Say what the selection makes of anchors whose totals of each class tell it."""
        able = np.flatnonzero((counted["positives"] > 0) & (counted["negatives"] > 0))
        totals = {name: counted[name][able] for name in MINED}
        for name, found in self.selection.of_totals(totals, anchors[able], self.seed).items():
            for column, values in zip(("slots", "wanted", "available"), found, strict=True):
                counted[f"{column}_{name}"][able] = values

    def write(
        self,
        unit: tuple[int, int],
        shares: Mapping[Kept, Share],
        paths: Mapping[Kept, Path],
        counted: NDArray[np.void] | None = None,
        files: CandidateFiles | None = None,
    ) -> dict[str, dict[str, Any]]:
        """Write a unit's triplets, one file of `TRIPLET` records a folder.

        Parameters
        ----------
        unit : tuple of int
        shares : mapping
            Per folder, that of the unit's anchors.
        paths : mapping
            Per folder, the file to write.
        counted : ndarray of shape (anchors,), `COUNTED`, optional
            What was counted of the unit's anchors.
        files : CandidateFiles, optional
            What was listed then.

        Returns
        -------
        dict
            Per folder, ``rows`` and ``sha256`` of the file.
        """
        with contextlib.ExitStack() as stack:
            records = {
                name: Records(stack.enter_context(atomic_open(path)))
                for name, path in paths.items()
            }
            self.write_to(records, unit, shares, counted, files.read if files else None)
            facts = {name: file.facts() for name, file in records.items()}
        return {str(name): fact for name, fact in facts.items()}

    def write_to(
        self,
        sinks: Mapping[Kept, Sink],
        unit: tuple[int, int],
        shares: Mapping[Kept, Share],
        counted: NDArray[np.void] | None = None,
        lists_of: Callable[[Rows], CandidateLists] | None = None,
    ) -> None:
        """Write a unit's triplets to one sink a folder; `lists_of` returns the lists of anchors."""
        lines = np.flatnonzero(np.any([share.counts > 0 for share in shares.values()], axis=0))
        anchors = lines + unit[0]
        lists = lists_of(anchors) if lists_of else CandidateLists.empty(len(anchors))
        facing = (self.census, self.selection, self.seed, self.normalized)
        writer = UnitWriter(*facing, self.whole_blocks, self.listed_block)
        own = {name: share.of(lines) for name, share in shares.items()}
        sampled = None if counted is None else self._sampled(anchors, own, counted[lines])
        writer.write(anchors, own, sinks, lists, sampled)

    def _sampled(
        self, anchors: Rows, shares: Mapping[Kept, Share], counted: NDArray[np.void]
    ) -> SampledClasses | None:
        """Return which classes of anchors are written by drawing triplets, if any are."""
        if self.selection.needs_pairs:
            return None
        census = self.census
        given = (census.vectors, census.relevance, census.metric, census.margin, self.seed)
        return choose_sampled(RejectionSampler(*given), self.selection, anchors, shares, counted)

    def whole_blocks(self, anchors: Rows) -> Iterator[tuple[Rows, Block]]:
        """Yield places of anchors and blocks of them, counted anew."""
        places = self.census.in_order(anchors)
        for block in self.census.blocks(anchors[places], self.memory):
            yield places[: len(block.anchors)], block
            places = places[len(block.anchors) :]

    def listed_block(self, anchors: Rows, lists: CandidateLists) -> Block:
        """Return a block of anchors from their lists."""
        return self.census.listed_block(anchors, lists)


def _kept(anchors: int) -> int:
    """Return how many rows are listed at most of all anchors as they are counted."""
    return max(_ENTRIES, _EACH * anchors)


def listed_bytes(anchors: int, rows: int) -> int:
    """Bound what the lists of so many anchors take on disk."""
    return 8 * min(_kept(anchors), min(_MOST, rows) * anchors) + 12 * anchors
