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

from miner.census.candidate_lists import ENTRIES, HEADS, ReachFiles
from miner.census.column_sums import add_up_hubs
from miner.job_sections import SelectJob
from miner.pipeline.seal import Piece
from miner.pipeline.units.layout import COUNTED, Share
from miner.pipeline.units.task import Task, count_anchors, count_unit, open_miner
from miner.planning.costs import Costs
from miner.planning.estimate import serial_share
from miner.selection.caps import allocate
from miner.selection.strategies.base import seeds
from miner.storage.arrays import load_array
from miner.triplets.hardness import KEPT, Kept
from miner.triplets.types import Rows

__all__ = ["Counted", "Counting", "Writing", "rehearse_audit", "timed"]

Cut = tuple[int, int]
Slice = tuple[Rows, Path]
"""The anchors of a slice, and the file of their census."""

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
    slices: list[Slice]
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
        begin, few, spent_few = self._begin()
        size = min(self.unit, _SLICE)
        each = spent_few / few
        alone, others = self._chosen(size, each)
        at = time.process_time()
        first, busy = self._sliced(alone, 1)
        count, total = first / busy, busy
        fixed = 0.0
        if self.unit > size > 2 * few:  # else a slice is a unit
            slope = (first / len(alone) - spent_few) / (size - few)
            fixed = size * (count - max(slope, count / 2))
        costs = replace(
            costs, begin=begin, count=count - fixed / size, count_unit=fixed, sliced=size
        )
        if others:
            spent, busy = self._sliced(others, self.threads)
            share = serial_share(count, spent / busy, self.threads)
            costs, total = replace(costs, count_serial=share), total + busy
        cpu = (time.process_time() - at) / total * costs.count / count
        costs = replace(costs, count_cpu=cpu)
        slices = [(self._anchors(cut), self._file(cut)) for cut in alone + others]
        census = np.zeros(len(open_miner(self.task).tally.positives), dtype=COUNTED)
        for anchors, path in slices:
            census[anchors] = load_array(path)
        return Counted(self._left(costs, slices), slices, census)

    def _begin(self) -> tuple[float, int, float]:
        """Return the seconds of opening the pass; of counting a few anchors, and how many."""
        opening = timed(lambda: open_miner(self.task))
        few = min(_FEW, len(open_miner(self.task).tally.positives))
        target = self.folder / "first.npy"
        first, second, third = (
            timed(lambda: count_unit(self.task, target, (0, few))) for _ in range(3)
        )
        least = min(second, third)
        return opening + min(_MOST_BEGIN, max(0.0, first - least)), few, least

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

    def _left(self, costs: Costs, slices: list[Slice]) -> Costs:
        """Say what slices leave in files, and how long it takes to add up hubs."""
        files = [
            (path.stat().st_size, path.name.removeprefix(census.stem))
            for _, census in slices
            for path in self.folder.glob(f"{census.stem}.*")
        ]
        anchors = sum(len(anchors) for anchors, _ in slices)
        listed = sum(size for size, end in files if end == ENTRIES)
        record = sum(size for size, end in files if end not in (ENTRIES, ".hubs.npy")) / anchors
        costs = replace(costs, record=record, listed=listed / anchors)
        paths = [census.with_suffix(".hubs.npy") for _, census in slices]
        if not paths[0].exists():
            return costs
        units = [load_array(path) for path in paths]
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
        shares, slices, files = self._shares(), self.counted.slices, self._files()
        nothing = {name: Share(share.counts * 0, 1.0) for name, share in shares.items()}
        empty = functools.partial(self._write, nothing, files, "empty", 0, slices[:1])
        unit = min(timed(empty) for _ in range(2))
        cut = len(slices) if self.threads == 1 else max(1, len(slices) // (1 + self.threads))
        call = functools.partial(self._write, shares, files)
        at = time.process_time()
        found: list[dict[Kept, Piece]] = []
        alone = self._group(functools.partial(call, "alone"), [slices[:cut]], unit, found)
        dealt = [slices[cut + thread :: self.threads] for thread in range(self.threads)]
        together = self._group(functools.partial(call, "together"), dealt, unit, found)
        pieces = {name: [one[name] for one in found] for name in shares}
        rows = sum(piece.rows for mine in pieces.values() for piece in mine)
        cpu = (time.process_time() - at) / max(1, rows)
        both = alone > 0 and together > 0
        serial = serial_share(alone, together, self.threads) if both else 0.0
        written = alone or together
        costs = replace(costs, write=written, write_unit=unit, write_cpu=cpu, write_serial=serial)
        return costs, pieces

    def _group(
        self,
        call: Callable[[int, list[Slice]], dict[Kept, Piece]],
        parts: list[list[Slice]],
        unit: float,
        found: list[dict[Kept, Piece]],
    ) -> float:
        """Write parts, each in a thread; return the seconds of a triplet, a unit's own apart."""
        mine: list[dict[Kept, Piece]] = []

        def write(numbered: tuple[int, list[Slice]]) -> None:
            mine.append(call(*numbered))

        work = [(place, part) for place, part in enumerate(parts) if part]
        if not work:
            return 0.0
        spent = timed(functools.partial(_all, write, work, len(work)))
        found += mine
        rows = sum(piece.rows for one in mine for piece in one.values())
        return max(spent - unit, spent / 10) / rows if rows else 0.0

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
        group: str,
        place: int,
        slices: list[Slice],
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
