"""Writing the triplets of a block of anchors as records, a bounded number at a time.

Triplets are picked by pair and rank, anchor by anchor; the rows at these ranks are found, and all
distances measured, for many anchors at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from miner.census.reference import Census
from miner.pipeline.units.records import TRIPLET, Sink
from miner.selection.anchor_view import AnchorView
from miner.selection.rank_grid import Found
from miner.selection.ranking import Block, Ranking
from miner.selection.strategies.base import Picks
from miner.triplets.hardness import Kept
from miner.triplets.types import Float64, Rows

__all__ = ["BlockWriter"]


_CHUNK = 1 << 18
_MANY = 128
"""From so many rows an anchor on, its vector is not worth copying for each."""


@dataclass(frozen=True, slots=True)
class _Picked:
    """Triplets on their way to a folder: lines of the block, pairs by number in it, and ranks."""

    line: Rows
    pair: Rows
    rank: Rows
    weight: Float64


class BlockWriter:
    """Writes the triplets that are picked from a block of anchors, a bounded number at a time.

    Parameters
    ----------
    files : mapping
        Per folder, its file.
    census : Census
    block : Block
    find : callable, optional
        Finds rows by rank, from lines, where the ranks of each begin and end, and ranks.
    """

    def __init__(
        self,
        files: Mapping[Kept, Sink],
        census: Census,
        block: Block,
        find: Callable[[Rows, Rows, Rows], Found] | None = None,
    ) -> None:
        self._files, self._census, self._block, self._find_rows = files, census, block, find
        self._picked: dict[Kept, list[_Picked]] = {name: [] for name in files}
        self._views: dict[int, AnchorView] = {}
        self._held = 0
        self.most = _CHUNK
        """How many triplets are held at most."""

    def add(self, folder: Kept, view: AnchorView, picks: Picks) -> None:
        """Write triplets of an anchor; those of a folder must come in the order of the block."""
        self._views[view.line] = view
        for start in range(0, len(picks.pair), self.most):
            part = slice(start, start + self.most)
            pair = picks.pair[part] + self._block.starts[view.line]
            line = np.full(len(pair), view.line)
            self.add_lines(folder, line, Picks(pair, picks.rank[part], picks.weight[part]))
            if self._held >= self.most:
                self.flush()

    def add_lines(self, folder: Kept, lines: Rows, picks: Picks) -> None:
        """Hold triplets of many lines, whose pairs are numbered in the block.

        Until the next `flush`, the lines of a folder may come in any order.
        """
        self._picked[folder].append(_Picked(lines, picks.pair, picks.rank, picks.weight))
        self._held += len(lines)

    def flush(self) -> None:
        """Hand what was added to the files."""
        picked = {name: _joined(parts) for name, parts in self._picked.items() if parts}
        if picked:
            records = self._records(_joined(list(picked.values()), ordered=True))
            start = 0
            for name, part in picked.items():
                self._files[name].append(records[start : start + len(part.line)])
                self._picked[name] = []
                start += len(part.line)
        self._views, self._held = {}, 0

    def _records(self, picked: _Picked) -> NDArray[np.void]:
        anchors, pair = self._block.anchors[picked.line], picked.pair
        result = np.empty(len(anchors), dtype=TRIPLET)
        result["anchor"], result["weight"] = anchors, picked.weight
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

    def _negatives(self, picked: _Picked) -> tuple[Rows, Float64]:
        """Return the rows at the picked ranks, and their distances."""
        order = np.argsort(picked.line, kind="stable")
        line, ranks = picked.line[order], picked.rank[order]
        first = np.flatnonzero(np.diff(line, prepend=-1))
        lines, starts = line[first], np.append(first, len(line))
        found = self._find(lines, starts, ranks)
        parts, numbers, place = [found.rows], [found.number], found.place
        held = len(found.rows)
        for at in np.flatnonzero(~found.sure).tolist():
            mine = slice(starts[at], starts[at + 1])
            unique, inverse = np.unique(ranks[mine], return_inverse=True)
            parts.append(self._ranking(int(lines[at])).rows_at(unique))
            numbers.append(np.full(len(unique), at))
            place[mine] = held + inverse
            held += len(unique)
        rows, number = np.concatenate(parts), np.concatenate(numbers)
        distances = self._measure(self._block.anchors[lines][number], rows)
        shared = np.flatnonzero(found.run)
        by_run = shared[np.lexsort((rows[shared], distances[shared], found.run[shared]))]
        rows[shared], distances[shared] = rows[by_run], distances[by_run]
        places = np.empty_like(place)
        places[order] = place
        return rows[places], distances[places]

    def _ranking(self, line: int) -> Ranking:
        view = self._views.get(line)
        return view.ranking if view else Ranking(self._census, self._block, line)

    def _find(self, lines: Rows, starts: Rows, ranks: Rows) -> Found:
        """Find the rows, where something does; else no line is sure."""
        if self._find_rows is not None:
            return self._find_rows(lines, starts, ranks)
        none = np.empty(0, dtype=np.int64)
        return Found(none, none, none, np.empty_like(ranks), np.zeros(len(lines), dtype=np.bool_))

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


def _joined(parts: list[_Picked], *, ordered: bool = False) -> _Picked:
    """Join picks; put them in the order of their lines unless they are to stay as they are."""
    line = np.concatenate([one.line for one in parts])
    pair = np.concatenate([one.pair for one in parts])
    rank = np.concatenate([one.rank for one in parts])
    weight = np.concatenate([one.weight for one in parts])
    if ordered or (np.diff(line) >= 0).all():
        return _Picked(line, pair, rank, weight)
    order = np.argsort(line, kind="stable")
    return _Picked(line[order], pair[order], rank[order], weight[order])
