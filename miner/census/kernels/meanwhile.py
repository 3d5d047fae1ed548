"""Compiling in a process of its own, while this one waits for a model."""

from __future__ import annotations

import subprocess
import sys

from miner.census.kernels import is_cold, pick_kernel
from miner.progress import Progress

__all__ = ["CompileMeanwhile"]


class CompileMeanwhile:
    """Passes progress on, and starts to compile when much is embedded for the first time.

    Parameters
    ----------
    progress : callable
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._process: subprocess.Popen[bytes] | None = None

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Take note of what is done of a stage."""
        self._progress(stage, done, total)
        large = stage.startswith("embedding") and pick_kernel(total * total) == "numba"
        if large and self._process is None and is_cold():
            command = [sys.executable, "-m", "miner.census.kernels"]
            quiet = subprocess.DEVNULL
            self._process = subprocess.Popen(command, stdout=quiet, stderr=quiet)  # noqa: S603

    def wait(self) -> None:
        """Wait until what was started is done; if it fails, loops are compiled where needed."""
        if self._process is not None:
            self._process.wait()
