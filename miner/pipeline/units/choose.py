"""Choosing the triplets of a block's anchors: many anchors at once where counts tell which."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import cast

import numpy as np
from numpy.typing import NDArray

from miner.pipeline.units.block_writer import BlockWriter
from miner.pipeline.units.layout import Share, cut_sizes
from miner.selection.anchor_view import AnchorView
from miner.selection.caps import Caps
from miner.selection.draws import draw_of_many
from miner.selection.ranking import Block
from miner.selection.selection import Selection
from miner.selection.strategies.base import Admitted, Anchor, Flat, Picks, Take, seeds
from miner.triplets.hardness import KEPT, Kept
from miner.triplets.relevance import spans
from miner.triplets.types import Rows

__all__ = ["write_block"]


_SINGLE, _WHOLE, _DRAWN = 0, 1, 2
_DRAW = 1
"""Keeps the draws of many anchors apart from those of one."""
_FEW_SLOTS = 1024
"""A number is drawn for each slot of an anchor, which more slots than these are not worth."""


def write_block(
    writer: BlockWriter,
    block: Block,
    selection: Selection,
    shares: Mapping[Kept, Share],
    view: Callable[[int], AnchorView],
    seed: int,
) -> None:
    """Write what a block's anchors have to, in the order of anchor, pair and rank.

    Parameters
    ----------
    writer : BlockWriter
        Of this block.
    block : Block
    selection : Selection
    shares : mapping
        Per folder, how many triplets each of the block's anchors writes: all its slots, or so many
        drawn uniformly.
    view : callable
        Returns the anchor of a line.
    seed : int
        The job's.
    """
    takes = _takes(block, selection, shares)
    total = np.sum([share.counts for share in shares.values()], axis=0)
    few = total <= writer.most
    ways = {
        name: few * _ways(block, takes.get(name), share, selection.caps)
        for name, share in shares.items()
    }
    for first, last in cut_sizes(total, writer.most):
        writer.flush()
        single = np.zeros(last - first, dtype=np.bool_)
        for name, share in shares.items():
            way = ways[name][first:last]
            single |= (share.counts[first:last] > 0) & (way == _SINGLE)
            whole, drawn = (first + np.flatnonzero(way == kind) for kind in (_WHOLE, _DRAWN))
            if len(whole):
                _add_whole(writer, block, name, whole, takes[name], share.factor)
            if len(drawn):
                _add_drawn(writer, block, name, drawn, takes[name], share, selection.caps, seed)
        for line in (first + np.flatnonzero(single)).tolist():
            here = view(line)
            admitted = selection.admit(here)
            for name, share in shares.items():
                if share.counts[line] and ways[name][line] == _SINGLE:
                    rule = (name, selection, int(share.counts[line]), share.factor)
                    _write_anchor(writer, here, admitted, *rule)
    writer.flush()


def _takes(block: Block, selection: Selection, shares: Mapping[Kept, Share]) -> dict[Kept, Take]:
    """Return what is taken of all pairs at once, where counts tell it."""
    if not selection.plain:
        return {}
    admitted = selection.filters.admit(cast(Anchor, Flat(block.hard, block.within)))
    takes = {name: selection.strategy.take(admitted, name) for name in shares}
    return {name: take for name, take in takes.items() if take.weight == 1.0}


def _ways(block: Block, take: Take | None, share: Share, caps: Caps) -> NDArray[np.int8]:
    """Say of each line how it is written: all that is taken of it, so many drawn, or alone."""
    ways = np.full(len(block.anchors), _SINGLE, dtype=np.int8)
    if take is None:
        return ways
    slots = np.add.reduceat(take.counts, block.starts[:-1])
    if not caps.per_pair:
        ways[(share.counts > 0) & (slots <= _FEW_SLOTS)] = _DRAWN
    ways[(share.counts == slots) & (slots > 0)] = _WHOLE
    return ways


def _add_whole(
    writer: BlockWriter, block: Block, folder: Kept, lines: Rows, take: Take, factor: float
) -> None:
    """Write all that is taken of some lines."""
    widths = np.diff(block.starts)[lines]
    pairs = spans(block.starts[:-1][lines], widths)
    counts = take.counts[pairs]
    pair, rank = np.repeat(pairs, counts), spans(take.begin[pairs], counts)
    line = np.repeat(np.repeat(lines, widths), counts)
    picks = Picks(pair, rank, np.full(len(pair), take.weight * factor))
    writer.add_lines(folder, line, picks)


def _add_drawn(
    writer: BlockWriter,
    block: Block,
    folder: Kept,
    lines: Rows,
    take: Take,
    share: Share,
    caps: Caps,
    seed: int,
) -> None:
    """Write so many, drawn uniformly, of what is taken of some lines, ascending."""
    widths = np.diff(block.starts)[lines]
    pairs = spans(block.starts[:-1][lines], widths)
    counts = take.counts[pairs]
    owners = np.repeat(np.arange(len(lines)), widths)
    slots = np.bincount(owners, counts, len(lines)).astype(np.int64)
    key = seeds(seed, KEPT.index(folder), _DRAW)
    for first, last in cut_sizes(slots, writer.most):
        mine = slice(*np.searchsorted(owners, (first, last)))
        some = lines[first:last]
        drawn = draw_of_many(key, block.anchors[some], slots[first:last], share.counts[some])
        ends = np.cumsum(counts[mine])
        pair = np.searchsorted(ends, drawn, side="right")
        rank = take.begin[pairs[mine]][pair] + drawn - (ends - counts[mine])[pair]
        weights = take.weight * share.factor * caps.weights(slots[first:last])
        line = np.repeat(some, share.counts[some])
        number = np.repeat(np.arange(last - first), share.counts[some])
        writer.add_lines(folder, line, Picks(pairs[mine][pair], rank, weights[number]))


def _write_anchor(
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
    for picks in (
        _whole(take.counts, writer.most) if whole else [caps.choose(take.counts, count, rng)]
    ):
        ranks = strategy.ranks(admitted, take, picks, rng)
        weights = picks.weight * (take.weight * factor)
        writer.add(folder, view, Picks(picks.pair, ranks, weights))


def _whole(counts: Rows, most: int) -> Iterator[Picks]:
    """Pick every triplet of an anchor, some pairs at a time: they may be too many to hold."""
    for first, last in cut_sizes(counts, most):
        mine = counts[first:last]
        pair = np.repeat(np.arange(first, last), mine)
        rank = np.arange(len(pair)) - np.repeat(np.cumsum(mine) - mine, mine)
        yield Picks(pair, rank, np.ones(len(pair)))
