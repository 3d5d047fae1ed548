"""One unit of work, pure given its inputs: count a block of anchors, or write its triplets.

A unit is a range of anchors. A job counts all units first; then the caps are shared out over the
anchors, and the units write their triplets as records (rows, distances, weight) in a fixed order:
by anchor, positive, and rank. Which triplets are drawn hangs on the seed and the anchor's row only.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miner.census.block import BlockCounts, Rooms, blocks
from miner.census.candidate_lists import Reach, ReachFiles, ReachRoom
from miner.census.column_sums import ColumnSums
from miner.census.fast.counter import Screen
from miner.census.neighbors import NearestRows
from miner.census.reference import Census
from miner.census.statistics import Besides
from miner.pipeline.units.candidates import Listing
from miner.pipeline.units.layout import COUNTED, Share
from miner.pipeline.units.records import Records
from miner.pipeline.units.sampled import SampledAnchors, choose_sampled
from miner.pipeline.units.unit_writer import ListedAnchors, UnitWriter
from miner.selection.anchor_view import AnchorView, BlockView
from miner.selection.listed_block import Lister
from miner.selection.rank_grid import Sieve, open_sieve
from miner.selection.ranking import Block
from miner.selection.rejection import Rejection
from miner.selection.selection import Selection
from miner.selection.strategies.base import Flat, Pairs
from miner.storage.files import atomic_open
from miner.triplets.hardness import MINED, Kept, Mined
from miner.triplets.relevance import Tally
from miner.triplets.types import Rows

__all__ = ["Miner", "write_files", "writing_lines"]


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
    screen : Screen or None
        The fast pass, where there is one. It takes its memory for keys from `rooms` too: a unit
        is at one of both.
    normalized : bool
        Whether the vectors have unit length: what a score is depends on it.
    besides : Besides
        What is counted beside the classes.
    listing : Listing or None
        What lists the rows within reach, for the writing of them, where something does.
    """

    census: Census
    tally: Tally
    selection: Selection
    seed: int
    memory: int
    normalized: bool = True
    screen: Screen | None = None
    besides: Besides = field(default_factory=Besides)
    listing: Listing | None = None
    rooms: Rooms = field(default_factory=Rooms)

    def counted(self) -> None:
        """Let go of what writing does not need."""
        if self.screen is not None:
            self.screen.rest()

    def _blocks(self, anchors: Rows, sieve: Sieve | None = None) -> Iterator[BlockCounts]:
        """Count anchors, a block at a time, in one buffer."""
        rows = len(self.census.vectors.rows)
        wide = rows + (sieve.cells // 2 if sieve else 0)  # cells are half as wide as keys
        cut = list(blocks(anchors, self.tally.positives[anchors], wide, self.memory))
        with self.rooms.room(max(map(len, cut), default=0) * rows) as buffer:
            for block in cut:
                yield self.census.block(block, buffer, sieve.count if sieve else None)

    def count(
        self,
        unit: tuple[int, int],
        sums: ColumnSums | None = None,
        reaches: list[Reach] | None = None,
    ) -> NDArray[np.void]:
        """Return the census of a unit's anchors, an array of `COUNTED`.

        Parameters
        ----------
        unit : tuple of int
            Places in the order in which anchors are counted.
        sums : ColumnSums, optional
            Takes the triplets by row and label.
        reaches : list of Reach, optional
            Takes what is listed of the rows within reach, if anything is.
        """
        anchors = self.besides.anchors(unit)
        result, wanted = self._uncounted(anchors)
        unsure = self._screen(anchors, wanted, result, sums, reaches)
        places = np.flatnonzero(wanted | unsure if self.besides.row_by_row else wanted)
        for block in self._blocks(anchors[places]):
            at, places = places[: len(block.anchors)], places[len(block.anchors) :]
            for name, counts in _by_class(block).items():
                result[name][at] = np.add.reduceat(counts, block.starts[:-1])
            result["loss"][at] = block.loss
            self._select_block(block, at, result)
            for line in np.flatnonzero(unsure[at] & self.besides.row_by_row).tolist():
                self.besides.look(self.census, block, line, sums, result[at[line] :][:1])
        return self._completed(anchors, result)

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

    def _screen(
        self,
        anchors: Rows,
        wanted: NDArray[np.bool_],
        result: NDArray[np.void],
        sums: ColumnSums | None,
        reaches: list[Reach] | None,
    ) -> NDArray[np.bool_]:
        """Count what the fast pass is sure of; leave the others wanted.

        It finds totals: they do where the selection needs no more, or an anchor has one pair only.
        Row by row it looks at all; returned is where it is not sure of that.
        """
        unsure, pairs, by_rank = wanted.copy(), self.selection.needs_pairs, self.selection.by_rank
        enough = wanted & ((result["positives"] == 1) & by_rank if pairs else wanted)
        chosen = wanted if self.besides.row_by_row else enough
        if self.screen is None or not chosen.any():
            return unsure
        lines = np.flatnonzero(chosen)
        listing = self.listing if reaches is not None else None
        room = listing.room(len(lines)) if listing else ReachRoom()
        found = self.screen.count(anchors[lines], self.memory, sums, self.besides.neighbours, room)
        if reaches is not None and listing:
            reaches.append(Reach.gathered(len(anchors), [(lines, found.reach)]))
        for name, counts in (("semi_hard", found.within - found.hard), ("hard", found.hard)):
            result[name][lines] = counts
        result["loss"][lines] = found.loss
        if self.besides.neighbours:
            judged = result[lines]
            self.besides.judge(NearestRows(anchors[lines], found.nearest), judged)
            result[lines] = judged
        if pairs:
            some = np.flatnonzero(enough[lines])
            flat = Flat(found.hard[some], found.within[some])
            self._select_by_pair(flat, np.arange(len(some)), lines[some], result)
        unsure[lines[found.sure]] = False
        wanted &= unsure | ~enough
        return unsure

    def _select_block(self, block: Block, at: Rows, result: NDArray[np.void]) -> None:
        """Say what the selection makes of a block's anchors, if it needs their pairs."""
        if self.selection.needs_pairs and self.selection.by_pair:
            pairs = BlockView(self.census, block, self.normalized)
            self._select_by_pair(pairs, block.starts[:-1], at, result)
        elif self.selection.needs_pairs:
            for line, place in enumerate(at.tolist()):
                self._select(self._view(block, line), result[place : place + 1])

    def _view(self, block: Block, line: int) -> AnchorView:
        return AnchorView(self.census, block, line, self.normalized, self.seed)

    def _select(self, view: AnchorView, counted: NDArray[np.void]) -> None:
        """Say what the selection makes of an anchor, in its line of `COUNTED`, shape (1,)."""
        admitted = self.selection.admit(view)
        for name in MINED:
            strategy, caps = self.selection.rule(name)
            take = strategy.take(admitted, name)
            counted[f"slots_{name}"] = caps.slots(take.counts)
            counted[f"wanted_{name}"] = take.wanted
            counted[f"available_{name}"] = admitted.span(name)[1].sum()
        if self.selection.suspects:
            counted["slots_suspects"] = admitted.suspects.sum()

    def _select_by_pair(
        self, pairs: Pairs, starts: Rows, at: Rows, result: NDArray[np.void]
    ) -> None:
        """Say the same of many anchors, where their pairs tell it one by one."""
        if not len(at):
            return
        admitted = self.selection.admit_pairs(pairs)
        for name in MINED:
            found = self.selection.of_pairs(name, admitted, starts)
            for column, values in zip(("slots", "wanted", "available"), found, strict=True):
                result[f"{column}_{name}"][at] = values
        if self.selection.suspects:
            result["slots_suspects"][at] = np.add.reduceat(admitted.suspects, starts)

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
        files: ReachFiles | None = None,
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
            What was counted of the unit's anchors; without it all is counted anew.
        files : ReachFiles, optional
            What was listed then.

        Returns
        -------
        dict
            Per folder, ``rows`` and ``sha256`` of the file.
        """
        lines = writing_lines(shares)
        anchors = lines + unit[0]
        own = {name: share.of(lines) for name, share in shares.items()}
        sampled = None if counted is None else self._sampled(anchors, own, counted[lines])
        sieve = open_sieve(len(self.census.vectors.rows), self.census.kernel_name)
        known = None
        if self.listing is not None and counted is not None:
            some = slice(None) if sampled is None else sampled.others
            hard, semi_hard = counted["hard"][lines][some], counted["semi_hard"][lines][some]
            known = self.listing.known(anchors[some], hard, hard + semi_hard, files)
        lister = Lister(self.census, self.listing.screen.pairs) if self.listing else None
        blocks = functools.partial(self._blocks, sieve=sieve)
        facing = (self.census, self.selection, self.seed, self.normalized)
        writer = UnitWriter(*facing, blocks, sieve, lister)
        write = writer.write if sampled is None else functools.partial(sampled.write, writer)
        return write_files(write, anchors, own, paths, known)

    def _sampled(
        self, anchors: Rows, shares: Mapping[Kept, Share], counted: NDArray[np.void]
    ) -> SampledAnchors | None:
        """Return which anchors are written by drawing triplets, if any are."""
        if self.selection.needs_pairs:
            return None
        census = self.census
        given = (census.vectors, census.relevance, census.metric, census.margin, self.seed)
        return choose_sampled(Rejection(*given), self.selection, anchors, shares, counted)


def writing_lines(shares: Mapping[Kept, Share]) -> Rows:
    """Return which of a unit's anchors write something."""
    return np.flatnonzero(np.any([share.counts > 0 for share in shares.values()], axis=0))


def write_files(
    write: Callable[..., None],
    anchors: Rows,
    shares: Mapping[Kept, Share],
    paths: Mapping[Kept, Path],
    known: ListedAnchors | None,
) -> dict[str, dict[str, Any]]:
    """Write some anchors of a unit, a file a folder; the shares are theirs.

    Parameters
    ----------
    write : callable
        As `UnitWriter.write`.
    anchors : ndarray of shape (anchors,), int64
    shares, paths : mapping
        Per folder.
    known : ListedAnchors, optional

    Returns
    -------
    dict
        As of `Miner.write`.
    """
    with contextlib.ExitStack() as stack:
        records = {
            name: Records(stack.enter_context(atomic_open(path))) for name, path in paths.items()
        }
        write(anchors, shares, records, known)
        facts = {name: file.facts() for name, file in records.items()}
    return {str(name): fact for name, fact in facts.items()}


def _by_class(block: BlockCounts) -> dict[Mined, Rows]:
    return {"semi_hard": block.within - block.hard, "hard": block.hard}
