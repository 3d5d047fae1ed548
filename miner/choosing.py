"""Choosing the triplets of a block's anchors: many anchors at once where counts tell which."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import cast

import numpy as np
from numpy.typing import NDArray

from miner.candidates import AnchorView
from miner.hardness import KEPT, Kept
from miner.ranking import Block
from miner.relevance import spans
from miner.strategies.base import Admitted, Anchor, Flat, Picks, Take
from miner.strategies.selection import Selection
from miner.units import Share, cut_sizes
from miner.writing import BlockWriter

__all__ = ["write_block"]

Rows = NDArray[np.int64]


def write_block(
    writer: BlockWriter,
    block: Block,
    selection: Selection,
    shares: Mapping[Kept, Share],
    view: Callable[[int], AnchorView],
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
    """
    takes = _takes(block, selection, shares)
    total = np.sum([share.counts for share in shares.values()], axis=0)
    few = total <= writer.most
    many = {name: few & _whole_lines(block, take, shares[name]) for name, take in takes.items()}
    for first, last in cut_sizes(total, writer.most):
        writer.flush()
        single = np.zeros(last - first, dtype=np.bool_)
        for name, share in shares.items():
            whole = many[name][first:last] if name in many else np.zeros_like(single)
            single |= (share.counts[first:last] > 0) & ~whole
            if whole.any():
                lines = first + np.flatnonzero(whole)
                _add_whole(writer, block, name, lines, takes[name], share.factor)
        for line in (first + np.flatnonzero(single)).tolist():
            here = view(line)
            admitted = selection.admit(here)
            for name, share in shares.items():
                if share.counts[line] and not (name in many and many[name][line]):
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


def _whole_lines(block: Block, take: Take, share: Share) -> NDArray[np.bool_]:
    """Say which lines write all that is taken of them."""
    slots = np.add.reduceat(take.counts, block.starts[:-1])
    return np.asarray((share.counts == slots) & (slots > 0))


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
