"""What a run would do, before doing it: items, triplets, time, memory, disk, cost.

The data is read and checked as a run would do it. Then the stages of the run are rehearsed for a
second or so each, on a part of the data (`miner.planning.rehearsal`), and the time of the whole
follows from what they took (`miner.planning.estimate`).
"""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from miner.census.gap_histogram import counts_all
from miner.datasets.relevance import Scanned
from miner.embedding.recipe import StoreKey
from miner.embedding.store import Store, open_store
from miner.job import Job, parse_bytes
from miner.job_sections import MiningJob
from miner.pipeline.count_cache import would_reuse
from miner.pipeline.index import factory_of
from miner.pipeline.resolve import Opened
from miner.pipeline.units.candidates import listed_bytes
from miner.pipeline.units.layout import cut_units
from miner.planning.costs import Work
from miner.planning.estimate import cluster, cpu_seconds, seconds, stages
from miner.planning.footprint import disk, memory
from miner.planning.rehearsal.index import lists_of, scaled
from miner.planning.rehearsal.rehearsal import Rehearsal, Rehearsed
from miner.planning.rehearsal.sample import part_of, save
from miner.planning.rehearsal.vectors import Trial, dimensions, of_store, try_model
from miner.runs.shards import PART_ROWS
from miner.runs.staging import finished_run
from miner.selection.selection import Selection, load_selection
from miner.storage.scratch import scratch_folder
from miner.storage.urls import local_root, named_by_url
from miner.triplets.relevance import Relevance, Tally, tally

__all__ = ["plan_job"]

_VALUES = 1 << 25
"""Numbers in the rows of a rehearsal, at most: 128 MiB of them."""
_WORKERS = (1, 2, 4, 8, 16, 32)
_SPARE = 1.1
"""Times the triplets that are expected: so many are given room on disk."""


@dataclass(frozen=True, slots=True)
class _Crew:
    """Who does the work: workers in all, on one machine, and processes there."""

    workers: int
    per_machine: int
    processes: int
    threads: bool

    @property
    def cores(self) -> int:
        """The cores of this machine that this process may use."""
        able = getattr(os, "sched_getaffinity", None)
        return len(able(0)) if able else os.cpu_count() or 1

    @property
    def busy(self) -> int:
        """Workers that have a core, where all are on this machine."""
        return min(self.workers, max(self.cores, self.workers - self.per_machine))

    @property
    def tried(self) -> int:
        """Threads of the rehearsal."""
        return max(1, min(self.per_machine, self.cores))


@dataclass(frozen=True, slots=True)
class _Read:
    """What reading the data told."""

    scanned: Scanned
    counts: Tally
    store: Store | None
    current: bool
    opening: float
    reading: float

    @property
    def relevance(self) -> Relevance:
        """Who is relevant to whom."""
        return self.scanned.relevance

    @property
    def anchors(self) -> int:
        """How many anchors have a triplet."""
        return int(((self.counts.positives > 0) & (self.counts.negatives > 0)).sum())


@named_by_url()
def plan_job(job: Job, *, price: float | None = None) -> dict[str, Any]:
    """Predict what a job takes.

    Parameters
    ----------
    job : Job
    price : float, optional
        Of one worker for an hour.

    Returns
    -------
    dict
        ``dataset`` (counts as in the manifest), ``valid`` triplets (exact), ``triplets_at_most``
        (what the strategy and the caps can write), ``triplets_expected``, ``index`` (what is
        chosen), ``seconds`` per stage and in ``total_seconds``, ``cpu_seconds``,
        ``shared``, the stages that workers share, ``scaling`` (time, worker hours and cost for some
        numbers of workers; ``apart`` where threads of one machine would not do),
        ``memory_bytes`` of one machine, ``disk_bytes`` and of what in ``disk``,
        ``disk_free_bytes``, ``out_writable``, ``already_mined``, the run that has done this job (or
        None), ``count_reused``, whether an earlier run's count would serve, and ``calibration``:
        on how many rows, and how many of their vectors were made up.

    Raises
    ------
    MineError
        As the run would.
    """
    began = time.perf_counter()
    opened = Opened.of(job)
    with opened.engine as engine:
        crew = _Crew(engine.workers, engine.per_machine, engine.processes, engine.shares_memory)
    key = opened.key(keep=False)
    opening = time.perf_counter() - began
    finished, reused, store = _earlier(opened, key)
    with scratch_folder("mine-plan-") as folder:
        at = time.perf_counter()
        scanned = opened.source.scan(folder, texts=opened.texts)
        reading = time.perf_counter() - at
        texts = sum(path.stat().st_size for path in folder.glob("texts-*.arrow"))
        kept = sum(path.stat().st_size for path in folder.glob("*.arrow")) - texts
        counts = tally(scanned.relevance)
        current = store is not None and store.folder.name == key.name
        read = _Read(scanned, counts, store, current, opening, reading)
        planned = _Planned(opened, crew, read, folder)
        rehearsed, trial = planned.rehearsed()
    work, selection = planned.work(rehearsed, reused), load_selection(job.select)
    costs = replace(
        rehearsed.costs,
        start=opening,
        read=0.0 if current else reading,
        embed=trial.embed,
        keep=trial.keep,
        row=kept / max(1, work.rows) + 40,
    )
    one = crew.threads
    found = stages(work, costs, one_process=one)
    spent = seconds(found, crew.busy)
    _, most = _written(job, selection, read, counts.valid)
    room = disk(
        replace(work, triplets=min(most, round(_SPARE * work.triplets))),
        costs,
        cached=opened.model.model.cached,
        lists=listed_bytes(work.all_anchors, work.rows),
        texts=0 if current else texts,
    )
    there = _there(local_root(job.output.path))
    alone = stages(work, costs, one_process=False)
    lines = []
    for count in sorted({*_WORKERS, crew.workers}):
        apart = one and count > crew.cores  # more threads than cores are of no use
        (line,) = cluster(alone if apart else found, [count], price)
        lines.append({**line, "apart": apart})
    return {
        "already_mined": finished,
        "count_reused": reused,
        "dataset": scanned.facts,
        "valid": counts.valid,
        "hidden": {"duplicates": counts.duplicates, "group": counts.group},
        "index": planned.factory,
        "model": {"id": opened.model.name, "dim": planned.dim},
        "engine": {"name": job.engine.name, "workers": crew.workers},
        "seconds": {name: round(value, 2) for name, value in spent.items()},
        "total_seconds": round(sum(spent.values()), 1),
        "cpu_seconds": round(cpu_seconds(costs, found), 1),
        "shared": [name for name, stage in found.items() if stage.shared],
        "price_per_hour": price,
        "scaling": lines,
        "memory_bytes": memory(
            work,
            keys=parse_bytes(job.mining.memory),
            workers=crew.per_machine,
            processes=crew.processes,
            pairs=int(counts.positives.max(initial=0)),
            sides=len(planned.part.sides),
        ),
        "disk": room,
        "disk_bytes": room["total"],
        "disk_free_bytes": shutil.disk_usage(there).free,
        "out_writable": there.is_dir() and os.access(there, os.W_OK),
        "triplets_at_most": most,
        "triplets_expected": work.triplets,
        "calibration": {
            "rows": planned.part.relevance.rows,
            "of": work.rows,
            "made_up": round(1 - trial.known, 3),
            "seconds": round(time.perf_counter() - began - opening - reading, 1),
        },
    }


class _Planned:
    """A job that is read, and the part of it that is rehearsed."""

    def __init__(self, opened: Opened, crew: _Crew, read: _Read, folder: Path) -> None:
        self._opened, self._crew, self._read, self._folder = opened, crew, read, folder
        relevance = read.relevance
        if read.store is not None:
            self.dim, self._each = read.store.dim, 0.0
        else:
            self.dim, self._each = dimensions(opened)
        job = opened.job
        self.factory = factory_of(job, relevance.anchors, relevance.rows, self.dim)
        most = max(1, _VALUES // self.dim)
        self._tried, most = scaled(self.factory, relevance.rows, self.dim, most)
        self.part = part_of(relevance, most)
        units = cut_units(relevance.anchors, relevance.rows, self.dim)
        self._units, self._unit = len(units), units[0][1] - units[0][0]

    def rehearsed(self) -> tuple[Rehearsed, Trial]:
        """Rehearse the job."""
        opened, read, part = self._opened, self._read, self.part
        if read.store is not None:
            trial = of_store(read.store, part)
        else:
            trial = try_model(opened, read.scanned, part, self._each, self._folder)
        counts = [read.relevance.anchors, read.relevance.rows][-len(part.sides) :]
        texts = opened.texts
        store = save(self._folder, part, trial.vectors, counts, texts)
        rehearsal = Rehearsal(
            job=opened.job,
            mining=self._mining(),
            factory=self._tried,
            store=store,
            folder=self._folder,
            workers=self._crew.per_machine,
            threads=self._crew.tried,
            unit=self._unit,
            anchors=read.relevance.anchors,
            texts=texts,
        )
        return rehearsal.go(), trial

    def _mining(self) -> MiningJob:
        """Return what is counted: gaps only where that is of all anchors of the job."""
        mining, relevance = self._opened.job.mining, self._read.relevance
        if self.factory != "Flat":
            return mining.classes_alone
        if counts_all(self._read.anchors * relevance.rows * self.dim, self._read.counts):
            return mining
        return replace(mining, gaps=0)

    def work(self, rehearsed: Rehearsed, reused: bool) -> Work:
        """Return how much the whole job has to do."""
        read, job = self._read, self._opened.job
        relevance, approximate = read.relevance, self.factory != "Flat"
        selection = load_selection(job.select)
        triplets = self._expected(rehearsed.slots, selection)
        stored = 0 if read.current else sum(map(len, read.scanned.rows))
        per_class = max(1, len(rehearsed.slots))
        return Work(
            anchors=read.anchors,
            all_anchors=relevance.anchors,
            rows=relevance.rows,
            dim=self.dim,
            units=self._units,
            unit=self._unit,
            fresh=stored,
            stored=stored,
            triplets=triplets,
            parts=per_class * max(1, -(-triplets // (per_class * PART_ROWS))),
            audited=min(job.index.audit, read.anchors) if approximate else 0,
            lists=lists_of(self.factory),
            counted=reused,
        )

    def _expected(self, slots: dict[str, float], selection: Selection) -> int:
        """Return the triplets that will be written, about.

        With the rows grow an anchor's triplets, if the strategy takes all of them, and its pairs,
        if the part has not all of them.
        """
        read, select = self._read, self._opened.job.select
        grown = read.relevance.rows / self.part.relevance.rows
        times = grown if selection.strategy.from_totals else 1.0
        times *= 1.0 if self.part.whole else grown
        anchors = read.relevance.anchors
        each = (min(one * times * anchors, select.max_triplets) for one in slots.values())
        drawn, _ = _written(self._opened.job, selection, read, read.counts.valid)
        return min(drawn, round(sum(each)))


def _written(job: Job, selection: Selection, read: _Read, valid: int) -> tuple[int, int]:
    """Bound the triplets that are drawn, and of those the ones that `per_negative` leaves."""
    select = job.select
    cap = min(select.max_triplets, valid)
    taking = (read.counts.positives > 0) & (read.counts.negatives > 0)
    pairs = int(read.counts.positives[taking].sum())
    drawn = min(selection.at_most(pairs, read.anchors, cap), valid)
    left = drawn
    if select.per_negative:
        left = min(left, len(set(select.classes)) * select.per_negative * read.relevance.rows)
    if select.suspects:  # those are no triplets of the classes: what was kept is not among them
        drawn, left = (min(count + cap, valid) for count in (drawn, left))
    return drawn, left


def _earlier(opened: Opened, key: StoreKey) -> tuple[str | None, bool, Store | None]:
    """Return the run that makes this job a thing of the past, whether its count is kept, a store.

    The store may be one with other texts: it has the same vectors and counts.
    """
    root, job = local_root(opened.job.output.path), opened.job
    found = finished_run(job.output.path, opened.fingerprint(key))
    run_id = found.run_id if found else None
    for texts in (opened.texts, not opened.texts):
        store = open_store(root / ".store" / replace(key, facts={**key.facts, "texts": texts}).name)
        if store is not None:
            return run_id, would_reuse(store, job.mining, job.select), store
    return run_id, False, None


def _there(folder: Path) -> Path:
    """Return the folder, or what is there above it."""
    there = folder.absolute()
    while not there.exists():
        there = there.parent
    return there
