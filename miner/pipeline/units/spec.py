"""What a worker receives to process a unit, and the functions that workers call for each pass."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miner.census.device.devices import describe_device, device_name, open_device
from miner.census.gap_histogram import gap_facts
from miner.census.kernels import pick_kernel
from miner.census.measure import Vectors
from miner.census.statistics import StatisticsPlan, StatisticsRequest, plan_statistics
from miner.census.triplet_sample import draw_sample
from miner.census.walk.candidate_lists import (
    ENTRY_SUFFIX,
    HEADER_SUFFIX,
    CandidateFiles,
    CandidateLists,
)
from miner.census.walk.census import Census
from miner.embedding.store import Store, open_store
from miner.errors import StorageError
from miner.indexes.base import open_index
from miner.job import Job, parse_bytes
from miner.job_sections import MiningJob, SelectJob
from miner.pipeline.candidates.listed import Listed
from miner.pipeline.engines.base import Engine
from miner.pipeline.units.approximate import (
    CandidateMiner,
    Candidates,
    IndexCandidates,
    ListedCandidates,
)
from miner.pipeline.units.layout import Quota
from miner.pipeline.units.miner import UnitMiner
from miner.runs.tables import label_ranks
from miner.selection.selection import Selection, load_selection
from miner.storage.arrays import load_array, save_array
from miner.storage.files import sha256_file, storage_errors
from miner.triplets.distance import Metric
from miner.triplets.hardness import OutputFolder
from miner.triplets.relevance import LinkRelevance, Relevance, tally, unconstrained, without_rows

__all__ = [
    "Approximate",
    "UnitSpec",
    "count_anchors",
    "count_unit",
    "gap_histogram",
    "open_lists",
    "open_unit_miner",
    "write_unit",
]


@dataclass(frozen=True, slots=True)
class Approximate:
    """An approximate index that workers open from a file.

    Attributes
    ----------
    path : str
    factory : str
    settings : tuple of (str, float)
        Search parameters.
    candidates : int
        Candidate negatives per anchor.
    """

    path: str
    factory: str
    settings: tuple[tuple[str, float], ...]
    candidates: int


@dataclass(frozen=True, slots=True)
class UnitSpec:
    """Everything a worker needs to process the units of a job; a few hundred bytes.

    Attributes
    ----------
    store : str
        Folder of the embedding store.
    metric, margin, select
        As in the job.
    memory : int
        Bytes for a block of keys.
    keep : int
        Bytes of prepared rows that may stay in memory.
    loss : bool
        Whether the loss is computed.
    normalized : bool
        Whether the stored vectors have unit length.
    wanted : StatisticsRequest
        The statistics that are computed in addition to the class counts.
    approximate : Approximate or None
        The index that proposes negatives in an approximate run.
    kernel : str
        ``auto``, ``numba`` or ``numpy``; the results are the same.
    device : str
        What counts; with Dask the value of `engine.device`, and each worker looks for its own.
    processes, threads : int
        The processes of one machine, which share its GPUs, and the workers of each.
    left_out : str or None
        A file with the rows that are excluded, ascending.
    spares : int
        Further negatives that are drawn for each triplet.
    listed : str or None
        A folder with the candidates that negatives are drawn from; see `Listed`.
    """

    store: str
    metric: Metric
    margin: float
    select: SelectJob
    memory: int
    keep: int
    loss: bool = True
    normalized: bool = True
    wanted: StatisticsRequest = StatisticsRequest()  # noqa: RUF009  (frozen)
    approximate: Approximate | None = None
    kernel: str = "auto"
    device: str = "cpu"
    processes: int = 1
    threads: int = 1
    left_out: str | None = None
    spares: int = 0
    listed: str | None = None

    @classmethod
    def from_job(
        cls,
        job: Job,
        store: Store,
        engine: Engine,
        mining: MiningJob,
        approximate: Approximate | None = None,
    ) -> UnitSpec:
        """Return the description of a job's units; its memory is divided among the workers."""
        memory = parse_bytes(mining.memory)
        keys, device = store.facts["rows"][0] * store.facts["rows"][-1], job.engine.device
        if not engine.takes_address:
            device = device_name(device, float(keys) * store.dim)
        return cls(
            store=str(store.folder.resolve()),
            metric=mining.metric,
            margin=mining.margin,
            select=job.select,
            memory=max(1, memory // 2 // engine.per_machine),
            keep=memory // 2 // engine.processes,
            loss=mining.loss,
            normalized=mining.normalized,
            wanted=StatisticsRequest.from_job(mining),
            approximate=approximate,
            spares=job.teacher.spares if job.teacher.model else 0,
            kernel=pick_kernel(keys),
            device=device,
            processes=engine.processes,
            threads=engine.per_machine // engine.processes,
        )

    @property
    def counting_facts(self) -> dict[str, str]:
        """The loops and the device that count, for the manifest."""
        return {"kernels": self.kernel, "device": describe_device(self.device)}


@functools.lru_cache(maxsize=1)
def open_unit_miner(spec: UnitSpec) -> UnitMiner:
    """Open the store and return the object that processes units; cached once per process."""
    store = open_store(Path(spec.store))
    if store is None:
        raise StorageError(f"{spec.store} is gone; run the same command again")
    rows = store.vectors(store.row_side)
    vectors = Vectors(rows if store.row_side == 0 else store.vectors(0), rows, spec.kernel)
    relevance = store.relevance()
    if spec.left_out is not None:
        with storage_errors(Path(spec.left_out)):
            relevance = without_rows(relevance, load_array(Path(spec.left_out)))
    if spec.approximate is not None or spec.listed is not None:
        return _open_candidates(spec, vectors, relevance)
    name = device_name(spec.device, vectors.work)
    sharing = (spec.memory, spec.processes, spec.threads)
    device = None if name == "cpu" else functools.partial(open_device, name, *sharing)
    keep = spec.keep if device is None else 0
    census = Census(
        vectors,
        relevance,
        spec.metric,
        spec.margin,
        kernel=spec.kernel,
        keep_bytes=keep,
        device=device,
    )
    names = store.label_names() if spec.wanted.confusions else None
    ranks = None if names is None else label_ranks(names)
    return UnitMiner(
        census=census,
        tally=tally(relevance),
        selection=_selection(spec, relevance),
        seed=spec.select.seed,
        memory=spec.memory,
        normalized=spec.normalized,
        loss=spec.loss,
        writes=spec.select.max_triplets > 0,
        statistics=plan_statistics(relevance, spec.wanted, ranks),
    )


def _selection(spec: UnitSpec, relevance: Relevance) -> Selection:
    links = unconstrained(relevance)
    prefer = isinstance(links, LinkRelevance) and len(links.preferred) > 0
    return replace(load_selection(spec.select), prefer=prefer, spares=spec.spares)


def _open_candidates(spec: UnitSpec, vectors: Vectors, relevance: Relevance) -> UnitMiner:
    """Return the object that processes units among candidates, with their index or list opened."""
    census = Census(vectors, relevance, spec.metric, spec.margin, kernel=spec.kernel)
    candidates: Candidates
    if spec.listed is not None:
        candidates = ListedCandidates(census, Listed.open(Path(spec.listed), relevance.rows))
    else:
        approximate = spec.approximate
        assert approximate is not None
        index = open_index(approximate.factory, spec.metric, Path(approximate.path))
        index.set_parameters(dict(approximate.settings))
        candidates = IndexCandidates(census, index, approximate.candidates)
    return CandidateMiner(
        census=census,
        tally=tally(relevance),
        selection=_selection(spec, relevance),
        seed=spec.select.seed,
        memory=spec.memory,
        normalized=spec.normalized,
        candidates=candidates,
    )


def count_anchors(spec: UnitSpec, anchors: tuple[int, ...]) -> NDArray[np.void]:
    """Return the exact records of the given anchors, an array of `ANCHOR_COUNTS`."""
    order = np.array(anchors, dtype=np.int64)
    opened = open_unit_miner(spec)
    some = replace(opened, statistics=StatisticsPlan(order=order), writes=False)
    return some.count((0, len(order)))


def count_unit(spec: UnitSpec, path: Path, unit: tuple[int, int]) -> dict[str, str]:
    """Count a unit; write its records to `path`, its lists and statistics to files next to it.

    Returns
    -------
    dict
        The checksum of each file that was written, by file name.
    """
    miner = open_unit_miner(spec)
    sums = miner.statistics.sums(len(miner.census.vectors.rows), unit, spec.kernel)
    counted, listed = [], []
    for part in miner.statistics.parts(unit, sums):
        lists: list[CandidateLists] = []
        counted.append(miner.count(part, sums, lists))
        places = np.arange(*part) - unit[0]
        listed += [(places, one) for one in lists]
    files: dict[Path, NDArray[Any]] = {path: np.concatenate(counted)}
    whole = CandidateLists.assemble(unit[1] - unit[0], listed)
    files[path.with_suffix(HEADER_SUFFIX)] = whole.head
    files[path.with_suffix(ENTRY_SUFFIX)] = whole.entries
    if sums is not None:
        files[path.with_suffix(".hubs.npy")] = sums.hubs()
        for name, array in sums.confusions.arrays().items() if sums.confusions else ():
            files[path.with_suffix(f".{name}.npy")] = array
    for target, array in files.items():
        save_array(target, array)
    return {target.name: sha256_file(target) for target in files}


@functools.lru_cache(maxsize=1)
def open_lists(spec: UnitSpec, work: Path, counted: tuple[str, ...]) -> CandidateFiles | None:
    """Open the candidate lists of all units, or return None if a file is missing.

    The result is cached once per process.
    """
    miner = open_unit_miner(spec)
    there = all(
        (work / f"{unit}{end}").exists()
        for unit in counted
        for end in (HEADER_SUFFIX, ENTRY_SUFFIX)
    )
    if not counted or not there:
        return None
    return CandidateFiles(work, counted, miner.statistics.anchors((0, len(miner.tally.positives))))


def write_unit(
    spec: UnitSpec,
    unit: tuple[int, int],
    quotas: Mapping[OutputFolder, Quota],
    paths: Mapping[OutputFolder, Path],
    counted: NDArray[np.void] | None = None,
    files: CandidateFiles | None = None,
) -> dict[str, dict[str, Any]]:
    """Write the triplets of a unit; see `UnitMiner.write`."""
    return open_unit_miner(spec).write(unit, quotas, paths, counted, files)


def gap_histogram(spec: UnitSpec, size: int) -> dict[str, Any]:
    """Return the gap histogram of a sample of `size` triplets; empty if `size` is 0."""
    if not size:
        return {}
    miner = open_unit_miner(spec)
    census, able = miner.census, (miner.tally.positives, miner.tally.negatives)
    size = min(size, miner.tally.valid)
    sample = draw_sample(census.relevance, census.vectors, census.metric, able, size=size)
    return {"gaps": gap_facts(sample, census.margin)}
