"""Time the counting of some anchors, with the code that a run uses."""

from __future__ import annotations

import functools
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from miner.census.walk.candidate_lists import ENTRY_SUFFIX
from miner.embedding.store import Store
from miner.job import Job
from miner.job_sections import EngineJob
from miner.pipeline.engines.base import open_engine
from miner.pipeline.units.spec import UnitSpec, count_unit, open_unit_miner

__all__ = ["Slice", "count_slice"]

_SECONDS = 0.5
"""A slice takes about this long, but has at least two parts for each worker."""
_FEW, _PART = 16, 256
"""Number of anchors that are counted first; number of anchors of a part."""


@dataclass(frozen=True, slots=True)
class Slice:
    """Time and disk space that counting some anchors took.

    Attributes
    ----------
    rows : int
        Number of rows that the anchors were counted against.
    anchors : int
        Number of counted anchors that have triplets.
    each : float
        CPU seconds per anchor. Elapsed time would be unreliable, because other work on the machine
        can multiply so short a time.
    listed, left : float
        Bytes on disk per anchor: of its candidate list, and of all other files.
    """

    rows: int
    anchors: int
    each: float
    listed: float
    left: float


def count_slice(job: Job, store: Store, folder: Path, *, unit: int, workers: int) -> Slice:
    """Count parts of units on the CPU, spread evenly over the anchors of a store.

    Parameters
    ----------
    job, store
        The job, and an embedding store of its rows or of a sample of them.
    folder : Path
        Folder for the files of the parts.
    unit : int
        Number of anchors of a unit of the job.
    workers : int
        Number of threads.
    """
    on_cpu = replace(job, engine=replace(job.engine, device="cpu"))  # a GPU is not timed
    with open_engine(EngineJob("threads", workers)) as engine:
        spec = UnitSpec.from_job(on_cpu, store, engine, job.mining)
        try:
            miner = open_unit_miner(spec)
            anchors = len(miner.tally.positives)
            few = min(_FEW, anchors)
            _count(spec, folder / "first", (0, few))  # loads compiled loops, or compiles them
            spent = _count(spec, folder / "first", (0, few))
            size = min(unit, _PART, anchors)
            cuts = [(at, min(at + size, anchors)) for at in range(0, anchors, size)]
            wanted = workers * max(2, int(_SECONDS * few / (max(spent, 1e-6) * size)))
            places = np.unique(np.linspace(0, len(cuts) - 1, wanted).astype(int))
            parts = [cuts[place] for place in places.tolist()]
            seconds = sum(engine.map(functools.partial(_count, spec, folder / "part"), parts))
            able = (miner.tally.positives > 0) & (miner.tally.negatives > 0)
            counted = [able[miner.statistics.anchors(part)] for part in parts]
        finally:
            open_unit_miner.cache_clear()
    total, with_triplets = sum(map(len, counted)), sum(int(part.sum()) for part in counted)
    listed = _bytes(folder, ENTRY_SUFFIX)
    return Slice(
        rows=store.facts["rows"][-1],
        anchors=with_triplets,
        each=seconds / max(1, with_triplets),
        listed=listed / total,
        left=(_bytes(folder, "") - listed) / total,
    )


def _count(spec: UnitSpec, stem: Path, part: tuple[int, int]) -> float:
    """Count a part in a worker, and return the CPU seconds."""
    began = time.thread_time()
    count_unit(spec, stem.with_name(f"{stem.name}-{part[0]:09d}.npy"), part)
    return time.thread_time() - began


def _bytes(folder: Path, end: str) -> int:
    """Return the total size of the files of all parts whose names end with `end`."""
    return sum(path.stat().st_size for path in folder.glob(f"part-*{end}"))
