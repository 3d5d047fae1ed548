"""Compiled loops that add up what the rows are to the anchors of one label; see `watch`.

What is added per row is as tables hold it: hard in the low 16 bits, hard or semi-hard above.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from miner.compiling import compiled
from miner.screening.tables import MIXED

__all__ = ["add_found", "add_one", "fold"]

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
def add_one(column: Any, hard: Any, within: Any, packed: Any, seen: Any, step: Any) -> None:
    # pragma: no cover  (compiled)
    """Add what one column was found to be."""
    packed[column] += np.uint32(hard) + (np.uint32(within) << _BY16)
    seen[column] += step if hard > 0 else _NONE


@compiled
def fold(
    packed: Any, start: Any, labels: Any, sign: Any, totals: Any, by_label: Any
) -> None:  # pragma: no cover  (compiled)
    """Add rows from `start` on to their totals and to those of their labels, if any; empty them."""
    for column in range(packed.size):
        value = packed[column]
        if value:
            hard = sign * np.int64(value & _LOW16)
            within = sign * np.int64(value >> _BY16)
            totals[0, start + column] += hard
            totals[1, start + column] += within
            if labels.size:
                by_label[0, labels[column]] += hard
                by_label[1, labels[column]] += within
            packed[column] = 0
