"""What a run would do, before doing it: items, triplets, time, memory, disk.

The data is read and checked as a run would do it; a little of it is embedded and a small matrix
product is timed on this machine.
"""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from miner.datasets.content import as_batch
from miner.embedding import open_store
from miner.estimate import (
    Size,
    approximate_seconds,
    count_seconds,
    gap_seconds,
    write_seconds,
)
from miner.gaps import counts_all
from miner.indexing import factory_of
from miner.job import Job, parse_bytes
from miner.listing import listed_bytes
from miner.manifest import finished_run
from miner.opened import Opened
from miner.relevance import Tally, tally
from miner.reuse import would_reuse
from miner.scratch import scratch_folder
from miner.strategies.selection import Selection, load_selection
from miner.urls import local_root, named_by_url

__all__ = ["plan_job"]

_TRIAL_ROWS = 256
_TRIAL_VALUES = 1 << 18
_RECORD_BYTES = 24
_SHARD_BYTES = 8
_PROCESS_BYTES = 220 << 20


@named_by_url()
def plan_job(job: Job) -> dict[str, Any]:
    """Estimate a job.

    Returns
    -------
    dict
        ``dataset`` (counts as in the manifest), ``valid`` triplets (exact), ``triplets_at_most``
        (what the strategy and the caps can write), ``index`` (what is chosen), ``seconds`` per
        stage and in ``total_seconds``,
        ``memory_bytes``, ``disk_bytes`` (upper bounds), ``disk_free_bytes``, ``out_writable``,
        ``already_mined``, the run that has done this job (or None), and ``count_reused``, whether
        an earlier run's count would serve.

    Raises
    ------
    MineError
        As the run would.
    """
    opened = Opened.of(job)
    with opened.engine as engine:
        workers = engine.workers
    with scratch_folder("mine-plan-") as folder:
        began = time.perf_counter()
        scanned = opened.source.scan(folder, texts=False)
        reading = time.perf_counter() - began
    relevance, counts = scanned.relevance, tally(scanned.relevance)
    selection = load_selection(job.select)
    sides = len(opened.source.sides)
    rows = relevance.rows + (relevance.anchors if sides == 2 else 0)
    dim, per_row = _trial_embedding(opened)
    size = _size(opened, workers, counts, relevance.rows, dim)
    drawn, most = _written(job, selection, size, counts.valid)
    copies = 2 if opened.model.model.cached else 1  # the store, and the cache
    disk = copies * vectors_bytes(rows, dim) + drawn * _RECORD_BYTES + most * _SHARD_BYTES
    if job.select.max_triplets:
        disk += listed_bytes(size.anchors, size.rows)
    finished, reused = _earlier(opened)
    there = _there(local_root(job.output.path))
    gaps = job.mining.gaps and counts_all(size.anchors * size.rows * size.dim, counts)
    counting = count_seconds(size, selection) + (gap_seconds(size) if gaps else 0.0)
    factory, building = factory_of(job, relevance.anchors, relevance.rows, dim), 0.0
    if factory != "Flat":
        building, counting = approximate_seconds(size, factory, job.index.candidates)
    seconds = {
        "read": reading,
        "embed": rows * per_row,
        "index": building,
        "count": 0.0 if reused else counting,
        "write": write_seconds(size, selection, drawn, listed=factory != "Flat"),
    }
    return {
        "already_mined": finished,
        "count_reused": reused,
        "dataset": scanned.facts,
        "valid": counts.valid,
        "hidden": {"duplicates": counts.duplicates, "group": counts.group},
        "index": factory,
        "model": {"id": opened.model.name, "dim": dim},
        "engine": {"name": job.engine.name, "workers": workers},
        "seconds": {name: round(value, 2) for name, value in seconds.items()},
        "total_seconds": round(sum(seconds.values()), 1),
        "memory_bytes": vectors_bytes(rows, dim) + parse_bytes(job.mining.memory) + _PROCESS_BYTES,
        "disk_bytes": disk,
        "disk_free_bytes": shutil.disk_usage(there).free,
        "out_writable": there.is_dir() and os.access(there, os.W_OK),
        "triplets_at_most": most,
    }


def _size(opened: Opened, workers: int, counts: Tally, rows: int, dim: int) -> Size:
    """Gather what the time hangs on; anchors without a triplet take none."""
    taking = (counts.positives > 0) & (counts.negatives > 0)
    return Size(
        anchors=int(taking.sum()),
        rows=rows,
        dim=dim,
        pairs=int(counts.positives[taking].sum()),
        flops=_flops(dim),
        workers=workers,
        processes=not opened.engine.shares_memory,
    )


def _written(job: Job, selection: Selection, size: Size, valid: int) -> tuple[int, int]:
    """Bound the triplets that are drawn, and of those the ones that `per_negative` leaves."""
    select = job.select
    cap = min(select.max_triplets, valid)
    drawn = min(selection.at_most(size.pairs, size.anchors, cap), valid)
    left = drawn
    if select.per_negative:
        left = min(left, len(set(select.classes)) * select.per_negative * size.rows)
    if select.suspects:  # those are no triplets of the classes: what was kept is not among them
        drawn, left = (min(count + cap, valid) for count in (drawn, left))
    return drawn, left


def vectors_bytes(rows: int, dim: int) -> int:
    """Return what stored rows take, in memory and on disk."""
    return 4 * rows * dim


def _earlier(opened: Opened) -> tuple[str | None, bool]:
    """Return the run that makes this job a thing of the past, and whether its count is kept."""
    root, job = local_root(opened.job.output.path), opened.job
    key = opened.key(keep=False)
    found = finished_run(job.output.path, opened.fingerprint(key))
    for texts in (opened.texts, not opened.texts):  # counts do not hang on the texts
        store = open_store(root / ".store" / replace(key, facts={**key.facts, "texts": texts}).name)
        if store is not None:
            return found.run_id if found else None, would_reuse(store, job.mining, job.select)
    return found.run_id if found else None, False


def _there(folder: Path) -> Path:
    """Return the folder, or what is there above it."""
    there = folder.absolute()
    while not there.exists():
        there = there.parent
    return there


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
    rows = max(256, _TRIAL_VALUES // dim)  # few enough to stay in a cache that others use too
    left, right = np.ones((256, dim)), np.ones((rows, dim))
    best = np.inf
    with threadpool_limits(limits=1, user_api="blas"):
        for _ in range(6):  # the first warms up; the best is least disturbed by other work
            began = time.perf_counter()
            left @ right.T
            best = min(best, time.perf_counter() - began)
    return float(2 * left.size * len(right) / best)
