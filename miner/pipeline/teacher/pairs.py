"""Pairs of an anchor and a row as numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from miner.triplets.types import Rows

__all__ = ["Pairs", "joined", "parted"]

Pairs = NDArray[np.uint64]
"""The anchor's number in the upper 32 bits, the row's in the lower: triplet records have 32 bits
for each."""
_HALF = np.uint64(32)
_LOWER = np.uint64(0xFFFFFFFF)


def joined(anchors: NDArray[Any], rows: NDArray[Any]) -> Pairs:
    """Return the pairs of anchors and rows."""
    return (anchors.astype(np.uint64) << _HALF) | rows.astype(np.uint64)


def parted(pairs: Pairs) -> tuple[Rows, Rows]:
    """Return the anchors and the rows of pairs."""
    return (pairs >> _HALF).astype(np.int64), (pairs & _LOWER).astype(np.int64)
