"""Upper bounds of the disk and the memory of a run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from miner.pipeline.units.layout import COUNTED
from miner.pipeline.units.miner import listed_bytes
from miner.pipeline.units.records import TRIPLET
from miner.planning.counting import Slice
from miner.runs.shards import PART_ROWS

__all__ = ["Size", "disk", "memory"]

_GROUP = 1 << 15
"""Rows of a row group of a shard, each with its own dictionary of values."""
_DICTIONARY = 1 << 20
"""Bytes of a dictionary at most; beyond, values are written one by one."""
_FLOATS = 12
"""Bytes of the distances and the weight of a triplet."""
_HUB, _CODES = 16, 40
"""Bytes of a row in the file of a unit in which it is a negative; in the store's relevance."""
_SUMS, _MERGED = 24, 48
"""Bytes of a row as its triplets as a negative are counted, by each worker; and added up."""
_PROCESS = 330 << 20
"""What Python, NumPy, Arrow, FAISS, compiled loops and the report take, but for any data.

The run that compiles the loops takes some 250 MiB more, once on a machine.
"""
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
    sides : int
        2 where anchors are stored apart from the rows.
    exact : bool
        Whether all rows are looked at.
    """

    anchors: int
    rows: int
    dim: int
    units: int
    unit: int
    triplets: int
    sides: int
    exact: bool

    @property
    def vectors(self) -> int:
        """Bytes of all vectors."""
        return 4 * self.dim * (self.rows + (self.anchors if self.sides == 2 else 0))


def disk(
    size: Size, part: Slice | None, columns: Path, *, new: bool, cached: int
) -> dict[str, int]:
    """Bound what a run adds to the disk when it has most.

    Parameters
    ----------
    size : Size
    part : Slice or None
        What was counted; None where a run counts nothing anew.
    columns : Path
        The folder that holds ids and texts.
    new : bool
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
        grown, left = size.rows / part.rows, part.left * size.unit
        staged += round(size.units * min(left * grown, left + _HUB * size.rows))
        listed = 2 * grown * part.listed * size.anchors
        staged += round(min(listed_bytes(size.anchors, size.rows), listed))
    if not size.exact:
        staged += size.rows * (4 * size.dim + 8)
    kept = sum(path.stat().st_size for path in columns.glob("*.arrow"))
    kept += size.vectors + _CODES * (size.rows + size.anchors)
    row = sum(_in_shard(size, columns)) + _FLOATS
    found = {
        "store": counted + (kept if new else 0),
        "cache": cached,
        "staged": staged,
        "shards": round(row * size.triplets) + 24 * size.anchors + (1 << 20),
    }
    return {**found, "total": sum(found.values())}


def _in_shard(size: Size, columns: Path) -> Iterator[float]:
    """Yield the bytes of a value of each column of ids and texts in a shard, not compressed.

    A row group holds each different value once, and for each row its number in few bits.
    """
    for side, values in ((0, size.anchors), *[(size.sides - 1, size.rows)] * 2):
        paths = [columns / f"{name}-{side}.arrow" for name in ("ids", "texts")]
        for path in filter(Path.exists, paths):
            width, different = path.stat().st_size / values, min(values, _GROUP)
            if different * width > _DICTIONARY:
                yield width
            else:
                yield different * width / _GROUP + different.bit_length() / 8


def memory(
    size: Size, *, keys: int, workers: int, processes: int, pairs: int, peak: int = 0
) -> int:
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
    peak : int
        Bytes that a process took which has loaded the model.
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
    idle = max(peak, _PROCESS) + (processes - 1) * _PROCESS
    known: int = size.vectors + idle + 3 * COUNTED.itemsize * size.anchors
    return round(_ROOM * (known + counting + writing))
