"""Processes one unit, a range of anchors: counts its triplets, or writes the selected ones.

The result depends only on the inputs. A run counts all units first; then the caps are allocated to
the anchors, and the units write their triplets as records (rows, distances, weight), in the order
of anchor, positive and rank. Random draws depend only on the seed and on the anchor's row.
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
from miner.pipeline.units.layout import ANCHOR_COUNTS, Quota
from miner.pipeline.units.records import RecordFile, Sink
from miner.pipeline.units.sampled import SampledClasses, choose_sampled
from miner.pipeline.units.unit_writer import UnitWriter
from miner.selection.anchor_view import AnchorView, Block, BlockView
from miner.selection.rejection import RejectionSampler
from miner.selection.selection import Selection
from miner.storage.files import atomic_open
from miner.triplets.hardness import MINED_CLASSES, OutputFolder
from miner.triplets.relevance import Tally
from miner.triplets.types import Rows

__all__ = ["UnitMiner", "listed_bytes"]

_MOST = 512
"""Longest candidate list of an anchor."""
_ENTRIES = (1 << 29) // 8
"""Largest number of entries in the lists of all anchors together: half a GiB on disk."""
_EACH = 256
"""Entries per anchor that are always allowed: with a fixed total, the write pass of a large job
would count most anchors again."""


@dataclass(frozen=True)
class UnitMiner:
    """Counts units and writes their triplets.

    Parameters
    ----------
    census : Census
    tally : Tally
    selection : Selection
    seed : int
    memory : int
        Bytes for a block of keys.
    normalized : bool
        Whether the vectors have unit length; the definition of a score depends on it.
    loss : bool
        Whether the loss is computed; else it is zero.
    writes : bool
        Whether triplets will be written; `count` then makes candidate lists for the write pass.
    statistics : StatisticsPlan
        The statistics that are computed in addition to the class counts.
    """

    census: Census
    tally: Tally
    selection: Selection
    seed: int
    memory: int
    normalized: bool = True
    loss: bool = True
    writes: bool = False
    statistics: StatisticsPlan = field(default_factory=StatisticsPlan)

    def counted(self) -> None:
        """Release the prepared rows, which the write pass does not need."""
        self.census.release_rows()

    def count(
        self,
        unit: tuple[int, int],
        sums: ColumnSums | None = None,
        lists: list[CandidateLists] | None = None,
    ) -> NDArray[np.void]:
        """Return the records of a unit's anchors, an array of `ANCHOR_COUNTS`.

        Parameters
        ----------
        unit : tuple of int
            Range of positions in the order in which anchors are counted.
        sums : ColumnSums, optional
            The triplets of each row and label are added to it.
        lists : list of CandidateLists, optional
            The candidate lists of the anchors are appended to it.
        """
        anchors = self.statistics.anchors(unit)
        result, wanted = self._uncounted(anchors)
        places = np.flatnonzero(wanted)
        places = places[self.census.in_order(anchors[places])]
        parts, room = [], self._room(len(anchors))
        request = CensusRequest(self._needs_ranks, self.statistics.neighbours, self.loss, sums)
        for block in self.census.blocks(anchors[places], self.memory, request):
            at, places = places[: len(block.anchors)], places[len(block.anchors) :]
            self._enter(block, at, result)
            result[at] = self.statistics.vote(block, result[at])
            if lists is not None:
                parts.append((at, self._listed(block, room)))
                room -= len(parts[-1][1].entries)
        if lists is not None:
            lists.append(CandidateLists.assemble(len(anchors), parts))
        return self._completed(anchors, result)

    @property
    def _needs_ranks(self) -> bool:
        """Whether the number of slots depends on distances, not only on the counts of pairs."""
        return self.selection.needs_pairs and not self.selection.by_rank

    def _enter(self, block: RankedBlock, at: Rows, result: NDArray[np.void]) -> None:
        """Store the counts of a block's anchors in their records."""
        for name, counts in (("semi_hard", block.non_easy - block.hard), ("hard", block.hard)):
            result[name][at] = np.add.reduceat(counts, block.starts[:-1])
        if self.loss:
            result["loss"][at] = block.loss
        self._select_block(block, at, result)

    def _room(self, anchors: int) -> int:
        """Return the largest number of list entries of a unit with this number of anchors."""
        whole = len(self.tally.positives)
        return int(_kept(whole) * anchors / max(1, whole))

    def _listed(self, block: RankedBlock, room: int) -> CandidateLists:
        """Return the candidate lists of a block's anchors, with at most `room` entries."""
        if not (self.writes and self.selection.ranks_from_counts):
            return CandidateLists.empty(len(block.anchors))
        depths = self.selection.depths(block)
        deep = np.maximum.reduceat(depths, block.starts[:-1])
        deep[deep > _MOST] = -1
        deep[np.cumsum(np.maximum(deep, 0)) > room] = -1
        return block.nearest(deep)

    def _uncounted(self, anchors: Rows) -> tuple[NDArray[np.void], NDArray[np.bool_]]:
        """Return the records of anchors before counting, and a mask of anchors with triplets."""
        result = np.zeros(len(anchors), dtype=ANCHOR_COUNTS)
        result["neighbour"] = -1
        result["positives"] = self.tally.positives[anchors]
        result["negatives"] = self.tally.negatives[anchors]
        return result, (result["positives"] > 0) & (result["negatives"] > 0)

    def _completed(self, anchors: Rows, result: NDArray[np.void]) -> NDArray[np.void]:
        """Fill the fields that follow from the hard and semi-hard counts; return the records."""
        valid = result["positives"] * result["negatives"]
        result["easy"] = valid - result["semi_hard"] - result["hard"]
        if not self.selection.needs_pairs:
            self.select_from_totals(anchors, result)
        return result

    def _select_block(self, block: Block, at: Rows, result: NDArray[np.void]) -> None:
        """Fill the selection fields of a block's anchors, if the selection needs their pairs."""
        if self.selection.needs_pairs and self.selection.by_pair:
            self._select_by_pair(block, at, result)
        elif self.selection.needs_pairs:
            for line, place in enumerate(at.tolist()):
                view = AnchorView(self.census, block, line, self.normalized, self.seed)
                self._select(view, result[place : place + 1])

    def _select(self, view: AnchorView, counted: NDArray[np.void]) -> None:
        """Fill the selection fields of one anchor in its record, an array of shape (1,)."""
        eligible = self.selection.eligible_ranks(view)
        for name in MINED_CLASSES:
            strategy, caps = self.selection.rule(name)
            take = strategy.take(eligible, name)
            counted[f"slots_{name}"] = caps.slots(take.counts)
            counted[f"wanted_{name}"] = take.wanted
            counted[f"available_{name}"] = eligible.span(name)[1].sum()
        if self.selection.suspects:
            counted["slots_suspects"] = eligible.suspects.sum()

    def _select_by_pair(self, block: Block, at: Rows, result: NDArray[np.void]) -> None:
        """Fill the selection fields of many anchors, if pairs can be selected separately."""
        eligible = self.selection.eligible_ranks_of_pairs(
            BlockView(self.census, block, self.normalized)
        )
        starts = block.starts[:-1]
        for name in MINED_CLASSES:
            found = self.selection.of_pairs(name, eligible, starts)
            for column, values in zip(("slots", "wanted", "available"), found, strict=True):
                result[f"{column}_{name}"][at] = values
        if self.selection.suspects:
            result["slots_suspects"][at] = np.add.reduceat(eligible.suspects, starts)

    def select_from_totals(self, anchors: Rows, counted: NDArray[np.void]) -> None:
        """Fill the selection fields of anchors from the totals of each class."""
        able = np.flatnonzero((counted["positives"] > 0) & (counted["negatives"] > 0))
        totals = {name: counted[name][able] for name in MINED_CLASSES}
        for name, found in self.selection.of_totals(totals, anchors[able], self.seed).items():
            for column, values in zip(("slots", "wanted", "available"), found, strict=True):
                counted[f"{column}_{name}"][able] = values

    def write(
        self,
        unit: tuple[int, int],
        quotas: Mapping[OutputFolder, Quota],
        paths: Mapping[OutputFolder, Path],
        counted: NDArray[np.void] | None = None,
        files: CandidateFiles | None = None,
    ) -> dict[str, dict[str, Any]]:
        """Write the triplets of a unit, one file of `TRIPLET` records per folder.

        Parameters
        ----------
        unit : tuple of int
        quotas : mapping
            The quota of the unit's anchors per folder.
        paths : mapping
            The file to write per folder.
        counted : ndarray of shape (anchors,), `ANCHOR_COUNTS`, optional
            The records of the unit's anchors.
        files : CandidateFiles, optional
            The candidate lists of the count pass.

        Returns
        -------
        dict
            ``rows`` and ``sha256`` of the file, per folder.
        """
        with contextlib.ExitStack() as stack:
            records = {
                name: RecordFile(stack.enter_context(atomic_open(path)))
                for name, path in paths.items()
            }
            self.write_to(records, unit, quotas, counted, files.read if files else None)
            facts = {name: file.facts() for name, file in records.items()}
        return {str(name): fact for name, fact in facts.items()}

    def write_to(
        self,
        sinks: Mapping[OutputFolder, Sink],
        unit: tuple[int, int],
        quotas: Mapping[OutputFolder, Quota],
        counted: NDArray[np.void] | None = None,
        lists_of: Callable[[Rows], CandidateLists] | None = None,
    ) -> None:
        """Write the triplets of a unit to one sink per folder; see `write`.

        `lists_of` returns the candidate lists of the given anchors.
        """
        lines = np.flatnonzero(np.any([quota.counts > 0 for quota in quotas.values()], axis=0))
        anchors = lines + unit[0]
        lists = lists_of(anchors) if lists_of else CandidateLists.empty(len(anchors))
        writer = UnitWriter(
            census=self.census,
            selection=self.selection,
            seed=self.seed,
            normalized=self.normalized,
            blocks=self.whole_blocks,
            listed=self.listed_block,
        )
        own = {name: quota.take(lines) for name, quota in quotas.items()}
        sampled = None if counted is None else self._sampled(anchors, own, counted[lines])
        writer.write(anchors, own, sinks, lists, sampled)

    def _sampled(
        self, anchors: Rows, quotas: Mapping[OutputFolder, Quota], counted: NDArray[np.void]
    ) -> SampledClasses | None:
        """Return the classes of anchors that are written by drawing triplets, or None."""
        if self.selection.needs_pairs or self.selection.spares:
            return None
        census = self.census
        sampler = RejectionSampler(
            vectors=census.vectors,
            relevance=census.relevance,
            metric=census.metric,
            margin=census.margin,
            seed=self.seed,
        )
        return choose_sampled(sampler, self.selection, anchors, quotas, counted)

    def whole_blocks(self, anchors: Rows) -> Iterator[tuple[Rows, Block]]:
        """Count the anchors again; yield positions in `anchors`, and their block."""
        places = self.census.in_order(anchors)
        for block in self.census.blocks(anchors[places], self.memory):
            yield places[: len(block.anchors)], block
            places = places[len(block.anchors) :]

    def listed_block(self, anchors: Rows, lists: CandidateLists) -> Block:
        """Return a block of anchors from their candidate lists."""
        return self.census.listed_block(anchors, lists)


def _kept(anchors: int) -> int:
    """Return the largest number of entries in the candidate lists of all anchors."""
    return max(_ENTRIES, _EACH * anchors)


def listed_bytes(anchors: int, rows: int) -> int:
    """Return an upper bound on the bytes of the candidate lists of `anchors` anchors on disk."""
    return 8 * min(_kept(anchors), min(_MOST, rows) * anchors) + 12 * anchors
