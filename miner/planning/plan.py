"""Prediction of a run: items, triplets, time, memory and disk.

The data is read and checked as in a run, so the counts are exact. A part of the counting pass is
timed, on stored vectors or on a sample of rows that is embedded for this purpose. The time of
building an index, of writing and of the report is not predicted.
"""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miner.census.device.devices import device_name
from miner.embedding.recipe import StoreKey
from miner.embedding.store import Store, sound_store
from miner.indexes.base import FLAT
from miner.job import Job, parse_bytes
from miner.job_sections import SelectJob
from miner.pipeline.attempt import peak_rss
from miner.pipeline.count_cache import would_reuse
from miner.pipeline.index import factory_of
from miner.pipeline.resolve import ResolvedJob
from miner.pipeline.units.layout import cut_units
from miner.planning.counting import Slice, count_slice
from miner.planning.doctor import usable_cores
from miner.planning.embedding import Trial
from miner.planning.footprint import Size, disk, memory
from miner.runs.staging import finished_run
from miner.selection.selection import load_selection
from miner.storage.scratch import scratch_folder
from miner.storage.urls import errors_name_urls, local_root
from miner.triplets.hardness import MINED_CLASSES, MinedClass
from miner.triplets.relevance import (
    AnchorSubset,
    LinkRelevance,
    Relevance,
    Tally,
    tally,
    unconstrained,
)

__all__ = ["plan_job"]


@dataclass(frozen=True)
class _Data:
    """A data set as a run would read it; `trial` is None if the store of the job exists."""

    relevance: Relevance
    facts: dict[str, Any]
    items: int
    columns: Path
    dim: int
    store: Store | None
    trial: Trial | None = None

    @cached_property
    def counts(self) -> Tally:
        """The number of positives and negatives of each anchor."""
        return tally(self.relevance)

    @cached_property
    def able(self) -> NDArray[np.bool_]:
        """Whether each anchor has a triplet, shape (anchors,)."""
        return (self.counts.positives > 0) & (self.counts.negatives > 0)

    @property
    def anchors(self) -> int:
        """The number of anchors that have a triplet."""
        return int(self.able.sum())


@errors_name_urls()
def plan_job(job: Job) -> dict[str, Any]:
    """Predict the size, time, memory and disk space of a job.

    Parameters
    ----------
    job : Job

    Returns
    -------
    dict
        ``dataset``: counts as in the manifest. ``valid``: the exact number of valid triplets.
        ``hidden``: pairs left out as duplicates or by group. ``triplets_at_most`` and
        ``written_at_most``: upper bounds on the written triplets, in total and per class.
        ``candidates``: the names of who proposes them. ``teacher``: its name, or None, and the
        triplets whose pairs it scores.
        ``min_rows``: the gate on written rows, 0 where there is none.
        ``index``: the index that a run would use. ``model``: id and dimensions. ``embedding``: the
        rows, and the number of contents to embed. ``engine``: name, workers, device. ``seconds``:
        ``start``, ``read``, ``embed``, and for an exact run ``count``. ``memory_bytes``: an upper
        bound for one machine. ``disk_bytes``: an upper bound, with its parts in ``disk``.
        ``disk_free_bytes``. ``out_writable``. ``already_mined``: the finished run of this job, or
        None. ``count_reused``: whether the cached counts of an earlier run can be used.
        ``calibration``: the numbers of rows embedded, and of anchors and rows counted, for the
        prediction.

    Raises
    ------
    MineError
        When the run would raise it.
    """
    began = time.perf_counter()
    opened = ResolvedJob.from_job(job, keep=False)
    with opened.engine as engine:
        workers, on_machine, processes = engine.workers, engine.per_machine, engine.processes
    key = opened.key(keep=False)
    finished = finished_run(job.output.path, opened.fingerprint(key))
    seconds = {"start": time.perf_counter() - began}
    with scratch_folder("mine-plan-") as folder:
        data = _read(opened, key, folder)
        seconds["read"] = time.perf_counter() - began - seconds["start"]
        trial, dim = data.trial, data.dim
        anchors, rows = data.relevance.anchors, data.relevance.rows
        kind = unconstrained(data.relevance)
        factory = factory_of(job, anchors, rows, dim)
        units = cut_units(anchors, rows, dim)
        reused = data.store is not None and would_reuse(data.store, job.mining, job.select)
        at_most = _written(job.select, data)
        mined = at_most["total"] - at_most.get("suspects", 0)
        pool = mined * (1 + job.teacher.spares) if job.teacher.model else 0
        size = Size(
            anchors=anchors,
            rows=rows,
            dim=dim,
            units=len(units),
            unit=units[0][1] - units[0][0],
            triplets=at_most.pop("total"),
            sides=2 if isinstance(kind, AnchorSubset | LinkRelevance) else 1,
            exact=factory == FLAT,
            pool=min(pool, data.counts.valid),
        )
        here = max(1, min(on_machine, usable_cores()))
        part = None
        if size.exact and not reused:
            part = _counted(job, data, folder, size.unit, here)
        device = job.engine.device
        if not engine.takes_address:
            device = device_name(device, float(anchors) * rows * dim)
        cached = trial.cached if trial else 0
        room = disk(size, part, data.columns, new=trial is not None, cached=cached)
    seconds["embed"] = trial.seconds if trial else 0.0
    if size.exact:
        busy = min(len(units), max(1, workers * here // on_machine))
        each = part.each * rows / part.rows if part else 0.0
        seconds["count"] = each * data.anchors / busy
    out, source = _existing(local_root(job.output.path)), opened.source
    return {
        "already_mined": finished.run_id if finished else None,
        "count_reused": reused,
        "dataset": {**data.facts, "used": source.used(), "unused": source.unused()},
        "min_rows": job.gates.min_rows if job.select.max_triplets else 0,
        "valid": data.counts.valid,
        "hidden": {why: n for why, n in data.counts.hidden.items() if why != "itself"},
        "triplets_at_most": size.triplets,
        "written_at_most": at_most,
        "candidates": list(opened.source_names),
        "teacher": {"id": job.teacher.model, "triplets_at_most": size.pool},
        "index": factory,
        "model": {"id": opened.model.name, "dim": dim},
        "embedding": {"rows": data.items, "embedded": trial.fresh if trial else 0},
        "engine": {"name": job.engine.name, "workers": workers, "device": device},
        "seconds": {name: round(value, 2) for name, value in seconds.items()},
        "memory_bytes": memory(
            size,
            keys=parse_bytes(job.mining.memory),
            workers=on_machine,
            processes=processes,
            pairs=int(data.counts.positives.max(initial=0)),
            peak=peak_rss(),
        ),
        "disk": room,
        "disk_bytes": room["total"],
        "disk_free_bytes": shutil.disk_usage(out).free,
        "out_writable": out.is_dir() and os.access(out, os.W_OK),
        "calibration": {
            "embedded": trial.rows if trial else 0,
            "anchors": part.anchors if part else 0,
            "rows": part.rows if part else 0,
            "of": rows,
        },
    }


def _read(opened: ResolvedJob, key: StoreKey, folder: Path) -> _Data:
    """Read the data set, or find it in the store of an earlier run."""
    root = local_root(opened.job.output.path) / ".store"
    store = sound_store(root / key.name)
    if store is not None:
        facts = store.facts["dataset"], store.facts["items"]
        return _Data(store.relevance(), *facts, store.folder, store.dim, store)
    scanned = opened.source.scan(folder, texts=opened.texts)
    trial = Trial(opened.recipe, key, scanned, folder)
    known = scanned.relevance, scanned.facts, sum(map(len, scanned.rows)), folder
    # A store that differs only in whether it keeps texts has the same vectors and counts.
    other = replace(key, facts={**key.facts, "texts": not opened.texts})
    return _Data(*known, trial.dim, sound_store(root / other.name), trial)


def _counted(job: Job, data: _Data, folder: Path, unit: int, workers: int) -> Slice:
    """Count a part of the job, on stored vectors or on a sample of rows that is embedded."""
    store = data.store
    if store is None:
        assert data.trial is not None  # a store or a trial exists
        store = data.trial.store()
    return count_slice(job, store, folder, unit=unit, workers=workers)


def _written(select: SelectJob, data: _Data) -> dict[str, int]:
    """Return upper bounds on the written triplets of each class, and in ``total``."""
    valid = data.counts.valid
    pairs = int(data.counts.positives[data.able].sum())
    cap = min(select.max_triplets, valid)

    def bound(*classes: MinedClass) -> int:
        """Return an upper bound on the triplets of these classes together."""
        selection = load_selection(replace(select, classes=classes))
        most = min(selection.at_most(pairs, data.anchors, cap), valid)
        if select.per_negative:
            most = min(most, len(classes) * select.per_negative * data.relevance.rows)
        return most

    chosen = [name for name in MINED_CLASSES if name in select.classes]
    found = {str(name): bound(name) if name in chosen else 0 for name in MINED_CLASSES}
    total = bound(*chosen)
    if select.suspects:  # suspects are written in addition to the triplets of the classes
        found["suspects"] = cap
        total = min(total + cap, valid)
    return {**found, "total": total}


def _existing(folder: Path) -> Path:
    """Return the folder if it exists, else its nearest existing ancestor."""
    found = folder.absolute()
    while not found.exists():
        found = found.parent
    return found
