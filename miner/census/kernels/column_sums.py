"""Compiled loops that add up what the rows are to the anchors of one label; see `column_pass`.

What is added per row is as tables hold it: hard in the low 16 bits, hard or semi-hard above.

book : (start, labels, sign, totals, by_label, touched, pairs)
    The first row of the tile, and the labels of its rows, if they have any. 1 adds, -1 takes off.
    What it is added to per row. Zeros per label, and room for the labels that are met. Where the
    pairs of a run and a label of negatives go, a line each: the run, the label, hard, hard or
    semi-hard.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from miner.census.kernels.float64_keys import FEW
from miner.census.kernels.jit import compiled
from miner.census.kernels.lookup_tables import MIXED

__all__ = ["add_found", "add_row", "fold"]

_LOW16, _BY16, _NONE = np.uint32(0xFFFF), np.uint32(16), np.uint32(0)


@compiled
def add_found(found: Any, packed: Any, seen: Any, step: Any) -> None:  # pragma: no cover
    """Add what was looked up for some columns, but for mixed cells."""
    for column in range(found.size):
        value = found[column]
        plain = value if value < MIXED else _NONE
        packed[column] += plain
        seen[column] += step if plain & _LOW16 else _NONE


@compiled
def add_row(
    column: Any, start: Any, hard: Any, within: Any, noting: Any, packed: Any, seen: Any,
    step: Any, total: Any, few: Any,
) -> None:  # fmt: skip  # pragma: no cover  (compiled)
    """Add what one column was found to be, where that is noted; list it among the first rows."""
    if noting:
        packed[column] += np.uint32(hard) + (np.uint32(within) << _BY16)
        seen[column] += step if hard > 0 else _NONE
    if within:
        if total[3] < FEW:
            few[total[3]] = start + column
        total[3] += 1


@compiled
def fold(run: Any, held: Any, packed: Any, book: Any) -> Any:  # pragma: no cover  (compiled)
    """Book what a run of anchors found of a tile, and empty it; return how many pairs are held."""
    start, labels, sign, totals, by_label, touched, pairs = book
    met: Any = 0
    for column in range(packed.size):
        value = packed[column]
        if value:
            hard = sign * np.int64(value & _LOW16)
            within = sign * np.int64(value >> _BY16)
            totals[0, start + column] += hard
            totals[1, start + column] += within
            if labels.size:
                label = labels[column]
                if by_label[0, label] == 0 == by_label[1, label]:  # all have one sign
                    touched[met] = label
                    met += 1
                by_label[0, label] += hard
                by_label[1, label] += within
            packed[column] = 0
    for place in range(met):
        label = touched[place]
        pairs[0, held], pairs[1, held] = run, label
        pairs[2, held], pairs[3, held] = by_label[0, label], by_label[1, label]
        by_label[0, label] = by_label[1, label] = 0
        held += 1
    return held
