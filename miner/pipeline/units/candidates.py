"""What is listed of the rows within reach, and for which anchors that serves to write them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miner.census.candidate_lists import ENTRY, HEAD, LATER, VAIN, Reach, ReachFiles, ReachRoom
from miner.census.fast.candidate_pass import shorten
from miner.census.fast.counter import Screen
from miner.pipeline.units.unit_writer import ListedAnchors
from miner.selection.selection import Selection
from miner.selection.strategies.base import Flat
from miner.triplets.types import Rows

__all__ = ["Listing", "listed_bytes", "plan_listing"]

_MOST = 512
_FEWER = 16
"""A listed row costs as much as so many keys of a whole block."""
_ENTRIES = (1 << 29) // 8
"""Rows that are listed for all anchors together as they are counted: half a GiB on disk;"""
_EACH = 256
"""or so many for each, where that is more: a large job would otherwise count most anchors again."""
_AT_ONCE = 2048


@dataclass(frozen=True, slots=True)
class Listing:
    """Lists the rows within reach of one job's anchors.

    Parameters
    ----------
    screen : Screen
    selection : Selection
    positives : ndarray of shape (anchors,), int64
        How many positives each anchor has.
    most : int
        See `miner.census.candidate_lists.ReachRoom`.
    memory : int
        Bytes for a block of keys.
    """

    screen: Screen
    selection: Selection
    positives: Rows
    most: int
    memory: int

    def room(self, anchors: int) -> ReachRoom:
        """Return how much is kept of so many anchors as they are counted."""
        return ReachRoom(self.most, self._entries(anchors), self._serving)

    def _entries(self, anchors: int) -> int:
        whole = len(self.positives)
        return int(_kept(whole) * anchors / max(1, whole))

    def _serving(
        self, anchors: Rows, reach: Reach, hard: Rows, within: Rows, sure: NDArray[np.bool_]
    ) -> Reach:
        """Return what writing needs of what was listed as some anchors were counted."""
        needs = self._needs(anchors, hard, within)
        needs[~sure] = -1  # their totals are not known yet
        reach = shorten(reach, needs)
        held = reach.head["held"]
        held[~sure & (held == VAIN) & (self.positives[anchors] == 1)] = LATER
        return reach

    def known(
        self, anchors: Rows, hard: Rows, within: Rows, files: ReachFiles | None
    ) -> ListedAnchors:
        """Return what is listed of some anchors; list what was not, where that seems to serve.

        Parameters
        ----------
        anchors : ndarray of shape (b,), int64
        hard, within : ndarray of shape (b,), int64
            Their triplets that are hard; that are hard or semi-hard.
        files : ReachFiles, optional
            What was listed as they were counted, if they were.
        """
        reach = files.of(anchors) if files else Reach.unknown(len(anchors))
        positives = self.positives[anchors]
        needs = self._needs(anchors, hard, within)
        deep = np.where(needs < 0, within // np.maximum(positives, 1), needs)
        missing = np.flatnonzero((reach.head["held"] == LATER) & (deep <= self.most))
        if len(missing):
            others = np.setdiff1d(np.arange(len(anchors)), missing)
            parts = [(others, reach.take(others))]
            for start in range(0, len(missing), _AT_ONCE):
                part = missing[start : start + _AT_ONCE]
                share = self.memory // 2 // ENTRY.itemsize * len(part) // len(missing)
                room = self._room_for(anchors[part], needs[part], share)
                parts.append(
                    (part, self.screen.count(anchors[part], self.memory, reach=room).reach)
                )
            reach = Reach.gathered(len(anchors), parts)
        return ListedAnchors(reach, hard, within, positives)

    def _room_for(self, anchors: Rows, needs: Rows, share: int) -> ReachRoom:
        """Return how much is kept of anchors (ascending) whose needs are known.

        They are not kept on disk, so that memory alone bounds it: `share` rows.
        """

        def serving(some: Rows, reach: Reach, *_: NDArray[Any]) -> Reach:
            return shorten(reach, needs[np.searchsorted(anchors, some)])

        return ReachRoom(self.most, share, serving)

    def _needs(self, anchors: Rows, hard: Rows, within: Rows) -> Rows:
        """Return how many of its nearest rows each anchor needs; -1: all within reach."""
        needs = np.full(len(anchors), -1, dtype=np.int64)
        if self.selection.plain:
            one = self.positives[anchors] == 1  # else the totals do not say how deep each pair goes
            needs[one] = self.selection.depths(Flat(hard[one], within[one]))
        return needs


def _kept(anchors: int) -> int:
    """Return how many rows are listed at most of all anchors as they are counted."""
    return max(_ENTRIES, _EACH * anchors)


def listed_bytes(anchors: int, rows: int) -> int:
    """Bound what the lists of so many anchors take on disk."""
    entries = min(_kept(anchors), 2 * min(_MOST, rows // _FEWER) * anchors)
    return ENTRY.itemsize * entries + HEAD.itemsize * anchors


def plan_listing(
    screen: Screen | None,
    selection: Selection,
    positives: Rows,
    rows: int,
    memory: int,
    *,
    writes: bool,
) -> Listing | None:
    """Return what lists rows, if anything does: where nothing is written there is no need."""
    most = min(_MOST, rows // _FEWER)
    if screen is None or not most or not writes:
        return None
    return Listing(screen, selection, positives, most, memory)
