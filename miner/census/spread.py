"""Evenly spaced positions."""

from __future__ import annotations

import numpy as np

from miner.triplets.types import Rows

__all__ = ["evenly_spaced"]


def evenly_spaced(count: int, most: int) -> Rows:
    """Return at most `most` evenly spaced numbers below `count`, including both ends."""
    return np.unique(np.linspace(0, max(count - 1, 0), min(count, most)).astype(np.int64))
