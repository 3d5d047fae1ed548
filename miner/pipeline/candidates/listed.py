"""The candidates of all anchors and who proposed them, in files that workers open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from miner.storage.arrays import load_array, save_array
from miner.storage.files import storage_errors
from miner.storage.records import checksums
from miner.triplets.types import Rows

__all__ = ["Listed"]

_FILES = ("candidates.npy", "candidates.sources.npy")
"""The files of keys and of sources."""


@dataclass(frozen=True, slots=True)
class Listed:
    """Candidates, sorted by anchor, then row.

    Attributes
    ----------
    rows : int
        The number of rows of the data.
    keys : ndarray of shape (k,), int64
        ``anchor * rows + row`` of each candidate, ascending, without repetitions.
    sources : ndarray of shape (k,), uint64
        Bit i is set if source i proposed the candidate.
    """

    rows: int
    keys: Rows
    sources: NDArray[np.uint64]

    @classmethod
    def union(cls, rows: int, proposed: Sequence[Rows]) -> Listed:
        """Return the union of the keys that each source proposed."""
        keys = np.unique(np.concatenate([np.empty(0, np.int64), *proposed]))
        sources = np.zeros(len(keys), dtype=np.uint64)
        for number, own in enumerate(proposed):
            sources[np.searchsorted(keys, np.unique(own))] |= np.uint64(1 << number)
        return cls(rows, keys, sources)

    @classmethod
    def open(cls, folder: Path, rows: int) -> Listed:
        """Open the files that `save` wrote."""
        with storage_errors(folder):
            return cls(rows, *(load_array(folder / name) for name in _FILES))

    def save(self, folder: Path) -> dict[str, str]:
        """Write the candidates to a folder; return the checksums of the files by name."""
        for name, array in zip(_FILES, (self.keys, self.sources), strict=True):
            save_array(folder / name, array)
        return checksums(folder, _FILES)

    def kept(self, keep: NDArray[np.bool_]) -> Listed:
        """Return only the candidates where `keep` is True."""
        return Listed(self.rows, self.keys[keep], self.sources[keep])

    def starts(self, anchors: Rows) -> Rows:
        """Return the position of the first candidate of each anchor."""
        return np.searchsorted(self.keys, anchors * self.rows)

    def masks(self, anchors: Rows, rows: Rows) -> NDArray[np.uint64]:
        """Return the sources of pairs of an anchor and its candidate."""
        return np.asarray(self.sources[np.searchsorted(self.keys, anchors * self.rows + rows)])
