"""What a run takes, from what a short calibration measured: numbers in, seconds and bytes out.

Nothing here looks at a clock. The pass over all distances is in proportion to anchors x rows; an
inverted file is searched in proportion to its lists and to the rows of those that are looked
through; what workers share follows Amdahl's law (1967, AFIPS 30): a part of the work is done by one
at a time, and the rest by all at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "Costs",
    "IndexCosts",
    "Stage",
    "Work",
    "cluster",
    "cpu_seconds",
    "disk",
    "index_seconds",
    "memory",
    "seconds",
    "serial_share",
    "stages",
]

_SUMS, _MERGED = 24, 48
"""Bytes of a row as its triplets as a negative are counted, by each worker; and added up."""
_PROCESS = 300 << 20
"""What Python, NumPy, Arrow, FAISS and compiled loops take before there is any data."""
_WRITER, _SEALER, _NOMINATING = 15 << 20, 28 << 20, 40 << 20
"""What a worker holds as it writes; as it seals; as it looks through nominees."""
_ROOM = 1.1
"""What is expected of memory is raised by a tenth, for allocators keep some."""
_COUNTED = 128
"""The census of an anchor."""
_RECORD = 24
"""A written triplet, before it is in a shard."""
_BLOCK, _AUDITED = 256, 64
_PAIR = 256
"""Bytes of a pair of a block: its thresholds, their order, its places in tables."""
_PER_LIST, _LEAST_TRAINED, _MOST_TRAINED = 40, 65_536, 1_048_576
"""As of `miner.indexes.factory`: rows that training sees."""


@dataclass(frozen=True, slots=True)
class Work:
    """How much there is to do.

    Attributes
    ----------
    anchors : int
        Those that have triplets.
    all_anchors, rows, dim : int
    units, unit : int
        Units of the counting pass, and the anchors of one.
    fresh : int
        Rows that go through the model.
    stored : int
        Rows that the store is made of; 0 where it is there.
    triplets : int
        Those that will be written, about.
    parts : int
        Shards that they make.
    audited : int
        Anchors that an approximate run counts exactly too.
    lists : int
        Of an inverted file; 0 without one.
    counted : bool
        Whether an earlier run's count serves.
    """

    anchors: int
    all_anchors: int
    rows: int
    dim: int
    units: int
    unit: int
    fresh: int
    stored: int
    triplets: int
    parts: int
    audited: int = 0
    lists: int = 0
    counted: bool = False


@dataclass(frozen=True, slots=True)
class IndexCosts:
    """What an index of a sample took, in seconds.

    Attributes
    ----------
    rows, lists, probes : int
        Of the sample's index: its rows, its lists, and how many of these a search looks through.
    train, add : float
    truth, tune : float
        Finding the true nearest rows of a few anchors; trying search parameters on them.
    ask : float
        What is asked of the finished index, and saving it.
    """

    rows: int
    lists: int = 0
    probes: int = 1
    train: float = 0.0
    add: float = 0.0
    truth: float = 0.0
    tune: float = 0.0
    ask: float = 0.0


@dataclass(frozen=True, slots=True)
class Costs:
    """What a calibration measured, in seconds of one worker, and in bytes.

    Attributes
    ----------
    rows : int
        The rows of the sample against which anchors were counted.
    start : float
        Finding out what there is, with the check sums of all files.
    read : float
        Reading all data once.
    embed, keep : float
        A row through the model; a row into the store.
    begin : float
        Opening the pass over the sample, and its first anchors.
    count : float
        An anchor, against the rows of the sample.
    search : float
        Of it, what the search in an approximate index takes.
    merge : float
        A hub of a unit, added up.
    write, seal : float
        A triplet as a record; as a row of a shard.
    audit, audit_begin : float
        An anchor counted exactly beside an approximate run; opening the pass for it.
    count_cpu, write_cpu : float
        CPU seconds of an anchor that is counted, of a triplet that is written.
    count_serial, write_serial : float
        Share of that work which workers of one process do one at a time.
    record : float
        Bytes that a unit leaves of an anchor, but for hubs.
    hub : float
        Bytes of a hub in a unit's file; 0 where there are none.
    seen : float
        The share of all rows that are hubs of `sliced` anchors.
    sliced : int
    shard : float
        Bytes of a row of a shard.
    row : float
        Bytes that ids, texts and relevance take in the store, a row.
    index : IndexCosts
    """

    rows: int
    start: float = 0.0
    read: float = 0.0
    embed: float = 0.0
    keep: float = 0.0
    begin: float = 0.0
    count: float = 0.0
    search: float = 0.0
    merge: float = 0.0
    write: float = 0.0
    seal: float = 0.0
    audit: float = 0.0
    audit_begin: float = 0.0
    count_cpu: float = 0.0
    write_cpu: float = 0.0
    count_serial: float = 0.0
    write_serial: float = 0.0
    record: float = 0.0
    hub: float = 0.0
    seen: float = 0.0
    sliced: int = 1
    shard: float = 0.0
    row: float = 0.0
    index: IndexCosts = field(default_factory=lambda: IndexCosts(1))


@dataclass(frozen=True, slots=True)
class Stage:
    """The time of a stage.

    Attributes
    ----------
    fixed : float
        Seconds of one process, however many workers there are.
    shared : float
        Seconds of one worker that workers share.
    serial : float
        The share of it which they do one at a time.
    most : int
        So many workers at most find something to do; 0 for any number.
    """

    fixed: float = 0.0
    shared: float = 0.0
    serial: float = 0.0
    most: int = 0

    def on(self, workers: int) -> float:
        """Return the seconds with so many workers."""
        busy = min(workers, self.most) if self.most else workers
        return self.fixed + self.shared * (self.serial + (1 - self.serial) / max(1, busy))


def serial_share(alone: float, together: float, workers: int) -> float:
    """Return the share that is done one at a time, from two times of the same work (Amdahl).

    Parameters
    ----------
    alone, together : float
        Seconds with one worker, and with all of them.
    workers : int
    """
    if workers < 2 or alone <= 0:
        return 0.0
    share = (together / alone - 1 / workers) / (1 - 1 / workers)
    return min(1.0, max(0.0, share))


def stages(work: Work, costs: Costs, *, one_process: bool) -> dict[str, Stage]:
    """Return the time of all stages of a run: those of its manifest, and what is before them.

    Parameters
    ----------
    work : Work
    costs : Costs
    one_process : bool
        Whether workers are threads: then a part of their work is done one at a time.
    """
    grown = work.rows / costs.rows
    approximate = work.audited > 0
    plain = costs.count - costs.search
    anchor = plain + costs.search * _search_growth(work, costs) if approximate else plain * grown
    begin = costs.begin * (1.0 if approximate else max(1.0, grown))
    merge = costs.merge * hubs(work, costs) * work.units
    counting, writing = (costs.count_serial, costs.write_serial) if one_process else (0.0, 0.0)
    seal = costs.seal * work.triplets
    found = {
        "start": Stage(costs.start),
        "read": Stage(costs.read),
        "embed": Stage(costs.embed * work.fresh + costs.keep * work.stored),
        "index": Stage(index_seconds(costs.index, work)),
        "count": Stage(begin + merge, anchor * work.anchors, counting, work.units),
        "audit": Stage(costs.audit_begin * grown, costs.audit * grown * work.audited, counting),
        "write": Stage(0.0, costs.write * work.triplets, writing, work.units),
        "seal": Stage(0.0, seal, 0.0, max(1, work.parts)),
    }
    if work.counted:
        found["count"] = Stage(costs.begin)
    if not approximate:
        del found["audit"]
    return found


def cpu_seconds(costs: Costs, stages: Mapping[str, Stage]) -> float:
    """Return the CPU seconds of all stages, as far as one core is at work in what is not shared.

    Other work on the machine lengthens seconds; these hardly.
    """
    busy = 0.0
    for name, stage in stages.items():
        cpu, spent = {
            "count": (costs.count_cpu, costs.count),
            "write": (costs.write_cpu, costs.write),
        }.get(name, (1.0, 1.0))
        busy += stage.fixed + stage.shared * (cpu / spent if spent else 1.0)
    return busy


def seconds(stages: Mapping[str, Stage], workers: int) -> dict[str, float]:
    """Return the seconds of each stage with so many workers."""
    return {name: stage.on(workers) for name, stage in stages.items()}


def cluster(
    stages: Mapping[str, Stage], counts: Iterable[int], price: float | None
) -> list[dict[str, Any]]:
    """Return time and cost for some numbers of workers.

    Every worker is paid from the beginning to the end, also while one process is at work alone.

    Parameters
    ----------
    stages : mapping of Stage
    counts : iterable of int
    price : float or None
        Of a worker for an hour.
    """
    lines = []
    for workers in counts:
        total = sum(seconds(stages, workers).values())
        hours = workers * total / 3600
        line = {"workers": workers, "seconds": round(total, 1), "worker_hours": round(hours, 4)}
        lines.append(line if price is None else {**line, "cost": round(hours * price, 4)})
    return lines


def trained(lists: int, rows: int) -> int:
    """Return how many rows train an inverted file."""
    return min(rows, max(_LEAST_TRAINED, min(_PER_LIST * lists, _MOST_TRAINED)))


def index_seconds(sample: IndexCosts, work: Work) -> float:
    """Estimate building an index of all rows from that of some.

    Training an inverted file holds each of its rows against each list, and so does adding; a
    graph's rows cost in proportion to the logarithm of how many there are.
    """
    grown = work.rows / sample.rows
    if work.lists:
        wide = work.lists / sample.lists
        train = sample.train * wide * trained(work.lists, work.rows)
        train /= trained(sample.lists, sample.rows)
        add = sample.add * wide * grown
    else:
        train = sample.train
        add = sample.add * grown * math.log2(work.rows + 2) / math.log2(sample.rows + 2)
    tuned = sample.tune * _searched(work.lists, work.rows, sample.probes)
    tuned /= _searched(sample.lists, sample.rows, sample.probes)
    return train + add + (sample.truth + sample.ask) * grown + tuned


def _searched(lists: int, rows: int, probes: int) -> float:
    """Return how many vectors a search is held against; of a graph, in proportion to that."""
    if not lists:
        return math.log2(rows + 2)
    return lists + min(probes, lists) * rows / lists


def _search_growth(work: Work, costs: Costs) -> float:
    index = costs.index
    grown: float = _searched(work.lists, work.rows, index.probes)
    return grown / _searched(index.lists, index.rows, index.probes)


def hubs(work: Work, costs: Costs) -> float:
    """Bound the rows that are a negative of some anchor of a unit.

    As if anchors saw rows independently: in truth those of one label see the same ones, so there
    are fewer.
    """
    missed = math.pow(max(0.0, 1.0 - costs.seen), work.unit / max(1, costs.sliced))
    return work.rows * (1.0 - missed)


def disk(work: Work, costs: Costs, *, cached: bool, texts: int = 0) -> dict[str, int]:
    """Estimate what a run has on disk when it has most.

    Parameters
    ----------
    work : Work
    costs : Costs
    cached : bool
        Whether the vectors are kept by content beside the store.
    texts : int
        Bytes of texts in the store.

    Returns
    -------
    dict
        ``store``, ``cache``, ``staged`` (what units leave, and the written records, until the run
        is published), ``shards`` (with the census), ``total``.
    """
    vectors = 4 * work.stored * work.dim
    staged = work.units * hubs(work, costs) * costs.hub if costs.hub else 0.0
    staged += costs.record * work.all_anchors + _COUNTED * work.all_anchors
    staged += 2 * 8 * work.all_anchors + _RECORD * work.triplets
    if work.lists or work.audited:
        staged += work.rows * (4 * work.dim + 8)
    found = {
        "store": round(vectors + costs.row * work.stored + texts + _COUNTED * work.all_anchors),
        "cache": round(vectors + 24 * work.stored) if cached else 0,
        "staged": round(staged),
        "shards": round(costs.shard * work.triplets + 24 * work.all_anchors + (1 << 20)),
    }
    return {**found, "total": sum(found.values())}


def memory(work: Work, *, keys: int, workers: int, processes: int, pairs: int, sides: int) -> int:
    """Estimate the peak memory of one machine.

    Parameters
    ----------
    work : Work
    keys : int
        `mining.memory`, in bytes.
    workers, processes : int
        On one machine.
    pairs : int
        The most positives of an anchor.
    sides : int
        2 where anchors are no rows.
    """
    vectors = 4 * work.rows * work.dim
    mapped = vectors + (4 * work.all_anchors * work.dim if sides == 2 else 0)
    kept = vectors if vectors <= keys // 2 // processes else 0
    lines = min(_BLOCK, work.unit)
    held = workers * lines * (8 * work.rows + _PAIR * pairs)
    hubs = (workers * _SUMS + _MERGED) * work.rows
    if work.audited:  # an index in memory, nominees, and some anchors of the whole
        held = workers * (_AUDITED * 8 * work.rows + _NOMINATING)
        hubs = vectors
    counting = processes * kept + min(held, keys // 2 + workers * _NOMINATING) + hubs
    writing = workers * _WRITER + min(workers, work.parts) * _SEALER
    known = mapped + max(1, processes) * _PROCESS + 3 * _COUNTED * work.all_anchors
    return round(_ROOM * (known + counting + writing))
