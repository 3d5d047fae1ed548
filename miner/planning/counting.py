"""One timed slice of the counting pass, by the code of the run."""

from __future__ import annotations

import functools
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from miner.census.candidate_lists import ENTRIES
from miner.embedding.store import Store
from miner.job import Job
from miner.job_sections import EngineJob, MiningJob
from miner.pipeline.engines.base import open_engine
from miner.pipeline.units.task import Task, count_unit, open_miner
from miner.storage.arrays import load_array

__all__ = ["Slice", "count_slice"]

_HUBS = ".hubs.npy"
_SECONDS = 0.5
"""The slice takes about so long, but no less than one part for every worker."""
_FEW, _PART = 16, 256
"""Anchors that are counted first; anchors of a part."""
_LOADING = 0.5
"""Seconds of the first anchors at most: what is beyond was compiling, which is done once."""


@dataclass(frozen=True, slots=True)
class Slice:
    """What counting some anchors took.

    Attributes
    ----------
    rows : int
        The rows that the anchors were counted against.
    anchors : int
        The anchors, without those that have no triplets.
    workers : int
        Workers that shared them.
    begin : float
        Seconds of opening the pass.
    seconds : float
        Seconds of counting.
    part : int
        Anchors in a part.
    seen : float
        Share of the rows that are hubs of a part.
    hub : int
        Bytes of a hub in a part's file.
    listed : float
        Bytes that an anchor left of the rows within its reach.
    left : float
        Bytes of all other files of a part.
    """

    rows: int
    anchors: int
    workers: int
    begin: float
    seconds: float
    part: int
    seen: float
    hub: int
    listed: float
    left: float


def count_slice(
    job: Job, mining: MiningJob, store: Store, folder: Path, *, unit: int, workers: int
) -> Slice:
    """Count parts of units, spread evenly over the anchors of a store.

    Parameters
    ----------
    job, mining, store
        As for a run.
    folder : Path
        Takes the files of the parts.
    unit : int
        Anchors of a unit of the job.
    workers : int
        Threads that count.
    """
    with open_engine(EngineJob("threads", workers)) as engine:
        task = Task.of(job, store, engine, mining)
        try:
            began = time.perf_counter()
            miner = open_miner(task)
            opening = time.perf_counter() - began
            anchors = len(miner.tally.positives)
            few = (0, min(_FEW, anchors))
            first, each = (_timed(task, folder, few) for _ in range(2))
            size = min(unit, _PART, anchors)
            wanted = workers * max(1, int(_SECONDS * few[1] / (each * size)))
            cuts = [(at, min(at + size, anchors)) for at in range(0, anchors, size)]
            chosen = np.unique(np.linspace(0, len(cuts) - 1, wanted).astype(int)).tolist()
            parts = [cuts[place] for place in chosen]
            began = time.perf_counter()
            list(engine.map(functools.partial(_count, task, folder), parts))
            seconds = time.perf_counter() - began
            able = (miner.tally.positives > 0) & (miner.tally.negatives > 0)
            counted = sum(int(able[miner.besides.anchors(part)].sum()) for part in parts)
        finally:
            open_miner.cache_clear()
    rows = store.facts["rows"][-1]
    hubs = [load_array(path) for path in folder.glob(f"part-*{_HUBS}")]
    listed = _bytes(folder, ENTRIES)
    return Slice(
        rows=rows,
        anchors=counted,
        workers=min(workers, len(parts)),
        begin=opening + min(_LOADING, max(0.0, first - each)),
        seconds=seconds,
        part=size,
        seen=sum(map(len, hubs)) / len(parts) / rows,
        hub=max((one.dtype.itemsize for one in hubs), default=0),
        listed=listed / sum(stop - start for start, stop in parts),
        left=(_bytes(folder, "") - listed - _bytes(folder, _HUBS)) / len(parts),
    )


def _timed(task: Task, folder: Path, few: tuple[int, int]) -> float:
    """Return the seconds of counting a few anchors."""
    began = time.perf_counter()
    count_unit(task, folder / "first.npy", few)
    return time.perf_counter() - began


def _count(task: Task, folder: Path, part: tuple[int, int]) -> None:
    """Count a part, in a worker."""
    count_unit(task, folder / f"part-{part[0]:09d}.npy", part)


def _bytes(folder: Path, end: str) -> int:
    """Return the size of a kind of file that the parts left."""
    return sum(path.stat().st_size for path in folder.glob(f"part-*{end}"))
