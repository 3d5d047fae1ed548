"""Arrays of our own files: how they are written, and how workers that are threads read them.

NumPy reads a file's header with `ast`, and Python 3.11 counts the depth of a syntax tree for all
threads together: where a collection of garbage lets another thread build one in between, the first
ends in a `SystemError`, "AST constructor recursion depth mismatch". So one thread reads at a time.
"""

from __future__ import annotations

import mmap
import threading
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from miner.storage.files import atomic_open

__all__ = ["let_go", "load_array", "load_arrays", "save_array"]

_ONE = threading.Lock()


class _Sink:
    """A file that NumPy does not know for one: it would lose why a write failed."""

    def __init__(self, file: IO[bytes]) -> None:
        self.write = file.write


def save_array(path: Path, array: NDArray[Any]) -> None:
    """Write a ``.npy`` file that appears whole under its name."""
    with atomic_open(path) as file:
        np.lib.format.write_array(_Sink(file), np.asanyarray(array), allow_pickle=False)


def load_array(path: Path) -> NDArray[Any]:
    """Open a ``.npy`` file, memory-mapped."""
    with _ONE:
        mapped: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return mapped


def let_go(values: Any) -> None:
    """Give the pages of a mapped array back: else they count as ours until the process ends."""
    mapped = getattr(values, "_mmap", None)
    if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)


def load_arrays(file: IO[bytes]) -> dict[str, NDArray[Any]]:
    """Read all arrays of an ``.npz`` file."""
    with _ONE, np.load(file, allow_pickle=False) as arrays:
        return dict(arrays)
