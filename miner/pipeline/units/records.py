"""Triplets on their way to a file, as records in the order of their anchors."""

from __future__ import annotations

import hashlib
from typing import IO, Any, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["TRIPLET", "Gathered", "Interleaved", "Records", "Sink", "Triplets"]

Triplets = NDArray[np.void]
TRIPLET = np.dtype(
    [
        ("anchor", np.uint32),
        ("positive", np.uint32),
        ("negative", np.uint32),
        ("d_ap", np.float32),
        ("d_an", np.float32),
        ("weight", np.float32),
    ]
)
"""A triplet on its way to a shard: row numbers, distances and weight."""


class Sink(Protocol):
    """What takes records."""

    def append(self, records: Triplets) -> None:
        """Take more records; anchors ascend."""


class Records:
    """A file of records, with its checksum taken on the way."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._sum = hashlib.sha256()
        self._rows = 0

    def append(self, records: Triplets) -> None:
        """Write records at the end."""
        data = records.tobytes()
        self._file.write(data)
        self._sum.update(data)
        self._rows += len(records)

    def facts(self) -> dict[str, Any]:
        """Return how many rows were written, and their checksum."""
        return {"rows": self._rows, "sha256": self._sum.hexdigest()}


class Gathered:
    """Records in memory."""

    def __init__(self) -> None:
        self._parts: list[Triplets] = []

    def append(self, records: Triplets) -> None:
        """Hold records."""
        self._parts.append(records)

    def taken(self) -> Triplets:
        """Return all records."""
        return np.concatenate([np.empty(0, dtype=TRIPLET), *self._parts])


class Interleaved:
    """A file that takes records of some anchors, and has those of others at hand.

    Parameters
    ----------
    file : Sink
    others : ndarray of `TRIPLET`
        Of other anchors, in their order; each goes to its place.
    """

    def __init__(self, file: Sink, others: Triplets) -> None:
        self._file, self._others = file, others

    def append(self, records: Triplets) -> None:
        """Write records, and all of the others that come before the last of them."""
        if not len(records):
            return
        count = int(np.searchsorted(self._others["anchor"], records["anchor"][-1]))
        if count:
            records = np.concatenate([self._others[:count], records])
            self._others = self._others[count:]
            records = records[np.argsort(records["anchor"], kind="stable")]
        self._file.append(records)

    def close(self) -> None:
        """Write the others that are left."""
        self._file.append(self._others)
        self._others = self._others[:0]
