"""Write arrays to files, and read them safely from several threads.

NumPy parses a file's header with `ast`, and Python 3.11 counts the depth of a syntax tree for all
threads together: if a garbage collection lets another thread build a tree in between, the first
thread fails with a `SystemError`, "AST constructor recursion depth mismatch". So one thread reads
at a time.
"""

from __future__ import annotations

import mmap
import threading
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from miner.storage.files import atomic_open

__all__ = ["load_array", "load_arrays", "release_pages", "save_array"]

_ONE = threading.Lock()


class _Sink:
    """Hides from NumPy that this is a file: for files, NumPy drops the reason of a failed write."""

    def __init__(self, file: IO[bytes]) -> None:
        self.write = file.write


def save_array(path: Path, array: NDArray[Any]) -> None:
    """Write an array to a ``.npy`` file atomically."""
    with atomic_open(path) as file:
        np.lib.format.write_array(_Sink(file), np.asanyarray(array), allow_pickle=False)


def load_array(path: Path) -> NDArray[Any]:
    """Open a ``.npy`` file, memory-mapped."""
    with _ONE:
        mapped: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return mapped


def release_pages(values: Any) -> None:
    """Release the pages of a memory-mapped array.

    Otherwise they count as memory of this process until it ends.
    """
    mapped = getattr(values, "_mmap", None)
    if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)


def load_arrays(file: IO[bytes]) -> dict[str, NDArray[Any]]:
    """Read all arrays of an ``.npz`` file into memory."""
    with _ONE, np.load(file, allow_pickle=False) as arrays:
        return dict(arrays)
