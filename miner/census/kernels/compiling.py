"""Compiling all loops: beforehand, or while this process waits for a model."""

from __future__ import annotations

import threading

import numpy as np

from miner.census.column_sums import ColumnSums
from miner.census.kernels import is_cold, pick_kernel
from miner.census.measure import Vectors
from miner.census.walk.census import Asked, Census
from miner.progress import Progress
from miner.triplets.relevance import LabelRelevance

__all__ = ["CompileMeanwhile", "compile_loops"]

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


class CompileMeanwhile:
    """Passes progress on, and compiles beside it when much is embedded for the first time.

    Parameters
    ----------
    progress : callable
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._thread: threading.Thread | None = None

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Take note of what is done of a stage."""
        self._progress(stage, done, total)
        large = stage.startswith("embedding") and pick_kernel(total * total) == "numba"
        if large and self._thread is None and is_cold():
            self._thread = threading.Thread(target=compile_loops, daemon=True)
            self._thread.start()

    def wait(self) -> None:
        """Wait until all is compiled; if that fails, counting says why."""
        if self._thread is not None:
            self._thread.join()
