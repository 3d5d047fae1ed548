"""Triplet records, and the two destinations they are written to: a file, and memory."""

from __future__ import annotations

import hashlib
from typing import IO, Any, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["SCORED", "TRIPLET", "RecordBuffer", "RecordFile", "Sink", "Triplets"]

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
"""The record of a triplet in a unit's file: row numbers, distances and weight; the weight is
negative for spares."""
SCORED = np.dtype(
    [
        *((name, TRIPLET[name]) for name in TRIPLET.names or ()),
        *((f"teacher_{of}", np.float32) for of in ("ap", "an")),
    ]
)
"""The record of a triplet with the scores of a teacher."""


class Sink(Protocol):
    """A destination of records."""

    def append(self, records: Triplets) -> None:
        """Add records; all records of an anchor are adjacent."""


class RecordFile:
    """Writes records to a file and computes its checksum at the same time."""

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
        """Return the number of rows written and the checksum of the file."""
        return {"rows": self._rows, "sha256": self._sum.hexdigest()}


class RecordBuffer:
    """Collects records in memory."""

    def __init__(self) -> None:
        self._parts: list[Triplets] = []

    def append(self, records: Triplets) -> None:
        """Keep a reference to these records."""
        self._parts.append(records)

    def in_order(self) -> Triplets:
        """Return all records sorted by anchor; records of one anchor keep their order."""
        records = np.concatenate([np.empty(0, dtype=TRIPLET), *self._parts])
        anchors = np.ascontiguousarray(records["anchor"])
        if (anchors[1:] >= anchors[:-1]).all():
            return records
        return records[np.argsort(anchors, kind="stable")]
