"""Upper bounds on the disk space and the memory of a run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from miner.pipeline.units.layout import ANCHOR_COUNTS
from miner.pipeline.units.miner import listed_bytes
from miner.pipeline.units.records import SCORED, TRIPLET
from miner.planning.counting import Slice
from miner.runs.shards import PART_ROWS

__all__ = ["Size", "disk", "memory"]

_GROUP = 1 << 15
"""Rows of a row group of a shard; each row group has its own dictionary of values."""
_DICTIONARY = 1 << 20
"""Maximum bytes of a dictionary; columns with larger ones are written without dictionary."""
_FLOATS = 12
"""Bytes of the distances and the weight of a triplet."""
_HUB, _CODES = 16, 40
"""Bytes of a row: in the file of each unit in which it is a negative; in the store's relevance."""
_SUMS, _MERGED = 24, 48
"""Bytes of a row in the sums over its triplets as a negative: in each worker, and when merged."""
_PROCESS = 330 << 20
"""Bytes that Python, NumPy, Arrow, FAISS, compiled loops and the report take without any data.

The first run on a machine compiles the loops, which takes about 250 MiB more.
"""
_WRITER, _SEALER, _NOMINATING = 15 << 20, 28 << 20, 40 << 20
"""Bytes of a worker while it writes triplets, writes shards, or reads an index's candidates."""
_SCORE, _CACHED = 12, 32
"""Bytes of a pair with its score in a pool, and in the cache."""
_SCORING = 280
"""Bytes in memory of a pair that a teacher scores; measured with 3.6 million pairs."""
_ROOM = 1.1
"""Factor on the expected memory, because allocators keep some freed memory."""
_BLOCK, _AUDITED = 256, 64
_PAIR = 256
"""Bytes of a pair of a block: its thresholds, their order and its positions in tables."""


@dataclass(frozen=True, slots=True)
class Size:
    """The size of a job.

    Attributes
    ----------
    anchors, rows, dim : int
    units, unit : int
        Number of units of the counting pass, and number of anchors of a unit.
    triplets : int
        Upper bound on the written triplets.
    sides : int
        2 if anchors and rows have separate vectors in the store, else 1.
    exact : bool
        Whether all rows are classified, that is, without an approximate index.
    pool : int
        Upper bound on the triplets that a teacher scores, spares included.
    """

    anchors: int
    rows: int
    dim: int
    units: int
    unit: int
    triplets: int
    sides: int
    exact: bool
    pool: int = 0

    @property
    def vectors(self) -> int:
        """Bytes of all vectors."""
        return 4 * self.dim * (self.rows + (self.anchors if self.sides == 2 else 0))


def disk(
    size: Size, part: Slice | None, columns: Path, *, new: bool, cached: int
) -> dict[str, int]:
    """Return upper bounds on the disk space that a run adds, at its peak.

    Parameters
    ----------
    size : Size
    part : Slice or None
        The timed slice of the counting pass; None if the run counts nothing.
    columns : Path
        The folder with the ids and texts.
    new : bool
        Whether the embedding store has to be created.
    cached : int
        Bytes of vectors that are added to the cache.

    Returns
    -------
    dict
        Bytes. ``store``; ``cache``; ``staged``: the files of units and the written records, which
        are removed when the run is published; ``shards``, including the census; ``total``.
    """
    counted = ANCHOR_COUNTS.itemsize * size.anchors
    staged = counted + 2 * 8 * size.anchors + TRIPLET.itemsize * max(size.triplets, size.pool)
    staged += SCORED.itemsize * size.triplets if size.pool else 0
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
        "store": counted + (kept if new else 0) + size.pool * (TRIPLET.itemsize + 2 * _SCORE),
        "cache": cached + 2 * size.pool * _CACHED,
        "staged": staged,
        "shards": round(row * size.triplets) + 24 * size.anchors + (1 << 20),
    }
    return {**found, "total": sum(found.values())}


def _in_shard(size: Size, columns: Path) -> Iterator[float]:
    """Yield, for each column of ids and texts in a shard, the uncompressed bytes per row.

    A row group stores each distinct value once, and its index for each row in few bits.
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
    """Return an upper bound, in bytes, on the peak memory of one machine.

    Parameters
    ----------
    size : Size
    keys : int
        `mining.memory`, in bytes.
    workers, processes : int
        Numbers of workers and processes on one machine.
    pairs : int
        The largest number of positives of an anchor.
    peak : int
        Peak memory in bytes of a process that has loaded the model.
    """
    vectors = 4 * size.rows * size.dim
    kept = vectors if vectors <= keys // 2 // processes else 0
    held = workers * min(_BLOCK, size.unit) * (8 * size.rows + _PAIR * pairs)
    hubs = (workers * _SUMS + _MERGED) * size.rows
    if not size.exact:  # an index in memory, its candidates, and the audit of some anchors
        held = workers * (_AUDITED * 8 * size.rows + _NOMINATING)
        hubs = vectors
    counting = processes * kept + min(held, keys // 2 + workers * _NOMINATING) + hubs
    writing = workers * _WRITER + min(workers, 1 + size.triplets // PART_ROWS) * _SEALER
    idle = max(peak, _PROCESS) + (processes - 1) * _PROCESS
    known: int = size.vectors + idle + 3 * ANCHOR_COUNTS.itemsize * size.anchors
    scoring = 2 * size.pool * _SCORING
    return round(_ROOM * (known + counting + writing + scoring))
