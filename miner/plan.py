"""What a run would do, before doing it: items, triplets, time, memory, disk.

The data is read and checked as a run would do it; a little of it is embedded and a small matrix
product is timed on this machine.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from miner.job import Job, parse_bytes
from miner.relevance import tally
from miner.run import Opened

__all__ = ["plan_job"]

_TRIAL_ROWS = 256
_PASS_FACTOR = 1.8
"""The counting pass over its bare float64 product: `make bench` on 10 classes, and some more."""
_RECORD_BYTES = 24
_SHARD_BYTES = 8
_TRIPLETS_PER_SECOND = 4e5
_PROCESS_BYTES = 220 << 20


def plan_job(job: Job) -> dict[str, Any]:
    """Estimate a job.

    Returns
    -------
    dict
        ``dataset`` (counts as in the manifest), ``valid`` triplets (exact), ``seconds`` per stage
        and in ``total``, ``memory_bytes``, ``disk_bytes`` (upper bounds).

    Raises
    ------
    MineError
        As the run would.
    """
    opened = Opened.of(job)
    with tempfile.TemporaryDirectory(prefix="mine-plan-") as folder:
        began = time.perf_counter()
        scanned = opened.source.scan(Path(folder), texts=False)
        reading = time.perf_counter() - began
    relevance, counts = scanned.relevance, tally(scanned.relevance)
    pairs = len(opened.source.sides) == 2
    rows = relevance.rows + (relevance.anchors if pairs else 0)
    dim, per_row = _trial_embedding(opened)
    workers = opened.engine.workers
    product = 2 * relevance.anchors * relevance.rows * dim / _flops(dim)
    counting = _PASS_FACTOR * product / workers
    most = min(job.select.max_triplets, counts.valid)
    writing = 0.0 if most == 0 else counting + 2 * most / _TRIPLETS_PER_SECOND
    seconds = {
        "read": reading,
        "embed": rows * per_row,
        "count": counting,
        "write": writing,
    }
    vectors = 4 * rows * dim
    return {
        "dataset": scanned.facts,
        "valid": counts.valid,
        "hidden": {"duplicates": counts.duplicates, "group": counts.group},
        "model": {"id": opened.model.name, "dim": dim},
        "engine": {"name": job.engine.name, "workers": workers},
        "seconds": {name: round(value, 2) for name, value in seconds.items()},
        "total_seconds": round(sum(seconds.values()), 1),
        "memory_bytes": vectors + parse_bytes(job.mining.memory) + _PROCESS_BYTES,
        "disk_bytes": vectors + 2 * most * (_RECORD_BYTES + _SHARD_BYTES),
        "triplets_at_most": 2 * most,
    }


def _trial_embedding(opened: Opened) -> tuple[int, float]:
    """Embed a few rows; return the dimension and the seconds a row."""
    first = next(iter(opened.source.sides[0].values()))[:_TRIAL_ROWS]
    opened.model.embed(first)
    began = time.perf_counter()
    vectors = opened.model.embed(first)
    return vectors.shape[1], (time.perf_counter() - began) / len(first)


def _flops(dim: int) -> float:
    """Time a float64 product as the pass makes it; return operations a second of one core."""
    left, right = np.ones((256, dim)), np.ones((4096, dim))
    with threadpool_limits(limits=1, user_api="blas"):
        left @ right.T
        began = time.perf_counter()
        repeats = 3
        for _ in range(repeats):
            left @ right.T
        seconds = (time.perf_counter() - began) / repeats
    return float(2 * left.size * len(right) / seconds)
