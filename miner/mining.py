"""One unit of work, pure given its inputs: count a block of anchors, or write its triplets.

A unit is a range of anchors. A job counts all units first; then the caps are shared out over the
anchors, and the units write their triplets as records (rows, distances, weight) in a fixed order:
by anchor, positive, and rank. Which triplets are drawn hangs on the seed and the anchor's row only.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miner.candidates import AnchorView
from miner.census import BlockCounts, Census, Vectors, blocks
from miner.distance import Metric
from miner.embedding import open_store
from miner.errors import StorageError
from miner.hardness import MINED, Kept, Mined
from miner.job import SelectJob
from miner.relevance import Tally, tally
from miner.rooms import Rooms
from miner.screening.screen import Screen, Screened, open_screen
from miner.sifting.sieve import Sieve, open_sieve
from miner.storage import atomic_open, sha256_file
from miner.strategies.base import Flat
from miner.strategies.selection import Selection, load_selection
from miner.writing import BlockWriter, Records, write_anchor

__all__ = [
    "CENSUS",
    "COUNTED",
    "SELECTED",
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
        ("slots_suspects", np.int64),
        ("wanted_semi_hard", np.int64),
        ("wanted_hard", np.int64),
        ("available_semi_hard", np.int64),
        ("available_hard", np.int64),
        ("loss", np.float64),
    ]
)
"""One anchor's census: counts, what would be written of each class without a cap on it, what the
strategy wanted and what the filters left it, and the sum of the loss."""

CENSUS = ("positives", "negatives", "easy", "semi_hard", "hard")
"""The columns of `COUNTED` that the census shows."""

SELECTED = tuple(
    name for name in COUNTED.names or () if name.startswith(("slots_", "wanted_", "available_"))
)
"""Those that hang on the selection."""

_UNIT_FLOPS = 1e12


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
    """What anchors write to one folder.

    Attributes
    ----------
    counts : ndarray of shape (anchors,), int64
    factor : float
        What the cap on the whole folder puts on a weight.
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
    selection : Selection
    seed : int
    memory : int
        Bytes for a block of keys.
    screen : Screen or None
        The fast pass, where there is one.
    normalized : bool
        Whether the vectors have unit length: what a score is depends on it.
    """

    census: Census
    tally: Tally
    selection: Selection
    seed: int
    memory: int
    normalized: bool = True
    screen: Screen | None = None
    _rooms: Rooms = field(default_factory=Rooms)

    def _blocks(
        self, unit: tuple[int, int], wanted: NDArray[np.bool_], sieve: Sieve | None = None
    ) -> Iterator[BlockCounts]:
        """Count the unit's wanted anchors, a block at a time, in one buffer."""
        anchors = np.flatnonzero(wanted) + unit[0]
        rows = len(self.census.vectors.rows)
        wide = rows + (sieve.cells // 2 if sieve else 0)  # cells are half as wide as keys
        cut = list(blocks(anchors, self.tally.positives[anchors], wide, self.memory))
        with self._rooms.room(max(map(len, cut), default=0) * rows) as buffer:
            for block in cut:
                yield self.census.block(block, buffer, sieve.count if sieve else None)

    def count(self, unit: tuple[int, int]) -> NDArray[np.void]:
        """Return the census of a unit's anchors, an array of `COUNTED`."""
        mine = slice(*unit)
        result = np.zeros(unit[1] - unit[0], dtype=COUNTED)
        result["positives"] = self.tally.positives[mine]
        result["negatives"] = self.tally.negatives[mine]
        wanted = (result["positives"] > 0) & (result["negatives"] > 0)
        self._screen(unit, wanted, result)
        for block in self._blocks(unit, wanted):
            at = block.anchors - unit[0]
            for name, counts in _by_class(block).items():
                result[name][at] = np.add.reduceat(counts, block.starts[:-1])
            result["loss"][at] = block.loss
            if self.selection.needs_pairs and self.selection.by_pair:
                self._select_by_pair(block, block.starts[:-1], at, result)
            elif self.selection.needs_pairs:
                for view in self._views(block):
                    self._select(view, result[view.number - unit[0] :][:1])
        valid = result["positives"] * result["negatives"]
        result["easy"] = valid - result["semi_hard"] - result["hard"]
        if not self.selection.needs_pairs:
            self.select_from_totals(result)
        return result

    def _screen(
        self, unit: tuple[int, int], wanted: NDArray[np.bool_], result: NDArray[np.void]
    ) -> None:
        """Count what the fast pass is sure of; leave the others wanted.

        It finds totals: they do where the selection needs no more, or an anchor has one pair only.
        """
        if self.screen is None or (self.selection.needs_pairs and not self.selection.by_pair):
            return
        chosen = wanted & (result["positives"] == 1) if self.selection.needs_pairs else wanted
        lines = np.flatnonzero(chosen)
        found = self.screen.count(lines + unit[0], self.memory)
        for name, counts in (("semi_hard", found.within - found.hard), ("hard", found.hard)):
            result[name][lines] = counts
        result["loss"][lines] = found.loss
        if self.selection.needs_pairs:
            self._select_by_pair(found, np.arange(len(lines)), lines, result)
        wanted[lines[found.sure]] = False

    def _views(self, block: BlockCounts) -> Iterator[AnchorView]:
        for line in range(len(block.anchors)):
            yield AnchorView(self.census, block, line, self.normalized, self.seed)

    def _select(self, view: AnchorView, counted: NDArray[np.void]) -> None:
        """Say what the selection makes of an anchor, in its line of `COUNTED`, shape (1,)."""
        admitted = self.selection.admit(view)
        for name in MINED:
            strategy, caps = self.selection.rule(name)
            take = strategy.take(admitted, name)
            counted[f"slots_{name}"] = caps.slots(take.counts)
            counted[f"wanted_{name}"] = take.wanted
            counted[f"available_{name}"] = admitted.span(name)[1].sum()
        if self.selection.suspects:
            counted["slots_suspects"] = admitted.suspects.sum()

    def _select_by_pair(
        self, counts: BlockCounts | Screened, starts: Rows, at: Rows, result: NDArray[np.void]
    ) -> None:
        """Say the same of many anchors, where the counts of their pairs tell it."""
        pairs = Flat(counts.hard, counts.within)
        for name in MINED if len(at) else ():
            found = self.selection.of_pairs(name, pairs, starts)
            for column, values in zip(("slots", "wanted", "available"), found, strict=True):
                result[f"{column}_{name}"][at] = values

    def select_from_totals(self, counted: NDArray[np.void]) -> None:
        """Say what the selection makes of anchors whose totals of each class tell it."""
        for name in MINED:
            slots, available = self.selection.of_totals(name, counted[name])
            counted[f"slots_{name}"] = slots
            counted[f"wanted_{name}"] = counted[f"available_{name}"] = available

    def write(
        self,
        unit: tuple[int, int],
        shares: Mapping[Kept, Share],
        paths: Mapping[Kept, Path],
    ) -> dict[str, dict[str, Any]]:
        """Write a unit's triplets, one file of `TRIPLET` records a folder.

        Parameters
        ----------
        unit : tuple of int
        shares : mapping
            Per folder, that of the unit's anchors.
        paths : mapping
            Per folder, the file to write.

        Returns
        -------
        dict
            Per folder, ``rows`` and ``sha256`` of the file.
        """
        wanted = np.zeros(unit[1] - unit[0], dtype=np.bool_)
        for share in shares.values():
            wanted |= share.counts > 0
        with contextlib.ExitStack() as stack:
            files = {
                name: Records(stack.enter_context(atomic_open(path)))
                for name, path in paths.items()
            }
            sieve = open_sieve(len(self.census.vectors.rows))
            for block in self._blocks(unit, wanted, sieve):
                writer = BlockWriter(files, self.census, block, sieve)
                for view in self._views(block):
                    admitted = self.selection.admit(view)
                    for name, share in shares.items():
                        count, factor = int(share.counts[view.number - unit[0]]), share.factor
                        if count:
                            rule = (name, self.selection, count, factor)
                            write_anchor(writer, view, admitted, *rule)
                writer.flush()
            facts = {name: file.facts() for name, file in files.items()}
        return {str(name): fact for name, fact in facts.items()}


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
    normalized : bool
        Whether the stored vectors have unit length.
    """

    store: str
    metric: Metric
    margin: float
    select: SelectJob
    memory: int
    keep: int
    loss: bool = True
    normalized: bool = True


@functools.lru_cache(maxsize=1)
def open_miner(task: Task) -> Miner:
    """Open a task's store and prepare its pass; done once a process."""
    store = open_store(Path(task.store))
    if store is None:
        raise StorageError(f"{task.store} is gone; run the same command again")
    rows = store.vectors(store.row_side)
    vectors = Vectors(rows if store.row_side == 0 else store.vectors(0), rows)
    relevance = store.relevance()
    # Rows in float32 are worth more than those in float64, which few blocks of keys need.
    narrow = rows.nbytes if rows.nbytes <= task.keep else 0
    census = Census(vectors, relevance, task.metric, task.margin, keep_bytes=task.keep - narrow)
    screen = open_screen(census, loss=task.loss, keep_bytes=narrow)
    selection = load_selection(task.select)
    seed, memory = task.select.seed, task.memory
    return Miner(census, tally(relevance), selection, seed, memory, task.normalized, screen)


def count_unit(task: Task, path: Path, unit: tuple[int, int]) -> str:
    """Count a unit, leave its census in a file; return the file's checksum."""
    counted = open_miner(task).count(unit)
    with atomic_open(path) as file:
        np.save(file, counted)
    return sha256_file(path)


def write_unit(
    task: Task, unit: tuple[int, int], shares: Mapping[Kept, Share], paths: Mapping[Kept, Path]
) -> dict[str, dict[str, Any]]:
    """Write a unit's triplets; see `Miner.write`."""
    return open_miner(task).write(unit, shares, paths)


def _by_class(block: BlockCounts) -> dict[Mined, Rows]:
    return {"semi_hard": block.within - block.hard, "hard": block.hard}
