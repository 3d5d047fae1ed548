"""Triplets on their way to a file, as records in the order of their anchors."""

from __future__ import annotations

import hashlib
from typing import IO, Any, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["TRIPLET", "Gathered", "Records", "Sink", "Triplets"]

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
        """Take more records; those of an anchor come together."""


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

    def in_order(self) -> Triplets:
        """Return all records in the order of their anchors; those of one stay as they came."""
        records = np.concatenate([np.empty(0, dtype=TRIPLET), *self._parts])
        anchors = np.ascontiguousarray(records["anchor"])
        if (anchors[1:] >= anchors[:-1]).all():
            return records
        return records[np.argsort(anchors, kind="stable")]
