"""Selects the triplets of a block of anchors and writes them as records.

Triplets are selected by pair and rank, for many anchors at once if the counts determine which. The
rows at these ranks are then looked up and measured, a bounded number at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from miner.census.walk.census import Census
from miner.pipeline.units.layout import Quota
from miner.pipeline.units.records import TRIPLET, Sink
from miner.selection.anchor_view import AnchorView, Block
from miner.selection.caps import Caps
from miner.selection.draws import draw_distinct_per_anchor
from miner.selection.preference import prefer_judged
from miner.selection.selection import Selection
from miner.selection.spares import with_spares
from miner.selection.strategies.base import (
    Anchor,
    EligibleRanks,
    PairCounts,
    Picks,
    Selected,
    seed_sequence,
)
from miner.triplets.hardness import OUTPUT_FOLDERS, OutputFolder
from miner.triplets.relevance import cut_sizes, ranges
from miner.triplets.types import Float64, Rows

__all__ = ["BlockWriter", "write_block"]

_CHUNK = 1 << 18
_MANY = 128
"""From this number of rows per anchor, each anchor is measured by its own call: otherwise its
vector is copied once for each row."""
_SINGLE, _WHOLE, _DRAWN = 0, 1, 2
_DRAW = 1
"""Part of the seed: separates the draws of many anchors at once from the draws of one anchor."""
_FEW_SLOTS = 1024
"""Anchors with more slots are drawn one by one, because drawing many at once takes a random number
for each slot."""


@dataclass(frozen=True, slots=True)
class _Picked:
    """Selected triplets of a folder: lines of the block, pair numbers in the block, and ranks."""

    line: Rows
    pair: Rows
    rank: Rows
    weight: Float64


class BlockWriter:
    """Writes the selected triplets of a block of anchors, a bounded number at a time.

    Parameters
    ----------
    files : mapping
        The file or other sink of each folder.
    census : Census
    block : Block
    """

    def __init__(
        self,
        files: Mapping[OutputFolder, Sink],
        census: Census,
        block: Block,
    ) -> None:
        self._files, self._census, self._block = files, census, block
        self._picked: dict[OutputFolder, list[_Picked]] = {name: [] for name in files}
        self._held = 0
        self.most = _CHUNK
        """Largest number of triplets that are in memory."""

    def add(self, folder: OutputFolder, view: AnchorView, picks: Picks) -> None:
        """Write triplets of one anchor; within a folder, anchors must follow the block's order."""
        for start in range(0, len(picks.pair), self.most):
            part = slice(start, start + self.most)
            pair = picks.pair[part] + self._block.starts[view.line]
            line = np.full(len(pair), view.line)
            self.add_lines(folder, line, Picks(pair, picks.rank[part], picks.weight[part]))
            if self._held >= self.most:
                self.flush()

    def add_lines(self, folder: OutputFolder, lines: Rows, picks: Picks) -> None:
        """Add triplets of many lines to the buffer; `picks.pair` holds pair numbers of the block.

        Between two calls of `flush` the lines of a folder may come in any order.
        """
        self._picked[folder].append(_Picked(lines, picks.pair, picks.rank, picks.weight))
        self._held += len(lines)

    def flush(self) -> None:
        """Write the buffered triplets to the files."""
        picked = {name: _joined(parts) for name, parts in self._picked.items() if parts}
        if picked:
            records = self._records(_joined(list(picked.values()), ordered=True))
            start = 0
            for name, part in picked.items():
                self._files[name].append(records[start : start + len(part.line)])
                self._picked[name] = []
                start += len(part.line)
        self._held = 0

    def _records(self, picked: _Picked) -> NDArray[np.void]:
        anchors, pair = self._block.anchors[picked.line], picked.pair
        result = np.empty(len(anchors), dtype=TRIPLET)
        result["anchor"], result["weight"] = anchors, picked.weight
        # The triplets of a pair are adjacent, so its positive is measured once per folder.
        first = np.flatnonzero(np.diff(pair, prepend=-1))
        same = np.diff(first, append=len(pair))
        positives = self._block.positives[pair[first]]
        d_ap = self._measure(anchors[first], positives)
        negatives, d_an = self._negatives(picked.line, picked.rank)
        result["positive"], result["negative"] = np.repeat(positives, same), negatives
        with np.errstate(over="ignore"):  # a distance too large for float32 is infinite there
            result["d_ap"], result["d_an"] = np.repeat(d_ap, same), d_an
        return result

    def _negatives(self, lines: Rows, ranks: Rows) -> tuple[Rows, Float64]:
        """Return the row at each rank of each line, and its distance to the anchor.

        Each negative is measured once if most occur several times: all pairs of an anchor can have
        the same negative.
        """
        block = self._block
        first, width = int(lines.min(initial=0)), int(ranks.max(initial=0)) + 1
        size = (int(lines.max(initial=0)) - first + 1) * width
        if size > len(lines):
            rows = block.rows_at(lines, ranks)
            return rows, self._measure(block.anchors[lines], rows)
        place = (lines - first) * width + ranks
        there = np.zeros(size, dtype=np.bool_)
        there[place] = True
        own, rank = np.divmod(np.flatnonzero(there), width)
        rows = block.rows_at(own + first, rank)
        distances = self._measure(block.anchors[own + first], rows)
        which = (np.cumsum(there) - 1)[place]
        return rows[which], distances[which]

    def _measure(self, anchors: Rows, rows: Rows) -> Float64:
        """Return the distance of each anchor to its row; equal anchors are adjacent."""
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
    """Concatenate picks and sort them by line; `ordered` skips the sort."""
    line = np.concatenate([one.line for one in parts])
    pair = np.concatenate([one.pair for one in parts])
    rank = np.concatenate([one.rank for one in parts])
    weight = np.concatenate([one.weight for one in parts])
    if ordered or (np.diff(line) >= 0).all():
        return _Picked(line, pair, rank, weight)
    order = np.argsort(line, kind="stable")
    return _Picked(line[order], pair[order], rank[order], weight[order])


def write_block(
    writer: BlockWriter,
    block: Block,
    selection: Selection,
    quotas: Mapping[OutputFolder, Quota],
    view: Callable[[int], AnchorView],
    seed: int,
) -> None:
    """Write the triplets of a block's anchors, in the order of anchor, pair and rank.

    Parameters
    ----------
    writer : BlockWriter
        The writer of this block.
    block : Block
    selection : Selection
    quotas : mapping
        The number of triplets of each anchor, per folder: all slots of the anchor, or a uniform
        sample of them.
    view : callable
        Returns the anchor of a line.
    seed : int
        ``select.seed`` of the job.
    """
    takes = _takes(block, selection, quotas)
    total = np.sum([quota.counts for quota in quotas.values()], axis=0)
    few = total <= writer.most
    ways = {
        name: few * _ways(block, takes.get(name), quota, selection.caps)
        for name, quota in quotas.items()
    }
    for first, last in cut_sizes(total, writer.most):
        writer.flush()
        single = np.zeros(last - first, dtype=np.bool_)
        for name, quota in quotas.items():
            way = ways[name][first:last]
            single |= (quota.counts[first:last] > 0) & (way == _SINGLE)
            whole, drawn = (first + np.flatnonzero(way == kind) for kind in (_WHOLE, _DRAWN))
            if len(whole):
                _add_whole(writer, block, name, whole, takes[name], quota.factor)
            if len(drawn):
                _add_drawn(writer, block, name, drawn, takes[name], quota, selection.caps, seed)
        for line in (first + np.flatnonzero(single)).tolist():
            here = view(line)
            eligible = selection.eligible_ranks(here)
            for name, quota in quotas.items():
                if quota.counts[line] and ways[name][line] == _SINGLE:
                    _write_anchor(
                        writer=writer,
                        view=here,
                        eligible=eligible,
                        folder=name,
                        selection=selection,
                        count=int(quota.counts[line]),
                        factor=quota.factor,
                    )
    writer.flush()


def _takes(
    block: Block, selection: Selection, quotas: Mapping[OutputFolder, Quota]
) -> dict[OutputFolder, Selected]:
    """Return what the strategy selects from all pairs, per folder, if the counts determine it."""
    if not selection.ranks_from_counts or selection.spares:
        return {}
    eligible = selection.filters.eligible_ranks(
        cast(Anchor, PairCounts(block.hard, block.non_easy))
    )
    takes = {name: selection.strategy.take(eligible, name) for name in quotas}
    return {name: take for name, take in takes.items() if take.weight == 1.0}


def _ways(block: Block, take: Selected | None, quota: Quota, caps: Caps) -> NDArray[np.int8]:
    """Return how each line is written: `_WHOLE`, all its slots; `_DRAWN`, a sample; `_SINGLE`."""
    ways = np.full(len(block.anchors), _SINGLE, dtype=np.int8)
    if take is None:
        return ways
    slots = np.add.reduceat(take.counts, block.starts[:-1])
    if not caps.per_pair:
        ways[(quota.counts > 0) & (slots <= _FEW_SLOTS)] = _DRAWN
    ways[(quota.counts == slots) & (slots > 0)] = _WHOLE
    return ways


def _add_whole(
    writer: BlockWriter,
    block: Block,
    folder: OutputFolder,
    lines: Rows,
    take: Selected,
    factor: float,
) -> None:
    """Write all slots of the given lines."""
    widths = np.diff(block.starts)[lines]
    pairs = ranges(block.starts[:-1][lines], widths)
    counts = take.counts[pairs]
    pair, rank = np.repeat(pairs, counts), ranges(take.begin[pairs], counts)
    line = np.repeat(np.repeat(lines, widths), counts)
    picks = Picks(pair, rank, np.full(len(pair), take.weight * factor))
    writer.add_lines(folder, line, picks)


def _add_drawn(
    writer: BlockWriter,
    block: Block,
    folder: OutputFolder,
    lines: Rows,
    take: Selected,
    quota: Quota,
    caps: Caps,
    seed: int,
) -> None:
    """Write a uniform sample of the slots of the given lines, which are ascending."""
    widths = np.diff(block.starts)[lines]
    pairs = ranges(block.starts[:-1][lines], widths)
    counts = take.counts[pairs]
    owners = np.repeat(np.arange(len(lines)), widths)
    slots = np.bincount(owners, counts, len(lines)).astype(np.int64)
    key = seed_sequence(seed, OUTPUT_FOLDERS.index(folder), _DRAW)
    for first, last in cut_sizes(slots, writer.most):
        mine = slice(*np.searchsorted(owners, (first, last)))
        some = lines[first:last]
        drawn = draw_distinct_per_anchor(
            key, block.anchors[some], slots[first:last], quota.counts[some]
        )
        ends = np.cumsum(counts[mine])
        pair = np.searchsorted(ends, drawn, side="right")
        rank = take.begin[pairs[mine]][pair] + drawn - (ends - counts[mine])[pair]
        weights = take.weight * quota.factor * caps.weights(slots[first:last])
        line = np.repeat(some, quota.counts[some])
        number = np.repeat(np.arange(last - first), quota.counts[some])
        writer.add_lines(folder, line, Picks(pairs[mine][pair], rank, weights[number]))


def _write_anchor(
    writer: BlockWriter,
    view: AnchorView,
    eligible: EligibleRanks,
    folder: OutputFolder,
    selection: Selection,
    count: int,
    factor: float,
) -> None:
    """Write the triplets of one anchor and folder, in the order of pair and rank.

    `count` is all slots of the anchor, or the size of a uniform sample of them; `factor` is that by
    which the cap on the whole folder multiplies the weights.
    """
    strategy, caps = selection.rule(folder)
    take = strategy.take(eligible, folder)
    rng = view.rng(OUTPUT_FOLDERS.index(folder))
    whole = count == take.counts.sum()
    for picks in (
        _whole(take.counts, writer.most) if whole else [caps.choose(take.counts, count, rng)]
    ):
        ranks = strategy.ranks(eligible, take, picks, rng)
        if selection.prefer and folder != "suspects":
            ranks = prefer_judged(view.judged, eligible.span(folder), picks.pair, ranks)
        picks = Picks(picks.pair, ranks, picks.weight * (take.weight * factor))
        if selection.spares and folder != "suspects":
            picks = with_spares(picks, eligible.span(folder), selection.spares)
        writer.add(folder, view, picks)


def _whole(counts: Rows, most: int) -> Iterator[Picks]:
    """Yield all triplets of an anchor, in groups of pairs because all may not fit in memory."""
    for first, last in cut_sizes(counts, most):
        mine = counts[first:last]
        pair = np.repeat(np.arange(first, last), mine)
        rank = np.arange(len(pair)) - np.repeat(np.cumsum(mine) - mine, mine)
        yield Picks(pair, rank, np.ones(len(pair)))
