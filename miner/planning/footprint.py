"""Upper bounds of the disk and the memory of a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from miner.pipeline.units.candidates import listed_bytes
from miner.pipeline.units.layout import COUNTED
from miner.pipeline.units.records import TRIPLET
from miner.planning.counting import Slice
from miner.runs.shards import PART_ROWS

__all__ = ["Columns", "Size", "disk", "memory"]

_GROUP = 1 << 15
"""Rows of a row group of a shard, each with its own dictionary of values."""
_DICTIONARY = 1 << 20
"""Bytes of a dictionary, at most; with more, values are written one by one."""
_FLOATS = 12
"""Bytes of the distances and the weight of a triplet."""
_SUMS, _MERGED = 24, 48
"""Bytes of a row as its triplets as a negative are counted, by each worker; and added up."""
_PROCESS = 300 << 20
"""What Python, NumPy, Arrow, FAISS and compiled loops take before there is any data."""
_WRITER, _SEALER, _NOMINATING = 15 << 20, 28 << 20, 40 << 20
"""What a worker holds as it writes; as it seals; as it looks through nominees."""
_ROOM = 1.1
"""What is expected of memory is raised by a tenth, for allocators keep some."""
_BLOCK, _AUDITED = 256, 64
_PAIR = 256
"""Bytes of a pair of a block: its thresholds, their order, its places in tables."""


@dataclass(frozen=True, slots=True)
class Size:
    """How large a job is.

    Attributes
    ----------
    anchors, rows, dim : int
    units, unit : int
        Units of the counting pass, and the anchors of one.
    triplets : int
        Triplets that are written, at most.
    two_sides : bool
        Whether anchors are stored apart from the rows.
    exact : bool
        Whether all rows are looked at.
    """

    anchors: int
    rows: int
    dim: int
    units: int
    unit: int
    triplets: int
    two_sides: bool
    exact: bool

    @property
    def vectors(self) -> int:
        """Bytes of all vectors."""
        sides = self.rows + (self.anchors if self.two_sides else 0)
        return 4 * self.dim * sides


@dataclass(frozen=True, slots=True)
class Columns:
    """Bytes of the columns that a scan has left.

    Attributes
    ----------
    all : int
        Bytes of all files.
    anchor, row : list of float
        Bytes of a value of each column that shards show, of anchors and of rows.
    """

    all: int
    anchor: list[float]
    row: list[float]

    @classmethod
    def of(cls, folder: Path, anchors: int, rows: int, *, two_sides: bool) -> Columns:
        """Read the sizes of the files in a folder."""

        def each(side: int, count: int) -> list[float]:
            paths = [folder / f"{name}-{side}.arrow" for name in ("ids", "texts")]
            return [path.stat().st_size / count for path in paths if path.exists()]

        total = sum(path.stat().st_size for path in folder.glob("*.arrow"))
        return cls(total, each(0, anchors), each(int(two_sides), rows))


def disk(
    size: Size, columns: Columns, part: Slice | None, *, new_store: bool, cached: int
) -> dict[str, int]:
    """Bound what a run adds to the disk when it has most.

    Parameters
    ----------
    size : Size
    columns : Columns
    part : Slice or None
        What was counted; None where a run counts nothing anew.
    new_store : bool
        Whether the embedding store has to be made.
    cached : int
        Bytes of vectors that the cache takes.

    Returns
    -------
    dict
        ``store``, ``cache``, ``staged`` (what units leave, and the written records, until the run
        is published), ``shards`` (with the census), ``total``.
    """
    counted = COUNTED.itemsize * size.anchors
    staged = counted + 2 * 8 * size.anchors + TRIPLET.itemsize * size.triplets
    if part is not None:
        staged += _units(size, part)
    if not size.exact:
        staged += size.rows * (4 * size.dim + 8)
    anchor = sum(_in_shard(size.anchors, width) for width in columns.anchor)
    row = sum(_in_shard(size.rows, width) for width in columns.row)
    relevance = 40 * (size.rows + size.anchors)
    found = {
        "store": (size.vectors + columns.all + relevance if new_store else 0) + counted,
        "cache": cached,
        "staged": staged,
        "shards": round((anchor + 2 * row + _FLOATS) * size.triplets)
        + 24 * size.anchors
        + (1 << 20),
    }
    return {**found, "total": sum(found.values())}


def _units(size: Size, part: Slice) -> int:
    """Return the bytes that units leave of counting.

    Rows are hubs of a unit as if its anchors saw them independently; those of one label see the
    same ones, so there are fewer.
    """
    times = size.unit / part.part
    hubs = size.rows * (1 - (1 - part.seen) ** times) * 2 * part.hub
    listed = 2 * part.listed * size.anchors * size.rows / part.rows
    most = listed_bytes(size.anchors, size.rows)
    return round(size.units * (hubs + times * part.left) + min(most, listed))


def _in_shard(values: int, width: float) -> float:
    """Return the bytes of one value in a shard, before compression.

    A row group holds each different value once, and per row its number in so many bits.
    """
    different = min(values, _GROUP)
    if different * width > _DICTIONARY:
        return width
    return different * width / _GROUP + different.bit_length() / 8


def memory(size: Size, *, keys: int, workers: int, processes: int, pairs: int) -> int:
    """Bound the peak memory of one machine.

    Parameters
    ----------
    size : Size
    keys : int
        `mining.memory`, in bytes.
    workers, processes : int
        On one machine.
    pairs : int
        The most positives of an anchor.
    """
    vectors = 4 * size.rows * size.dim
    kept = vectors if vectors <= keys // 2 // processes else 0
    held = workers * min(_BLOCK, size.unit) * (8 * size.rows + _PAIR * pairs)
    hubs = (workers * _SUMS + _MERGED) * size.rows
    if not size.exact:  # an index in memory, nominees, and some anchors of the whole
        held = workers * (_AUDITED * 8 * size.rows + _NOMINATING)
        hubs = vectors
    counting = processes * kept + min(held, keys // 2 + workers * _NOMINATING) + hubs
    writing = workers * _WRITER + min(workers, 1 + size.triplets // PART_ROWS) * _SEALER
    known = size.vectors + processes * _PROCESS + 3 * COUNTED.itemsize * size.anchors
    return round(_ROOM * (known + counting + writing))
