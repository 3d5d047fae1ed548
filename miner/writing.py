"""Writing the triplets of one anchor as records, a bounded number at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from miner.candidates import AnchorView
from miner.hardness import KEPT, Kept
from miner.strategies.base import Admitted, Picks
from miner.strategies.selection import Selection

__all__ = ["Records", "write_anchor"]

Rows = NDArray[np.int64]

_CHUNK = 1 << 18


class Records:
    """A file of records, with its checksum taken on the way."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._sum = hashlib.sha256()
        self._rows = 0

    def append(self, records: NDArray[np.void]) -> None:
        """Write records at the end."""
        data = records.tobytes()
        self._file.write(data)
        self._sum.update(data)
        self._rows += len(records)

    def facts(self) -> dict[str, Any]:
        """Return how many rows were written, and their checksum."""
        return {"rows": self._rows, "sha256": self._sum.hexdigest()}


def write_anchor(
    file: Records,
    view: AnchorView,
    admitted: Admitted,
    folder: Kept,
    selection: Selection,
    count: int,
    factor: float,
) -> None:
    """Write an anchor's triplets of one folder, in the order of pair and rank.

    Parameters
    ----------
    file : Records
    view, admitted : AnchorView, Admitted
        The anchor, and what the filters leave of it.
    folder : str
    selection : Selection
    count : int
        How many of its slots it writes: all, or so many drawn uniformly.
    factor : float
        What the cap on the whole folder puts on a weight.
    """
    strategy, caps = selection.rule(folder)
    take = strategy.take(admitted, folder)
    rng = view.rng(KEPT.index(folder))
    whole = count == take.counts.sum()
    for picks in _whole(take.counts) if whole else [caps.choose(take.counts, count, rng)]:
        ranks = strategy.ranks(admitted, take, picks, rng)
        weights = picks.weight * (take.weight * factor)
        for start in range(0, len(ranks), _CHUNK):
            part = slice(start, start + _CHUNK)
            file.append(view.ranking.triplets(picks.pair[part], ranks[part], weights[part]))


def _whole(counts: Rows) -> Iterator[Picks]:
    """Pick every triplet of an anchor, some pairs at a time: they may be too many to hold."""
    ends = np.cumsum(counts)
    first = 0
    while first < len(counts):
        last = int(np.searchsorted(ends, ends[first] - counts[first] + _CHUNK, side="right"))
        last = max(last, first + 1)
        mine = counts[first:last]
        pair = np.repeat(np.arange(first, last), mine)
        rank = np.arange(len(pair)) - np.repeat(np.cumsum(mine) - mine, mine)
        yield Picks(pair, rank, np.ones(len(pair)))
        first = last
