"""How long a run takes, from what a short calibration measured: numbers in, seconds out.

Nothing here looks at a clock. The pass over all distances is in proportion to anchors x rows; an
inverted file is searched in proportion to its lists and to the rows of those that are looked
through; what workers share follows Amdahl's law (1967, AFIPS 30): a part of the work is done by one
at a time, and the rest by all at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from miner.planning.costs import Costs, IndexCosts, Work
from miner.planning.footprint import hubs

__all__ = [
    "Stage",
    "cluster",
    "cpu_seconds",
    "index_seconds",
    "seconds",
    "serial_share",
    "stages",
    "trained",
]

_PER_LIST, _LEAST_TRAINED, _MOST_TRAINED = 40, 65_536, 1_048_576
"""As of `miner.indexes.factory`: rows that training sees."""


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
    counted = anchor * work.anchors + costs.count_unit * work.units * max(1.0, grown)
    busy = min(work.units, work.triplets)  # units that write something
    written = costs.write * work.triplets + costs.write_unit * busy
    seal = costs.seal * work.triplets
    found = {
        "start": Stage(costs.start),
        "read": Stage(costs.read),
        "embed": Stage(costs.embed * work.fresh + costs.keep * work.stored),
        "index": Stage(index_seconds(costs.index, work)),
        "count": Stage(begin + merge, counted, counting, work.units),
        "audit": Stage(costs.audit_begin * grown, costs.audit * grown * work.audited, counting),
        "write": Stage(0.0, written, writing, work.units),
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
