"""Writing the triplets of a block of anchors as records, a bounded number at a time.

Triplets are picked by pair and rank, anchor by anchor; the rows at these ranks are found, and all
distances measured, for many anchors at once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from miner.candidates import AnchorView
from miner.census import BlockCounts, Census
from miner.distance import Float64
from miner.hardness import KEPT, Kept
from miner.ranking import TRIPLET
from miner.sifting.sieve import Found, Sieve
from miner.strategies.base import Admitted, Picks
from miner.strategies.selection import Selection

__all__ = ["BlockWriter", "Records", "write_anchor"]

Rows = NDArray[np.int64]

_CHUNK = 1 << 18
_MANY = 128
"""From so many rows an anchor on, its vector is not worth copying for each."""


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


@dataclass(frozen=True, slots=True)
class _Picked:
    """Triplets of one anchor on their way to a folder: pairs by number in the block, and ranks."""

    folder: Kept
    view: AnchorView
    pair: Rows
    rank: Rows
    weight: Float64


class BlockWriter:
    """Writes the triplets that are picked from a block of anchors, a bounded number at a time.

    Parameters
    ----------
    files : mapping
        Per folder, its file; the order of calls is that of the records.
    census : Census
    block : BlockCounts
    sieve : Sieve, optional
        What counted the block, where it did: it finds rows by rank.
    """

    def __init__(
        self,
        files: Mapping[Kept, Records],
        census: Census,
        block: BlockCounts,
        sieve: Sieve | None = None,
    ) -> None:
        self._files, self._census, self._block, self._sieve = files, census, block, sieve
        self._picked: list[_Picked] = []
        self._held = 0

    def add(self, folder: Kept, view: AnchorView, picks: Picks) -> None:
        """Write triplets of an anchor; the anchors of a block must come in its order."""
        for start in range(0, len(picks.pair), _CHUNK):
            part = slice(start, start + _CHUNK)
            pair = picks.pair[part] + self._block.starts[view.line]
            self._picked.append(_Picked(folder, view, pair, picks.rank[part], picks.weight[part]))
            self._held += len(pair)
            if self._held >= _CHUNK:
                self.flush()

    def flush(self) -> None:
        """Hand what was added to the files."""
        picked, self._picked, self._held = self._picked, [], 0
        if not picked:
            return
        records = self._records(picked)
        start = 0
        for one in picked:
            self._files[one.folder].append(records[start : start + len(one.pair)])
            start += len(one.pair)

    def _records(self, picked: list[_Picked]) -> NDArray[np.void]:
        sizes = [len(one.pair) for one in picked]
        anchors = np.repeat(np.array([one.view.number for one in picked]), sizes)
        result = np.empty(len(anchors), dtype=TRIPLET)
        result["anchor"] = anchors
        result["weight"] = np.concatenate([one.weight for one in picked])
        pair = np.concatenate([one.pair for one in picked])
        # A pair's triplets come together, so each is measured once a folder.
        first = np.flatnonzero(np.diff(pair, prepend=-1))
        same = np.diff(first, append=len(pair))
        positives = self._block.positives[pair[first]]
        d_ap = self._measure(anchors[first], positives)
        negatives, d_an = self._negatives(picked)
        result["positive"], result["negative"] = np.repeat(positives, same), negatives
        with np.errstate(over="ignore"):  # a distance too large for float32 is infinite there
            result["d_ap"], result["d_an"] = np.repeat(d_ap, same), d_an
        return result

    def _negatives(self, picked: list[_Picked]) -> tuple[Rows, Float64]:
        """Return the rows at the picked ranks, and their distances."""
        first = np.flatnonzero(np.diff([one.view.line for one in picked], prepend=-1))
        views = [picked[at].view for at in first]
        starts = np.append(0, np.cumsum([len(one.pair) for one in picked]))[
            np.append(first, len(picked))
        ]
        ranks = np.concatenate([one.rank for one in picked])
        found = self._find(views, starts, ranks)
        parts, numbers, place = [found.rows], [found.number], found.place
        held = len(found.rows)
        for at in np.flatnonzero(~found.sure).tolist():
            mine = slice(starts[at], starts[at + 1])
            unique, inverse = np.unique(ranks[mine], return_inverse=True)
            parts.append(views[at].ranking.rows_at(unique))
            numbers.append(np.full(len(unique), at))
            place[mine] = held + inverse
            held += len(unique)
        rows, number = np.concatenate(parts), np.concatenate(numbers)
        distances = self._measure(np.array([view.number for view in views])[number], rows)
        shared = np.flatnonzero(found.run)
        order = shared[np.lexsort((rows[shared], distances[shared], found.run[shared]))]
        rows[shared], distances[shared] = rows[order], distances[order]
        return rows[place], distances[place]

    def _find(self, views: list[AnchorView], starts: Rows, ranks: Rows) -> Found:
        """Find what the sieve finds; without one no line is sure."""
        if self._sieve is not None:
            lines = np.array([view.line for view in views])
            return self._sieve.find(self._block, lines, starts, ranks)
        none = np.empty(0, dtype=np.int64)
        return Found(none, none, none, np.empty_like(ranks), np.zeros(len(views), dtype=np.bool_))

    def _measure(self, anchors: Rows, rows: Rows) -> Float64:
        """Measure rows from one anchor each; from one at a time where each has many."""
        measure, metric = self._census.vectors.measure, self._census.metric
        cuts = np.flatnonzero(np.diff(anchors, prepend=-1))
        if len(rows) < _MANY * len(cuts):
            return measure(metric, anchors, rows)
        ends = [*cuts[1:].tolist(), len(rows)]
        parts = [
            measure(metric, anchors[start : start + 1], rows[start:end])
            for start, end in zip(cuts.tolist(), ends, strict=True)
        ]
        return np.concatenate([np.empty(0), *parts])


def write_anchor(
    writer: BlockWriter,
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
    writer : BlockWriter
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
        writer.add(folder, view, Picks(picks.pair, ranks, weights))


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
