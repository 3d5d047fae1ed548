"""The order of an epoch: which rows each reader reads, and when.

An epoch is a line of all rows: the row groups, shuffled, one after the other. Each rank has an
equal stretch of the line, and each of its workers an equal stretch of that, so that a row group is
read twice only where a border cuts it. A reader goes through its stretch a window at a time and
shuffles the rows of each window. All draws are seeded by where they stand, so that any window can
be made without those before it: that is how a reader resumes in the middle.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from miner.errors import UsageError

__all__ = ["EpochOrder", "Piece", "Reader"]


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows `start` to `stop` of a row group, by its number."""

    group: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Reader:
    """One of those who share an epoch: a worker of a rank."""

    rank: int = 0
    ranks: int = 1
    worker: int = 0
    workers: int = 1

    def __post_init__(self) -> None:
        for name, number, count in (
            ("rank", self.rank, self.ranks),
            ("worker", self.worker, self.workers),
        ):
            if not 0 <= number < count:
                raise UsageError(f"{name} {number} of {count} {name}s: they count from 0")


class EpochOrder:
    """The order of one epoch.

    Parameters
    ----------
    sizes : ndarray of shape (groups,), int64
        Rows of each row group.
    seed : tuple of int
        Of all draws: the job's seed and the number of the epoch.
    shuffle : bool
        Else groups and rows stay in the order of the run.
    window : int
        Rows that are shuffled together, and held at once.
    drop_last : bool
        Whether ranks are made equal by leaving rows out at the end of the line, fewer than there
        are ranks; else its first rows are read again there.
    """

    def __init__(
        self,
        sizes: NDArray[np.int64],
        seed: tuple[int, int],
        *,
        shuffle: bool,
        window: int,
        drop_last: bool,
    ) -> None:
        groups = np.arange(len(sizes))
        if shuffle:
            groups = np.random.default_rng(seed).permutation(len(sizes))
        self._groups = groups
        self._starts = np.concatenate([[0], np.cumsum(sizes[groups])]).astype(np.int64)
        self._seed = seed
        self._shuffle = shuffle
        self._window = window
        self._drop_last = drop_last

    @property
    def rows(self) -> int:
        """How many rows the line has."""
        return int(self._starts[-1])

    def rank_rows(self, ranks: int) -> int:
        """Return how many rows each rank reads."""
        return self.rows // ranks if self._drop_last else -(-self.rows // ranks)

    def stretch(self, reader: Reader) -> tuple[int, int]:
        """Return the stretch of the line that a reader reads; beyond its end it begins again.

        Worker w has as many rows on every rank, so ranks make as many batches too.
        """
        length = self.rank_rows(reader.ranks)
        first = reader.rank * length
        cuts = [length * (reader.worker + n) // reader.workers for n in (0, 1)]
        return first + cuts[0], first + cuts[1]

    def windows(
        self, reader: Reader, done: int = 0
    ) -> Iterator[tuple[list[Piece], NDArray[np.int64]]]:
        """Yield a reader's windows: what to read, and which of those rows to give, in order.

        Parameters
        ----------
        reader : Reader
        done : int
            Rows that the reader has given already.
        """
        start, stop = self.stretch(reader)
        skipped = min(done, stop - start)
        first = start + skipped // self._window * self._window
        for low in range(first, stop, self._window):
            high = min(low + self._window, stop)
            order = np.arange(high - low)
            if self._shuffle:
                order = np.random.default_rng((*self._seed, low)).permutation(high - low)
            left = order[max(start + skipped - low, 0) :]
            if len(left):
                yield list(self._pieces(low, high)), left

    def _pieces(self, low: int, high: int) -> Iterator[Piece]:
        """Say what lies between two places of the line."""
        while low < high:
            place = low % self.rows
            number = int(np.searchsorted(self._starts, place, side="right")) - 1
            start = int(place - self._starts[number])
            size = int(self._starts[number + 1] - self._starts[number])
            stop = min(size, start + high - low)
            yield Piece(int(self._groups[number]), start, stop)
            low += stop - start
