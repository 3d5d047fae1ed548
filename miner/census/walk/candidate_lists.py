"""Candidate lists: the nearest rows of anchors, passed from the counting pass to the writing pass.

A list holds the first entries of an anchor (`miner.census.walk.ranked_block`), as many as writing
needs. Lists only make writing faster: they do not change what is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from miner.storage.arrays import load_array, release_pages
from miner.triplets.relevance import ranges
from miner.triplets.types import Float64, Rows

__all__ = ["ENTRY_SUFFIX", "HEADER_SUFFIX", "LIST_HEADER", "CandidateFiles", "CandidateLists"]

LIST_HEADER = np.dtype([("held", np.int32), ("gap", np.float64)])
"""Header of one list. `held`: the number of entries, or -1 if there is no list. `gap`: keys that
differ by at most this much may be in the wrong order."""

HEADER_SUFFIX, ENTRY_SUFFIX = ".lists.npy", ".near.npy"
"""Suffixes of the files of a unit: the headers, and the entries."""


@dataclass(frozen=True, slots=True)
class CandidateLists:
    """The candidate lists of some anchors.

    Attributes
    ----------
    head : ndarray of shape (anchors,), `LIST_HEADER`
    entries : ndarray of float64
        The entries of all lists, anchor after anchor.
    """

    head: NDArray[np.void]
    entries: Float64

    @classmethod
    def empty(cls, anchors: int) -> CandidateLists:
        """Return `anchors` headers that say that there is no list."""
        head = np.zeros(anchors, dtype=LIST_HEADER)
        head["held"] = -1
        return cls(head, np.empty(0))

    @classmethod
    def assemble(cls, anchors: int, parts: Sequence[tuple[Rows, CandidateLists]]) -> CandidateLists:
        """Return the lists of `anchors` anchors, assembled from parts.

        Each part comes with the positions of its anchors; the other anchors get no list.
        """
        rest = cls.empty(anchors)
        lists = [part for _, part in parts] + [rest]
        whole = cls(
            np.concatenate([one.head for one in lists]),
            np.concatenate([one.entries for one in lists]),
        )
        source = np.arange(len(whole.head) - anchors, len(whole.head))
        first = 0
        for places, part in parts:
            source[places] = np.arange(first, first + len(part.head))
            first += len(part.head)
        return whole.take(source)

    @property
    def sizes(self) -> Rows:
        """The number of entries of each list."""
        held: Rows = np.maximum(self.head["held"], 0).astype(np.int64)
        return held

    @property
    def firsts(self) -> Rows:
        """The position of each anchor's first entry, and the end, shape (anchors + 1,)."""
        return np.concatenate([[0], np.cumsum(self.sizes)])

    def take(self, lines: Rows) -> CandidateLists:
        """Return the lists of the given anchors, in the given order."""
        places = ranges(self.firsts[:-1][lines], self.sizes[lines])
        return CandidateLists(self.head[lines], self.entries[places])


class CandidateFiles:
    """The candidate lists that the units of a counting pass wrote.

    Parameters
    ----------
    work : Path
        The folder of the files.
    units : list of str
        The units, in the order of counting.
    order : ndarray of shape (anchors,), int64
        The anchors of these units, in the same order.
    """

    def __init__(self, work: Path, units: Sequence[str], order: Rows) -> None:
        heads = [load_array(work / f"{unit}{HEADER_SUFFIX}") for unit in units]
        sizes = [np.maximum(head["held"], 0).astype(np.int64) for head in heads]
        paths = [work / f"{unit}{ENTRY_SUFFIX}" for unit in units]
        self._entries = [load_array(path) for path in paths]
        self._head = np.concatenate(heads)
        self._unit = np.repeat(np.arange(len(units)), [len(head) for head in heads])
        self._start = np.concatenate([np.cumsum(size) - size for size in sizes])
        self._place = np.empty(int(order.max(initial=-1)) + 1, dtype=np.int64)
        self._place[order] = np.arange(len(order))

    def read(self, anchors: Rows) -> CandidateLists:
        """Read the lists of the given anchors."""
        places = self._place[anchors]
        parts = []
        for unit in np.unique(self._unit[places]).tolist():
            mine = np.flatnonzero(self._unit[places] == unit)
            head = self._head[places[mine]]
            sizes = np.maximum(head["held"], 0).astype(np.int64)
            at = ranges(self._start[places[mine]], sizes)
            parts.append((mine, CandidateLists(head, self._entries[unit][at])))
            release_pages(self._entries[unit])
        return CandidateLists.assemble(len(anchors), parts)
