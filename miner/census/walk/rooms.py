"""Memory for keys."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np

from miner.triplets.types import Float64

__all__ = ["Rooms"]


class Rooms:
    """Room for keys, lent to one unit at a time and used again by the next.

    Fresh arrays of this size, taken and left by one pool of threads after the other, stay with the
    allocator: the process would grow with every pass.
    """

    def __init__(self) -> None:
        self._free: list[Float64] = []

    @contextlib.contextmanager
    def room(self, size: int) -> Iterator[Float64]:
        """Lend an array of at least `size` numbers."""
        array = self._free.pop() if self._free else np.empty(0)
        if len(array) < size:
            array = np.empty(size)
        try:
            yield array
        finally:
            self._free.append(array)
