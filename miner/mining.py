"""One unit of work, pure given its inputs: count a block of anchors, or write its triplets.

A unit is a range of anchors. A job counts all units first; then the caps are shared out over the
anchors, and the units write their triplets as records (rows, distances, weight) in a fixed order:
by anchor, positive, and rank. Which triplets are drawn hangs on the seed and the anchor's row only.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from miner.census import BlockCounts, Census, Vectors, blocks
from miner.distance import Metric
from miner.embedding import open_store
from miner.errors import StorageError
from miner.hardness import MINED, Mined
from miner.job import SelectJob
from miner.ranking import Ranking
from miner.relevance import Tally, tally
from miner.rooms import Rooms
from miner.screening.screen import Screen, open_screen
from miner.storage import atomic_open, sha256_file
from miner.strategies.base import Picks, Strategy, load_strategy, seeds

__all__ = [
    "COUNTED",
    "Miner",
    "Share",
    "Task",
    "count_unit",
    "cut_units",
    "open_miner",
    "write_unit",
]

Rows = NDArray[np.int64]


COUNTED = np.dtype(
    [
        ("positives", np.int64),
        ("negatives", np.int64),
        ("easy", np.int64),
        ("semi_hard", np.int64),
        ("hard", np.int64),
        ("slots_semi_hard", np.int64),
        ("slots_hard", np.int64),
        ("loss", np.float64),
    ]
)
"""One anchor's census: counts, what the strategy would write of each class, sum of the loss."""

_UNIT_FLOPS = 1e12
_CHUNK = 1 << 18


def cut_units(anchors: int, rows: int, dim: int) -> list[tuple[int, int]]:
    """Cut the anchors into units of at most some 10^12 operations, about 32 or more of them.

    The cut hangs on the data only, so that a resumed run meets the same units whatever its
    workers.
    """
    by_work = int(_UNIT_FLOPS / (2 * max(1, rows) * max(1, dim)))
    size = max(16, min(-(-anchors // 32), by_work))
    return [(start, min(start + size, anchors)) for start in range(0, anchors, size)]


@dataclass(frozen=True, slots=True)
class Share:
    """What anchors write of one class.

    Attributes
    ----------
    counts : ndarray of shape (anchors,), int64
    factor : float
        What the cap on the whole class puts on a weight.
    """

    counts: Rows
    factor: float

    @property
    def total(self) -> int:
        """Triplets over all anchors."""
        return int(self.counts.sum())

    def part(self, anchors: slice) -> Share:
        """Return the share of a range of anchors."""
        return Share(self.counts[anchors], self.factor)


@dataclass(frozen=True)
class Miner:
    """Counts and writes units.

    Parameters
    ----------
    census : Census
    tally : Tally
    strategy : Strategy
    seed : int
    memory : int
        Bytes for a block of keys.
    screen : Screen or None
        The fast pass, where there is one.
    """

    census: Census
    tally: Tally
    strategy: Strategy
    seed: int
    memory: int
    screen: Screen | None = None
    _rooms: Rooms = field(default_factory=Rooms)

    def _blocks(self, unit: tuple[int, int], wanted: NDArray[np.bool_]) -> Iterator[BlockCounts]:
        """Count the unit's wanted anchors, a block at a time, in one buffer."""
        anchors = np.flatnonzero(wanted) + unit[0]
        rows = len(self.census.vectors.rows)
        cut = list(blocks(anchors, self.tally.positives[anchors], rows, self.memory))
        with self._rooms.room(max(map(len, cut), default=0) * rows) as buffer:
            for block in cut:
                yield self.census.block(block, buffer)

    def count(self, unit: tuple[int, int]) -> NDArray[np.void]:
        """Return the census of a unit's anchors, an array of `COUNTED`."""
        mine = slice(*unit)
        result = np.zeros(unit[1] - unit[0], dtype=COUNTED)
        result["positives"] = self.tally.positives[mine]
        result["negatives"] = self.tally.negatives[mine]
        wanted = (result["positives"] > 0) & (result["negatives"] > 0)
        if self.screen is not None and not self.strategy.needs_pairs:
            self._screen(unit, wanted, result)
        for block in self._blocks(unit, wanted):
            at = block.anchors - unit[0]
            for name, counts in _by_class(block).items():
                result[name][at] = np.add.reduceat(counts, block.starts[:-1])
                result[f"slots_{name}"][at] = [
                    self.strategy.slots(counts[pairs]) for pairs in _pairs(block)
                ]
            result["loss"][at] = block.loss
        valid = result["positives"] * result["negatives"]
        result["easy"] = valid - result["semi_hard"] - result["hard"]
        return result

    def _screen(
        self, unit: tuple[int, int], wanted: NDArray[np.bool_], result: NDArray[np.void]
    ) -> None:
        """Count what the fast pass is sure of; leave the others wanted."""
        assert self.screen is not None
        lines = np.flatnonzero(wanted)
        found = self.screen.count(lines + unit[0], self.memory)
        for name, counts in (("semi_hard", found.within - found.hard), ("hard", found.hard)):
            result[name][lines] = counts
            result[f"slots_{name}"][lines] = self.strategy.slots_of_totals(counts)
        result["loss"][lines] = found.loss
        wanted[lines[found.sure]] = False

    def write(
        self,
        unit: tuple[int, int],
        shares: Mapping[Mined, Share],
        paths: Mapping[Mined, Path],
    ) -> dict[str, dict[str, Any]]:
        """Write a unit's triplets, one file of `TRIPLET` records a class.

        Parameters
        ----------
        unit : tuple of int
        shares : mapping
            Per class, that of the unit's anchors.
        paths : mapping
            Per class, the file to write.

        Returns
        -------
        dict
            Per class, ``rows`` and ``sha256`` of the file.
        """
        wanted = np.zeros(unit[1] - unit[0], dtype=np.bool_)
        for share in shares.values():
            wanted |= share.counts > 0
        with contextlib.ExitStack() as stack:
            files = {
                name: _Records(stack.enter_context(atomic_open(path)))
                for name, path in paths.items()
            }
            for block in self._blocks(unit, wanted):
                for line in range(len(block.anchors)):
                    self._write_anchor(block, line, unit[0], shares, files)
            facts = {name: file.facts() for name, file in files.items()}
        return {str(name): fact for name, fact in facts.items()}

    def _write_anchor(
        self,
        block: BlockCounts,
        line: int,
        first: int,
        shares: Mapping[Mined, Share],
        files: Mapping[Mined, _Records],
    ) -> None:
        anchor = int(block.anchors[line])
        pairs = slice(block.starts[line], block.starts[line + 1])
        ranking = Ranking(self.census, block, line)
        for code, name in enumerate(MINED):
            take = int(shares[name].counts[anchor - first])
            if not take:
                continue
            hard, within = block.hard[pairs], block.within[pairs]
            counts = hard if name == "hard" else within - hard
            begin = np.zeros_like(hard) if name == "hard" else hard
            rng = np.random.default_rng(seeds(self.seed, code, anchor))
            whole = take == counts.sum()
            picks = _whole(counts) if whole else _cut(self.strategy.choose(counts, take, rng))
            for part in picks:
                weights = part.weight * shares[name].factor
                files[name].append(
                    ranking.triplets(part.pair, begin[part.pair] + part.rank, weights)
                )


@dataclass(frozen=True, slots=True)
class Task:
    """All that a worker needs to know to do units of a job: a few hundred bytes.

    Attributes
    ----------
    store : str
        Folder of the embedding store.
    metric, margin, select
        As in the job.
    memory : int
        Bytes for a block of keys.
    keep : int
        Bytes up to which prepared rows are kept.
    loss : bool
        Whether the mean loss is wanted.
    """

    store: str
    metric: Metric
    margin: float
    select: SelectJob
    memory: int
    keep: int
    loss: bool = True


@functools.lru_cache(maxsize=1)
def open_miner(task: Task) -> Miner:
    """Open a task's store and prepare its pass; done once a process."""
    store = open_store(Path(task.store))
    if store is None:
        raise StorageError(f"{task.store} is gone; run the same command again")
    rows = store.vectors(store.row_side)
    vectors = Vectors(rows if store.row_side == 0 else store.vectors(0), rows)
    relevance = store.relevance()
    census = Census(vectors, relevance, task.metric, task.margin, keep_bytes=task.keep)
    screen = open_screen(census, loss=task.loss, keep_bytes=task.keep)
    strategy = load_strategy(task.select)
    return Miner(census, tally(relevance), strategy, task.select.seed, task.memory, screen)


def count_unit(task: Task, path: Path, unit: tuple[int, int]) -> str:
    """Count a unit, leave its census in a file; return the file's checksum."""
    counted = open_miner(task).count(unit)
    with atomic_open(path) as file:
        np.save(file, counted)
    return sha256_file(path)


def write_unit(
    task: Task, unit: tuple[int, int], shares: Mapping[Mined, Share], paths: Mapping[Mined, Path]
) -> dict[str, dict[str, Any]]:
    """Write a unit's triplets; see `Miner.write`."""
    return open_miner(task).write(unit, shares, paths)


def _by_class(block: BlockCounts) -> dict[Mined, Rows]:
    return {"semi_hard": block.within - block.hard, "hard": block.hard}


def _pairs(block: BlockCounts) -> Iterator[slice]:
    for line in range(len(block.anchors)):
        yield slice(block.starts[line], block.starts[line + 1])


def _whole(counts: Rows) -> Iterator[Picks]:
    """Pick every triplet of an anchor, some pairs at a time: they may be too many to hold."""
    ends = np.cumsum(counts)
    first = 0
    while first < len(counts):
        last = int(np.searchsorted(ends, ends[first] - counts[first] + _CHUNK, side="right"))
        last = max(last, first + 1)
        mine = counts[first:last]
        pair = np.repeat(np.arange(first, last), mine)
        rank = np.arange(len(pair)) - np.repeat(np.cumsum(mine) - mine, mine)
        yield Picks(pair, rank, np.ones(len(pair)))
        first = last


def _cut(picks: Picks) -> Iterator[Picks]:
    """Cut picks into parts of a bounded size."""
    for start in range(0, len(picks.pair), _CHUNK):
        part = slice(start, start + _CHUNK)
        yield Picks(picks.pair[part], picks.rank[part], picks.weight[part])


class _Records:
    """A file of records, with its checksum taken on the way."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._sum = hashlib.sha256()
        self._rows = 0

    def append(self, records: NDArray[np.void]) -> None:
        data = records.tobytes()
        self._file.write(data)
        self._sum.update(data)
        self._rows += len(records)

    def facts(self) -> dict[str, Any]:
        return {"rows": self._rows, "sha256": self._sum.hexdigest()}
