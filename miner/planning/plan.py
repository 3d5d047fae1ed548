"""What a run would do, before doing it: items, triplets, time, memory, disk.

The data is read and checked as a run would do it, so the counts are exact. A part of the counting
pass is timed, on vectors that are stored already or on rows that are embedded for this. Building an
index, writing and the report are not predicted.
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

from miner.embedding.recipe import StoreKey
from miner.embedding.store import Store, sound_store
from miner.indexes.base import FLAT
from miner.job import Job, parse_bytes
from miner.job_sections import SelectJob
from miner.pipeline.attempt import peak_rss
from miner.pipeline.count_cache import would_reuse
from miner.pipeline.index import factory_of
from miner.pipeline.resolve import Opened
from miner.pipeline.units.layout import cut_units
from miner.planning.counting import Slice, count_slice
from miner.planning.doctor import usable_cores
from miner.planning.embedding import Trial
from miner.planning.footprint import Size, disk, memory
from miner.runs.staging import finished_run
from miner.selection.selection import load_selection
from miner.storage.scratch import scratch_folder
from miner.storage.urls import local_root, named_by_url
from miner.triplets.hardness import MINED, Mined
from miner.triplets.relevance import AnchorSubset, LinkRelevance, Relevance, Tally, tally

__all__ = ["plan_job"]


@dataclass(frozen=True)
class _Data:
    """A data set as a run would read it; `trial` is None where the job's own store exists."""

    relevance: Relevance
    facts: dict[str, Any]
    items: int
    columns: Path
    dim: int
    store: Store | None
    trial: Trial | None = None

    @cached_property
    def counts(self) -> Tally:
        """The positives and negatives of each anchor."""
        return tally(self.relevance)

    @cached_property
    def able(self) -> NDArray[np.bool_]:
        """Whether each anchor has a triplet."""
        return (self.counts.positives > 0) & (self.counts.negatives > 0)

    @property
    def anchors(self) -> int:
        """How many anchors have one."""
        return int(self.able.sum())


@named_by_url()
def plan_job(job: Job) -> dict[str, Any]:
    """Predict what a job takes.

    Parameters
    ----------
    job : Job

    Returns
    -------
    dict
        ``dataset`` (counts as in the manifest), ``valid`` triplets (exact), ``triplets_at_most``
        (what the strategy and the caps can write) and ``written_at_most`` of each class,
        ``min_rows`` (the gate on what is written, 0 where there is none),
        ``index`` (what is chosen), ``embedding`` (rows, and how many contents go through the
        model), ``seconds`` (``start``, ``read``, ``embed``, and ``count`` of an exact run; a run
        also builds an index, writes and reports), ``memory_bytes`` of one machine, ``disk_bytes``
        and of what in ``disk``, ``disk_free_bytes``, ``out_writable``, ``already_mined``, the run
        that has done this job (or None), ``count_reused``, whether an earlier run's count would
        serve, and ``calibration``: the rows that were embedded for it, and the anchors and rows
        that were counted.

    Raises
    ------
    MineError
        As the run would.
    """
    began = time.perf_counter()
    opened = Opened.of(job)
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
        factory = factory_of(job, anchors, rows, dim)
        units = cut_units(anchors, rows, dim)
        reused = data.store is not None and would_reuse(data.store, job.mining, job.select)
        at_most = _written(job.select, data)
        size = Size(
            anchors=anchors,
            rows=rows,
            dim=dim,
            units=len(units),
            unit=units[0][1] - units[0][0],
            triplets=at_most.pop("total"),
            sides=2 if isinstance(data.relevance, AnchorSubset | LinkRelevance) else 1,
            exact=factory == FLAT,
        )
        here = max(1, min(on_machine, usable_cores()))
        part = None
        if size.exact and not reused:
            part = _counted(job, data, folder, size.unit, here)
        cached = trial.cached if trial else 0
        room = disk(size, part, data.columns, new=trial is not None, cached=cached)
    seconds["embed"] = trial.seconds if trial else 0.0
    if size.exact:
        busy = min(len(units), max(1, workers * here // on_machine))
        each = part.each * rows / part.rows if part else 0.0
        seconds["count"] = each * data.anchors / busy
    out = _existing(local_root(job.output.path))
    return {
        "already_mined": finished.run_id if finished else None,
        "count_reused": reused,
        "dataset": data.facts,
        "min_rows": job.gates.min_rows if job.select.max_triplets else 0,
        "valid": data.counts.valid,
        "hidden": {"duplicates": data.counts.duplicates, "group": data.counts.group},
        "triplets_at_most": size.triplets,
        "written_at_most": at_most,
        "index": factory,
        "model": {"id": opened.model.name, "dim": dim},
        "embedding": {"rows": data.items, "embedded": trial.fresh if trial else 0},
        "engine": {"name": job.engine.name, "workers": workers},
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


def _read(opened: Opened, key: StoreKey, folder: Path) -> _Data:
    """Read the data set, or find it in the store of an earlier run."""
    root = local_root(opened.job.output.path) / ".store"
    store = sound_store(root / key.name)
    if store is not None:
        facts = store.facts["dataset"], store.facts["items"]
        return _Data(store.relevance(), *facts, store.folder, store.dim, store)
    scanned = opened.source.scan(folder, texts=opened.texts)
    trial = Trial(opened.recipe, key, scanned, folder)
    known = scanned.relevance, scanned.facts, sum(map(len, scanned.rows)), folder
    # A store that only differs in the texts that it keeps has the same vectors and counts.
    other = replace(key, facts={**key.facts, "texts": not opened.texts})
    return _Data(*known, trial.dim, sound_store(root / other.name), trial)


def _counted(job: Job, data: _Data, folder: Path, unit: int, workers: int) -> Slice:
    """Count a part of the job, on stored vectors or on those of some rows."""
    store = data.store
    if store is None:
        assert data.trial is not None  # a store or a trial exists
        store = data.trial.store()
    return count_slice(job, store, folder, unit=unit, workers=workers)


def _written(select: SelectJob, data: _Data) -> dict[str, int]:
    """Bound the triplets that are written of each class, and in ``total``."""
    valid = data.counts.valid
    pairs = int(data.counts.positives[data.able].sum())
    cap = min(select.max_triplets, valid)

    def bound(*classes: Mined) -> int:
        """Return the most triplets of these classes together."""
        selection = load_selection(replace(select, classes=classes))
        most = min(selection.at_most(pairs, data.anchors, cap), valid)
        if select.per_negative:
            most = min(most, len(classes) * select.per_negative * data.relevance.rows)
        return most

    chosen = [name for name in MINED if name in select.classes]
    found = {str(name): bound(name) if name in chosen else 0 for name in MINED}
    total = bound(*chosen)
    if select.suspects:  # they are apart from the classes: what was kept is not among them
        found["suspects"] = cap
        total = min(total + cap, valid)
    return {**found, "total": total}


def _existing(folder: Path) -> Path:
    """Return the folder, or the nearest one above it that exists."""
    found = folder.absolute()
    while not found.exists():
        found = found.parent
    return found
