"""What a run would do, before doing it: items, triplets, time, memory, disk.

The data is read and checked as a run would do it; a little of it is embedded and a small matrix
product is timed on this machine.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from miner.datasets.content import as_batch
from miner.job import Job, parse_bytes
from miner.manifest import finished_run
from miner.relevance import tally
from miner.run import Opened

__all__ = ["plan_job"]

_TRIAL_ROWS = 256
_PASS_FACTOR = 1.8
"""The counting pass over its bare float64 product: `make bench` on 10 classes, and some more."""
_RECORD_BYTES = 24
_SHARD_BYTES = 8
_ANCHOR_SECONDS = 6.5e-4
_KEY_SECONDS = 5e-9
_TRIPLET_SECONDS = 1e-6
_VALUE_SECONDS = 1.5e-9
"""Writing, beside counting again: for an anchor, each of its keys, a triplet, each value of its
vectors. Fitted to 1,797 x 64, 20,000 x 64 and 10,000 x 784; threads gain little there."""
_PROCESS_BYTES = 220 << 20


def plan_job(job: Job) -> dict[str, Any]:
    """Estimate a job.

    Returns
    -------
    dict
        ``dataset`` (counts as in the manifest), ``valid`` triplets (exact), ``seconds`` per stage
        and in ``total_seconds``, ``memory_bytes``, ``disk_bytes`` (upper bounds),
        ``disk_free_bytes``, and ``already_mined``, the run that has done this job (or None).

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
    folders = 3 if job.select.suspects else 2
    most = min(folders * job.select.max_triplets, counts.valid)
    busy = min(relevance.anchors, most)
    triplet = _TRIPLET_SECONDS + _VALUE_SECONDS * dim
    each = _ANCHOR_SECONDS + _KEY_SECONDS * relevance.rows
    writing = (counting if most else 0.0) + busy * each + most * triplet
    copies = 2 if opened.model.model.cached else 1  # the store, and the cache
    disk = copies * vectors_bytes(rows, dim) + most * (_RECORD_BYTES + _SHARD_BYTES)
    seconds = {
        "read": reading,
        "embed": rows * per_row,
        "count": counting,
        "write": writing,
    }
    return {
        "already_mined": _finished(opened),
        "dataset": scanned.facts,
        "valid": counts.valid,
        "hidden": {"duplicates": counts.duplicates, "group": counts.group},
        "model": {"id": opened.model.name, "dim": dim},
        "engine": {"name": job.engine.name, "workers": workers},
        "seconds": {name: round(value, 2) for name, value in seconds.items()},
        "total_seconds": round(sum(seconds.values()), 1),
        "memory_bytes": vectors_bytes(rows, dim) + parse_bytes(job.mining.memory) + _PROCESS_BYTES,
        "disk_bytes": disk,
        "disk_free_bytes": _free(Path(job.output.path)),
        "triplets_at_most": most,
    }


def vectors_bytes(rows: int, dim: int) -> int:
    """Return what stored rows take, in memory and on disk."""
    return 4 * rows * dim


def _finished(opened: Opened) -> str | None:
    """Return the run that makes this job a thing of the past."""
    root = Path(opened.job.output.path)
    found = finished_run(root, opened.fingerprint(opened.key(keep=False)))
    return found.run_id if found else None


def _free(folder: Path) -> int:
    """Return the free space where a folder is, or will be."""
    there = folder.absolute()
    while not there.exists():
        there = there.parent
    return shutil.disk_usage(there).free


def _trial_embedding(opened: Opened) -> tuple[int, float]:
    """Embed a few rows; return the dimension and the seconds a row."""
    recipe = opened.recipe
    _, sample = opened.source.sides[0].sample(_TRIAL_ROWS)
    batch, told = as_batch(sample), (recipe.role(0), recipe.prompts[0])
    opened.model.embed(batch, *told)
    began = time.perf_counter()
    vectors = opened.model.embed(batch, *told)
    return vectors.shape[1], (time.perf_counter() - began) / len(sample)


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
