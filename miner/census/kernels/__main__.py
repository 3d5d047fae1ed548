"""Compile all loops into numba's cache: ``python -m miner.census.kernels``.

A large job compiles what it needs by itself. An image or a unit that runs this beforehand spares it
that.
"""

from __future__ import annotations

import sys
import time

import numpy as np

from miner.census.column_sums import ColumnSums
from miner.census.kernels import has_numba
from miner.census.measure import Vectors
from miner.census.walk.census import Asked, Census
from miner.errors import install_hint
from miner.triplets.relevance import LabelRelevance

_ROWS, _DIM = 1500, 8
_MEMORY = {"all rows at once": 1 << 28, "tile by tile": 1 << 18}


def compile_loops() -> None:
    """Count small sets in all ways that there are."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((_ROWS, _DIM)).astype(np.float32)
    none, anchors = np.full(_ROWS, -1, dtype=np.int64), np.arange(64)
    for classes in (2, _ROWS // 5):  # with many positives an anchor, and with few
        relevance = LabelRelevance(np.arange(_ROWS) % classes, none, none)
        stored = Vectors(rows, rows, "numba")
        census = Census(stored, relevance, "euclidean", 0.2, kernel="numba")
        for memory in _MEMORY.values():
            for ranks in (False, True):
                sums = ColumnSums(_ROWS, kernel="numba")
                for block in census.blocks(anchors, memory, Asked(ranks, 10, True, sums)):
                    block.rows_at(np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.int64))
        stored.bound("euclidean", anchors, anchors)


def main() -> None:
    """Compile, and say how long it took."""
    if not has_numba():
        sys.stdout.write(f"numba is not installed, so there is nothing to compile: {_hint()}\n")
        return
    began = time.perf_counter()
    compile_loops()
    sys.stdout.write(f"compiled loops are ready ({time.perf_counter() - began:.1f} s)\n")


def _hint() -> str:
    return install_hint("fast")


if __name__ == "__main__":
    main()
