"""Both passes over some anchors of a part of a job, by the code of a run, and timed."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miner.allocation import allocate
from miner.columns import add_up_hubs
from miner.costs import Costs
from miner.estimate import serial_share
from miner.hardness import KEPT, Kept
from miner.job import SelectJob
from miner.reach import HEADS, ReachFiles
from miner.sealing import Piece
from miner.strategies.base import seeds
from miner.tasks import Task, count_anchors, count_unit, open_miner
from miner.units import COUNTED, Share

__all__ = ["Counted", "Counting", "Writing", "rehearse_audit", "timed"]

Rows = NDArray[np.int64]
Cut = tuple[int, int]

_SECONDS = 1.0
"""Of counting with one worker, and as much again with all of them."""
_SLICE, _FEW, _MOST_SLICES = 256, 16, 16
_MOST_BEGIN = 1.5
"""Seconds; what is beyond was the compiling of loops, which are kept."""
_AUDITED = 32
_FEWEST = 64
"""Triplets that are written at least, to see what one takes."""


def timed(work: Callable[[], object]) -> float:
    """Return the seconds that a call takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _all(call: Callable[[Any], object], items: Sequence[Any], threads: int) -> None:
    """Call with every item, in so many threads."""
    if threads == 1:
        for item in items:
            call(item)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(call, items))


@dataclass(frozen=True, slots=True)
class Counted:
    """What was counted.

    Attributes
    ----------
    costs : Costs
    slices : list of (ndarray of int64, Path)
        The anchors of each slice, and the file of their census.
    census : ndarray of shape (anchors,), `COUNTED`
        Zero where an anchor was not counted.
    """

    costs: Costs
    slices: list[tuple[Rows, Path]]
    census: NDArray[np.void]

    @property
    def anchors(self) -> Rows:
        """Those that were counted."""
        return np.concatenate([anchors for anchors, _ in self.slices])


@dataclass(frozen=True, slots=True)
class Counting:
    """Counts slices of units.

    Parameters
    ----------
    task : Task
    folder : Path
    unit : int
        Anchors of a unit of the job.
    threads : int
    """

    task: Task
    folder: Path
    unit: int
    threads: int

    def go(self, costs: Costs) -> Counted:
        """Count some slices alone and others together; add to the costs."""
        begin, each = self._begin()
        size = min(self.unit, _SLICE)
        alone, others = self._chosen(size, each)
        at = time.process_time()
        first, busy = self._sliced(alone, 1)
        count, total = first / busy, busy
        costs = replace(costs, begin=begin, count=count, sliced=size)
        if others:
            spent, busy = self._sliced(others, self.threads)
            share = serial_share(count, spent / busy, self.threads)
            costs, total = replace(costs, count_serial=share), total + busy
        costs = replace(costs, count_cpu=(time.process_time() - at) / total)
        slices = [(self._anchors(cut), self._file(cut)) for cut in alone + others]
        census = np.zeros(len(open_miner(self.task).tally.positives), dtype=COUNTED)
        for anchors, path in slices:
            census[anchors] = np.load(path)
        return Counted(self._left(costs, slices), slices, census)

    def _begin(self) -> tuple[float, float]:
        """Return the seconds of opening the pass, and of an anchor, roughly."""
        opening = timed(lambda: open_miner(self.task))
        few = min(_FEW, len(open_miner(self.task).tally.positives))
        target = self.folder / "first.npy"
        first, second = (timed(lambda: count_unit(self.task, target, (0, few))) for _ in range(2))
        return opening + min(_MOST_BEGIN, max(0.0, first - second)), second / few

    def _chosen(self, size: int, each: float) -> tuple[list[Cut], list[Cut]]:
        """Choose slices, evenly over the anchors: for one worker, and for all together."""
        anchors = len(open_miner(self.task).tally.positives)
        cuts = [(start, min(start + size, anchors)) for start in range(0, anchors, size)]
        wanted = max(1, min(_MOST_SLICES, int(_SECONDS / max(1e-9, each * size))))
        together = 0 if self.threads == 1 else max(2, wanted) * self.threads
        total = min(len(cuts), wanted + together)
        places = np.unique(np.linspace(0, len(cuts) - 1, total).round().astype(int)).tolist()
        if together and len(places) > 2 * self.threads:
            wanted = min(wanted, len(places) - 2 * self.threads)
            first = set(np.linspace(0, len(places) - 1, wanted + 2).round().astype(int)[1:-1])
        else:
            first = set(range(len(places)))
        mine = [cuts[place] for number, place in enumerate(places) if number in first]
        return mine, [cuts[place] for number, place in enumerate(places) if number not in first]

    def _sliced(self, cuts: list[Cut], threads: int) -> tuple[float, int]:
        """Count slices; return the seconds, and how many anchors had triplets."""

        def count(cut: Cut) -> None:
            count_unit(self.task, self._file(cut), cut)

        spent = timed(lambda: _all(count, cuts, threads))
        tally = open_miner(self.task).tally
        able = (tally.positives > 0) & (tally.negatives > 0)
        return spent, max(1, sum(int(able[self._anchors(cut)].sum()) for cut in cuts))

    def _anchors(self, cut: Cut) -> Rows:
        return open_miner(self.task).besides.anchors(cut)

    def _file(self, cut: Cut) -> Path:
        return self.folder / f"slice-{cut[0]:09d}.npy"

    def _left(self, costs: Costs, slices: list[tuple[Rows, Path]]) -> Costs:
        """Say what slices leave in files, and how long it takes to add up hubs."""
        files = [
            (path.stat().st_size, ".hubs." in path.name)
            for _, census in slices
            for path in self.folder.glob(f"{census.stem}.*")
        ]
        anchors = sum(len(anchors) for anchors, _ in slices)
        record = sum(size for size, hub in files if not hub) / anchors
        costs = replace(costs, record=record)
        paths = [census.with_suffix(".hubs.npy") for _, census in slices]
        if not paths[0].exists():
            return costs
        units = [np.load(path) for path in paths]
        lines = max(1, sum(map(len, units)))
        merging = timed(lambda: add_up_hubs(units, costs.rows))
        return replace(
            costs,
            hub=float(units[0].dtype.itemsize),
            seen=lines / len(units) / costs.rows,
            merge=merging / lines,
        )


def rehearse_audit(task: Task, anchors: Rows) -> tuple[float, float]:
    """Count some anchors exactly, as an audit does; return opening, and seconds of an anchor."""
    plain = SelectJob(max_triplets=0)
    exact = replace(task, approximate=None, select=plain, loss=False)
    some = tuple(anchors[np.linspace(0, len(anchors) - 1, _AUDITED).astype(int)].tolist())
    opening = timed(lambda: open_miner(exact))
    first = timed(lambda: count_anchors(exact, some[:1]))
    each = timed(lambda: count_anchors(exact, some)) / len(some)
    return opening + min(_MOST_BEGIN, max(0.0, first - each)), each


@dataclass(frozen=True, slots=True)
class Writing:
    """Writes the triplets of what was counted.

    Parameters
    ----------
    task : Task
    folder : Path
    counted : Counted
    share : float
        The share of the job's anchors that were counted: they get as much of its caps.
    threads : int
    """

    task: Task
    folder: Path
    counted: Counted
    share: float
    threads: int

    def go(self, costs: Costs) -> tuple[Costs, dict[Kept, list[Piece]]]:
        """Write some slices alone and others together; add to the costs, return the pieces."""
        shares = self._shares()
        slices = self.counted.slices
        cut = len(slices) if self.threads == 1 else max(1, len(slices) // (1 + self.threads))
        groups = [[slices[:cut]], self._dealt(slices[cut:])]
        at = time.process_time()
        pieces: dict[Kept, list[Piece]] = {name: [] for name in shares}
        files = self._files()
        each = []
        for number, group in enumerate(groups):
            call = functools.partial(self._write, shares, files, number)
            found: list[dict[Kept, Piece]] = []

            def write(item: Any, call: Any = call, found: Any = found) -> None:
                found.append(call(*item))

            work = [(place, some) for place, some in enumerate(group) if some]
            threads = 1 if number == 0 else self.threads
            spent = timed(functools.partial(_all, write, work, threads)) if work else 0.0
            rows = sum(piece.rows for one in found for piece in one.values())
            each.append(spent / rows if rows else 0.0)
            for one in found:
                for name, piece in one.items():
                    pieces[name].append(piece)
        alone, total = each[0] or each[1], sum(one.rows for mine in pieces.values() for one in mine)
        costs = replace(costs, write_cpu=(time.process_time() - at) / max(1, total))
        serial = serial_share(alone, each[1], self.threads) if all(each) else 0.0
        return replace(costs, write=alone, write_serial=serial), pieces

    def _dealt(self, slices: list[tuple[Rows, Path]]) -> list[list[tuple[Rows, Path]]]:
        return [slices[thread :: self.threads] for thread in range(self.threads)]

    def _shares(self) -> dict[Kept, Share]:
        """Share out this part of the caps over the anchors that were counted."""
        select, shares = self.task.select, {}
        for code, name in enumerate(KEPT):
            if name == "suspects" and not select.suspects:
                continue
            slots = self.counted.census[f"slots_{name}"]
            cap = round(self.share * select.max_triplets)
            cap = max(cap, min(_FEWEST, select.max_triplets))
            shares[name] = Share(allocate(slots, cap, seeds(select.seed, code)), 1.0)
        return shares

    def _files(self) -> ReachFiles | None:
        """Open what was listed as they were counted."""
        names = [path.stem for _, path in self.counted.slices]
        if not self.counted.slices[0][1].with_suffix(HEADS).exists():
            return None
        return ReachFiles(self.folder, names, self.counted.anchors)

    def _write(
        self,
        shares: Mapping[Kept, Share],
        files: ReachFiles | None,
        group: int,
        place: int,
        slices: list[tuple[Rows, Path]],
    ) -> dict[Kept, Piece]:
        """Write the anchors of some slices as one unit."""
        census = self.counted.census
        mine = np.zeros(len(census), dtype=np.bool_)
        for anchors, _ in slices:
            mine[anchors] = True
        own = {name: Share(share.counts * mine, share.factor) for name, share in shares.items()}
        paths = {name: self.folder / f"write-{group}-{place:03d}-{name}.bin" for name in own}
        facts = open_miner(self.task).write((0, len(census)), own, paths, census, files)
        return {name: Piece(str(paths[name]), int(facts[name]["rows"])) for name in own}
