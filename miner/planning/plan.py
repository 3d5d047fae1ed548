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
from pathlib import Path
from typing import Any

from miner.census.gap_histogram import counts_all
from miner.embedding.recipe import StoreKey
from miner.embedding.store import Store, open_store
from miner.indexes.base import FLAT
from miner.job import Job, parse_bytes
from miner.job_sections import MiningJob
from miner.pipeline.count_cache import would_reuse
from miner.pipeline.index import factory_of
from miner.pipeline.resolve import Opened
from miner.pipeline.units.layout import cut_units
from miner.planning.counting import Slice, count_slice
from miner.planning.embedding import Trial
from miner.planning.footprint import Columns, Size, disk, memory
from miner.runs.staging import finished_run
from miner.selection.selection import load_selection
from miner.storage.scratch import scratch_folder
from miner.storage.urls import local_root, named_by_url
from miner.triplets.hardness import MINED
from miner.triplets.relevance import LabelRelevance, MultiLabelRelevance, Relevance, Tally, tally

__all__ = ["plan_job"]


@dataclass(frozen=True, slots=True)
class _Crew:
    """Who does the work: workers in all, and workers and processes on one machine."""

    workers: int
    per_machine: int
    processes: int

    @property
    def here(self) -> int:
        """Workers of one machine that have a core of this one."""
        able = getattr(os, "sched_getaffinity", None)
        cores = len(able(0)) if able else os.cpu_count() or 1
        return max(1, min(self.per_machine, cores))

    @property
    def busy(self) -> int:
        """Workers that have a core, if all machines are like this one."""
        return max(1, self.workers * self.here // self.per_machine)


@dataclass(frozen=True, slots=True)
class _Data:
    """A data set as a run would read it.

    Attributes
    ----------
    relevance, counts, facts
        Who is relevant to whom, the triplets of each anchor, counts for the manifest.
    items : int
    columns : Path
        The folder that holds ids and texts.
    store : Store or None
        The vectors, where an earlier run has stored them.
    trial : Trial or None
        Embeds rows; None where the job's own store exists.
    fresh : int
        Contents that a run would put through the model.
    dim : int
    seconds : float
        Seconds of reading.
    """

    relevance: Relevance
    counts: Tally
    facts: dict[str, Any]
    items: int
    columns: Path
    store: Store | None
    trial: Trial | None
    fresh: int
    dim: int
    seconds: float

    @property
    def able(self) -> int:
        """Anchors that have a triplet."""
        return int(((self.counts.positives > 0) & (self.counts.negatives > 0)).sum())


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
        crew = _Crew(engine.workers, engine.per_machine, engine.processes)
    key = opened.key(keep=False)
    starting = time.perf_counter() - began
    finished = finished_run(job.output.path, opened.fingerprint(key))
    with scratch_folder("mine-plan-") as folder:
        data = _read(opened, key, folder)
        relevance = data.relevance
        anchors, rows = relevance.anchors, relevance.rows
        factory = factory_of(job, anchors, rows, data.dim)
        units = cut_units(anchors, rows, data.dim)
        unit = units[0][1] - units[0][0]
        reused = data.store is not None and would_reuse(data.store, job.mining, job.select)
        part = None
        if factory == FLAT and not reused:
            part = _counted(opened, data, folder, unit, crew)
        two_sides = not isinstance(relevance, LabelRelevance | MultiLabelRelevance)
        columns = Columns.of(data.columns, anchors, rows, two_sides=two_sides)
    each = _written(job, data)
    size = Size(
        anchors=anchors,
        rows=rows,
        dim=data.dim,
        units=len(units),
        unit=unit,
        triplets=each.pop("total"),
        two_sides=two_sides,
        exact=factory == FLAT,
    )
    seconds = {"start": starting, "read": data.seconds, "embed": 0.0}
    cached = 0
    if data.trial is not None:
        seconds["embed"] = data.trial.each * data.fresh
        cached = (data.trial.bytes + 24) * data.fresh if opened.model.model.cached else 0
    if size.exact:
        seconds["count"] = 0.0 if part is None else _scaled(part, data, len(units), crew)
    room = disk(size, columns, part, new_store=data.trial is not None, cached=cached)
    out = _existing(local_root(job.output.path))
    return {
        "already_mined": finished.run_id if finished else None,
        "count_reused": reused,
        "dataset": data.facts,
        "valid": data.counts.valid,
        "hidden": {"duplicates": data.counts.duplicates, "group": data.counts.group},
        "triplets_at_most": size.triplets,
        "written_at_most": each,
        "index": factory,
        "model": {"id": opened.model.name, "dim": data.dim},
        "embedding": {"rows": data.items, "embedded": data.fresh},
        "engine": {"name": job.engine.name, "workers": crew.workers},
        "seconds": {name: round(value, 2) for name, value in seconds.items()},
        "memory_bytes": memory(
            size,
            keys=parse_bytes(job.mining.memory),
            workers=crew.per_machine,
            processes=crew.processes,
            pairs=int(data.counts.positives.max(initial=0)),
        ),
        "disk": room,
        "disk_bytes": room["total"],
        "disk_free_bytes": shutil.disk_usage(out).free,
        "out_writable": out.is_dir() and os.access(out, os.W_OK),
        "calibration": {
            "embedded": data.trial.rows if data.trial else 0,
            "anchors": part.anchors if part else 0,
            "rows": part.rows if part else 0,
            "of": rows,
            "seconds": round(time.perf_counter() - began - starting - data.seconds, 1),
        },
    }


def _read(opened: Opened, key: StoreKey, folder: Path) -> _Data:
    """Read the data set, or find it in the store of an earlier run."""
    began = time.perf_counter()
    root = local_root(opened.job.output.path) / ".store"
    store = open_store(root / key.name)
    if store is not None:
        relevance, facts = store.relevance(), store.facts
        counts, seconds = tally(relevance), time.perf_counter() - began
        where, items, dim = store.folder, facts["items"], store.dim
        return _Data(
            relevance, counts, facts["dataset"], items, where, store, None, 0, dim, seconds
        )
    scanned = opened.source.scan(folder, texts=opened.texts)
    counts, seconds = tally(scanned.relevance), time.perf_counter() - began
    trial = Trial(opened.recipe, key, scanned, folder)
    fresh = trial.fresh()
    trial.look(fresh)
    # A store that only differs in the texts that it keeps has the same vectors and counts.
    other = replace(key, facts={**key.facts, "texts": not opened.texts})
    store = open_store(root / other.name)
    items = sum(map(len, scanned.rows))
    facts = scanned.facts
    return _Data(
        scanned.relevance, counts, facts, items, folder, store, trial, fresh, trial.dim, seconds
    )


def _counted(opened: Opened, data: _Data, folder: Path, unit: int, crew: _Crew) -> Slice:
    """Count a part of the job, on stored vectors or on those of some rows."""
    store = data.store
    if store is None:
        assert data.trial is not None  # there is either a store or a trial
        store = data.trial.store(data.fresh)
    mining: MiningJob = opened.job.mining
    if not counts_all(data.able * data.relevance.rows * data.dim, data.counts):
        mining = replace(mining, gaps=0)  # a large job samples them after the pass
    return count_slice(opened.job, mining, store, folder, unit=unit, workers=crew.here)


def _scaled(part: Slice, data: _Data, units: int, crew: _Crew) -> float:
    """Return the seconds of counting the whole: in proportion to anchors x rows."""
    grown = data.relevance.rows / part.rows
    pairs = grown * data.able / max(1, part.anchors)
    return part.begin * grown + part.seconds * pairs * part.workers / min(crew.busy, units)


def _written(job: Job, data: _Data) -> dict[str, int]:
    """Bound the triplets that are written of each class, and in all."""
    select, valid = job.select, data.counts.valid
    able = (data.counts.positives > 0) & (data.counts.negatives > 0)
    pairs = int(data.counts.positives[able].sum())
    cap = min(select.max_triplets, valid)

    def bound(*classes: str) -> int:
        """Return what is written of classes together."""
        chosen = [name for name in MINED if name in select.classes and name in classes]
        if not chosen:
            return 0
        selection = load_selection(replace(select, classes=tuple(chosen)))
        most = min(selection.at_most(pairs, data.able, cap), valid)
        if select.per_negative:
            most = min(most, len(chosen) * select.per_negative * data.relevance.rows)
        return most

    found = {str(name): bound(name) for name in MINED if name in select.classes}
    total = bound(*MINED)
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
