"""Compiles all loops: on request, or in a thread while this process waits for a model."""

from __future__ import annotations

import threading

import numpy as np

from miner.census.column_sums import ColumnSums
from miner.census.kernels import is_cold, pick_kernel
from miner.census.measure import Vectors
from miner.census.walk.census import Census, CensusRequest
from miner.progress import Progress
from miner.triplets.relevance import LabelRelevance

__all__ = ["CompileMeanwhile", "compile_loops"]

_ROWS, _DIM = 1500, 8
_MEMORY = {"all rows at once": 1 << 28, "tile by tile": 1 << 18}


def compile_loops() -> None:
    """Count small data sets in every way, so that every loop is compiled."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((_ROWS, _DIM)).astype(np.float32)
    none, anchors = np.full(_ROWS, -1, dtype=np.int64), np.arange(64)
    for classes in (2, _ROWS // 5):  # many positives per anchor, and few
        relevance = LabelRelevance(np.arange(_ROWS) % classes, none, none)
        stored = Vectors(rows, rows, "numba")
        census = Census(stored, relevance, "euclidean", 0.2, kernel="numba")
        for memory in _MEMORY.values():
            for ranks in (False, True):
                sums = ColumnSums(_ROWS, kernel="numba")
                for block in census.blocks(anchors, memory, CensusRequest(ranks, 10, True, sums)):
                    block.rows_at(np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.int64))
        stored.bound("euclidean", anchors, anchors)


class CompileMeanwhile:
    """A progress callback that compiles the loops during the first large embedding.

    Parameters
    ----------
    progress : callable
        Receives every call unchanged.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._thread: threading.Thread | None = None

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Pass on the progress, and start compiling if a large embedding has begun."""
        self._progress(stage, done, total)
        large = stage.startswith("embedding") and pick_kernel(total * total) == "numba"
        if large and self._thread is None and is_cold():
            self._thread = threading.Thread(target=compile_loops, daemon=True)
            self._thread.start()

    def wait(self) -> None:
        """Wait until compiling has ended; if it failed, counting reports the error."""
        if self._thread is not None:
            self._thread.join()
