"""What a run takes of disk and memory, from its size and what a calibration measured."""

from __future__ import annotations

import math

from miner.planning.costs import Costs, Work

__all__ = ["disk", "hubs", "memory"]

_SUMS, _MERGED = 24, 48
"""Bytes of a row as its triplets as a negative are counted, by each worker; and added up."""
_PROCESS = 300 << 20
"""What Python, NumPy, Arrow, FAISS and compiled loops take before there is any data."""
_WRITER, _SEALER, _NOMINATING = 15 << 20, 28 << 20, 40 << 20
"""What a worker holds as it writes; as it seals; as it looks through nominees."""
_ROOM = 1.1
"""What is expected of memory is raised by a tenth, for allocators keep some."""
_COUNTED = 128
"""The census of an anchor."""
_RECORD = 24
"""A written triplet, before it is in a shard."""
_BLOCK, _AUDITED = 256, 64
_PAIR = 256
"""Bytes of a pair of a block: its thresholds, their order, its places in tables."""


def hubs(work: Work, costs: Costs) -> float:
    """Bound the rows that are a negative of some anchor of a unit.

    As if anchors saw rows independently: in truth those of one label see the same ones, so there
    are fewer.
    """
    missed = math.pow(max(0.0, 1.0 - costs.seen), work.unit / max(1, costs.sliced))
    return work.rows * (1.0 - missed)


def disk(
    work: Work, costs: Costs, *, cached: bool, lists: int = 0, texts: int = 0
) -> dict[str, int]:
    """Estimate what a run has on disk when it has most.

    Parameters
    ----------
    work : Work
    costs : Costs
    cached : bool
        Whether the vectors are kept by content beside the store.
    lists : int
        Bytes that the lists of rows within reach have at most.
    texts : int
        Bytes of texts in the store.

    Returns
    -------
    dict
        ``store``, ``cache``, ``staged`` (what units leave, and the written records, until the run
        is published), ``shards`` (with the census), ``total``.
    """
    vectors = 4 * work.stored * work.dim
    staged = work.units * hubs(work, costs) * costs.hub if costs.hub else 0.0
    staged += costs.record * work.all_anchors + _COUNTED * work.all_anchors
    # An anchor has the more rows within reach, the more rows there are.
    staged += min(lists, costs.listed * work.all_anchors * work.rows / max(1, costs.rows))
    staged += 2 * 8 * work.all_anchors + _RECORD * work.triplets
    if work.lists or work.audited:
        staged += work.rows * (4 * work.dim + 8)
    found = {
        "store": round(vectors + costs.row * work.stored + texts + _COUNTED * work.all_anchors),
        "cache": round(vectors + 24 * work.stored) if cached else 0,
        "staged": round(staged),
        "shards": round(costs.shard * work.triplets + 24 * work.all_anchors + (1 << 20)),
    }
    return {**found, "total": sum(found.values())}


def memory(work: Work, *, keys: int, workers: int, processes: int, pairs: int, sides: int) -> int:
    """Estimate the peak memory of one machine.

    Parameters
    ----------
    work : Work
    keys : int
        `mining.memory`, in bytes.
    workers, processes : int
        On one machine.
    pairs : int
        The most positives of an anchor.
    sides : int
        2 where anchors are no rows.
    """
    vectors = 4 * work.rows * work.dim
    mapped = vectors + (4 * work.all_anchors * work.dim if sides == 2 else 0)
    kept = vectors if vectors <= keys // 2 // processes else 0
    lines = min(_BLOCK, work.unit)
    held = workers * lines * (8 * work.rows + _PAIR * pairs)
    hubs = (workers * _SUMS + _MERGED) * work.rows
    if work.audited:  # an index in memory, nominees, and some anchors of the whole
        held = workers * (_AUDITED * 8 * work.rows + _NOMINATING)
        hubs = vectors
    counting = processes * kept + min(held, keys // 2 + workers * _NOMINATING) + hubs
    writing = workers * _WRITER + min(workers, work.parts) * _SEALER
    known = mapped + max(1, processes) * _PROCESS + 3 * _COUNTED * work.all_anchors
    return round(_ROOM * (known + counting + writing))
