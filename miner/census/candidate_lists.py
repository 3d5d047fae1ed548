"""The rows within reach of some anchors: what the counting pass leaves for the writing pass.

Within reach are the rows that may be hard or semi-hard. They are listed in no order, with keys that
are near the true ones; where there are too many, the nearest are listed, and up to which key they
are all there. What is listed decides how fast triplets are written, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from miner.storage.arrays import let_go, load_array
from miner.triplets.relevance import spans
from miner.triplets.types import Rows

__all__ = ["ENTRIES", "ENTRY", "HEAD", "HEADS", "LATER", "VAIN", "Reach", "ReachFiles", "ReachRoom"]

VAIN, LATER = -1, -2
"""Instead of how many rows are listed: too many are within reach to list what is wanted; or nobody
has looked, or there was no room."""

HEAD = np.dtype([("held", np.int32), ("top", np.float32), ("error", np.float32)])
"""Of one anchor: how many rows are listed; all whose key is up to `top` are, infinity standing for
all within reach; how far a key can be from the true one."""

HEADS, ENTRIES = ".reach.npy", ".near.npy"
"""How the names of a unit's files end: of the heads, and of the rows."""

ENTRY = np.dtype([("row", np.int32), ("key", np.float32)])


@dataclass(frozen=True, slots=True)
class ReachRoom:
    """How much of it is kept.

    Attributes
    ----------
    rows : int
        Per anchor at most twice so many rows; of more than that the nearest so many. 0 keeps none.
    entries : int
        So many rows in all.
    serving : callable, optional
        Of what was kept of some anchors returns what serves: from the anchors, that, their hard,
        and their hard or semi-hard triplets, and whether these counts are sure.
    """

    rows: int = 0
    entries: int = 0
    serving: Callable[[Rows, Reach, Rows, Rows, NDArray[np.bool_]], Reach] | None = None


@dataclass(frozen=True, slots=True)
class Reach:
    """The rows within reach of some anchors.

    Attributes
    ----------
    head : ndarray of shape (anchors,), `HEAD`
    entries : ndarray of `ENTRY`
        Anchor after anchor.
    """

    head: NDArray[np.void]
    entries: NDArray[np.void]

    @classmethod
    def unknown(cls, anchors: int) -> Reach:
        """Return that of anchors which nobody has looked at."""
        head = np.zeros(anchors, dtype=HEAD)
        head["held"] = LATER
        return cls(head, np.empty(0, dtype=ENTRY))

    @classmethod
    def gathered(cls, anchors: int, parts: Sequence[tuple[Rows, Reach]]) -> Reach:
        """Return that of so many anchors, from parts and the places of their anchors."""
        rest = cls.unknown(anchors)
        reaches = [part for _, part in parts] + [rest]
        joined = cls(
            np.concatenate([one.head for one in reaches]),
            np.concatenate([one.entries for one in reaches]),
        )
        source = np.arange(len(joined.head) - anchors, len(joined.head))
        first = 0
        for places, part in parts:
            source[places] = np.arange(first, first + len(part.head))
            first += len(part.head)
        return joined.take(source)

    @property
    def sizes(self) -> Rows:
        """How many rows are listed of each anchor."""
        held: Rows = np.maximum(self.head["held"], 0).astype(np.int64)
        return held

    @property
    def starts(self) -> Rows:
        """Where the rows of each anchor begin, and the end, shape (anchors + 1,)."""
        return np.concatenate([[0], np.cumsum(self.sizes)])

    def take(self, lines: Rows) -> Reach:
        """Return that of some of the anchors, in this order."""
        places = spans(self.starts[:-1][lines], self.sizes[lines])
        return Reach(self.head[lines], self.entries[places])

    def within(self, entries: int) -> Reach:
        """Return what fits so many rows in all."""
        fits = np.cumsum(self.sizes) <= entries
        if fits.all():
            return self
        head = self.head.copy()
        head["held"][~fits & (self.sizes > 0)] = LATER
        return Reach(head, self.entries[np.repeat(fits, self.sizes)])


class ReachFiles:
    """What the units of a counting pass left, anchor by anchor.

    Parameters
    ----------
    work : Path
        Where the files are.
    units : list of str
        The units, in the order of counting.
    order : ndarray of shape (anchors,), int64
        The anchors of these units, in that order.
    """

    def __init__(self, work: Path, units: Sequence[str], order: Rows) -> None:
        heads = [load_array(work / f"{unit}{HEADS}") for unit in units]
        sizes = [np.maximum(head["held"], 0).astype(np.int64) for head in heads]
        paths = [work / f"{unit}{ENTRIES}" for unit in units]
        self._entries = [load_array(path) for path in paths]
        self._head = np.concatenate(heads)
        self._unit = np.repeat(np.arange(len(units)), [len(head) for head in heads])
        self._start = np.concatenate([np.cumsum(size) - size for size in sizes])
        self._place = np.empty(int(order.max(initial=-1)) + 1, dtype=np.int64)
        self._place[order] = np.arange(len(order))

    def of(self, anchors: Rows) -> Reach:
        """Read that of some anchors."""
        places = self._place[anchors]
        parts = []
        for unit in np.unique(self._unit[places]).tolist():
            mine = np.flatnonzero(self._unit[places] == unit)
            head = self._head[places[mine]]
            sizes = np.maximum(head["held"], 0).astype(np.int64)
            at = spans(self._start[places[mine]], sizes)
            parts.append((mine, Reach(head, self._entries[unit][at])))
            let_go(self._entries[unit])
        return Reach.gathered(len(anchors), parts)
