"""The row groups of a run's shards, read one by one, and what a row gives a trainer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from miner.embedding.store import Store, open_store
from miner.errors import StorageError, UsageError, did_you_mean
from miner.runs.run import Run
from miner.runs.shards import parquet_errors
from miner.training.epoch_order import Piece
from miner.triplets.hardness import MINED

__all__ = ["EXTRA", "GIVES", "ROLES", "RowGroups", "Sides", "classes_of", "give_default"]

ROLES = ("anchor", "positive", "negative")
GIVES = ("texts", "ids", "rows", "vectors")
EXTRA = ("d_ap", "d_an", "weight", "difficulty")


def classes_of(difficulty: str) -> tuple[str, ...]:
    """Return the classes that a difficulty names: ``hard``, ``semi_hard`` or ``both``."""
    named: dict[str, tuple[str, ...]] = {name: (name,) for name in MINED}
    named["both"] = tuple(reversed(MINED))
    if difficulty not in named:
        raise UsageError(f"no difficulty {difficulty!r}: {did_you_mean(difficulty, named)}")
    return named[difficulty]


@dataclass(slots=True)
class RowGroups:
    """The row groups of some classes of a run, in its order.

    Files of a run in object storage are copied to this machine first, and held to the manifest's
    checksums. What is open is not pickled with it: each process reads for itself.

    Attributes
    ----------
    groups : list of (path, number in the file, class)
    sizes : ndarray of shape (groups,), int64
        Their rows; none is empty.
    columns : list of str
        The columns of the shards.
    """

    groups: list[tuple[str, int, str]]
    sizes: NDArray[np.int64]
    columns: list[str]
    _held: tuple[int, tuple[str, ...], Any] | None = field(default=None, repr=False)

    @classmethod
    def of(cls, run: Run, difficulty: str) -> RowGroups:
        """Look at the shards of a run.

        Raises
        ------
        UsageError
            When the run wrote no triplet of the class.
        """
        groups, sizes, columns = [], [], []
        for name in classes_of(difficulty):
            for path in run.part_paths(name):
                with parquet_errors(Path(path)), pq.ParquetFile(path) as file:
                    columns = file.schema_arrow.names
                    rows = [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)]
                groups += [(path, n, name) for n, size in enumerate(rows) if size]
                sizes += [size for size in rows if size]
        if not groups:
            known = ", ".join(
                f"{run.manifest['written'][name]['rows']:,} {name}" for name in reversed(MINED)
            )
            raise UsageError(f"{run.where} wrote no {difficulty} triplets to train on ({known})")
        return cls(groups, np.array(sizes, dtype=np.int64), columns)

    def __getstate__(self) -> tuple[list[tuple[str, int, str]], NDArray[np.int64], list[str]]:
        """Leave out what was read."""
        return self.groups, self.sizes, self.columns

    def __setstate__(
        self, state: tuple[list[tuple[str, int, str]], NDArray[np.int64], list[str]]
    ) -> None:
        """Start with nothing read."""
        self.groups, self.sizes, self.columns = state
        self._held = None

    def read(self, pieces: Sequence[Piece], columns: Sequence[str]) -> Any:
        """Read rows as one table, with a column `difficulty` where that is asked for."""
        parts = [
            self._group(piece.group, tuple(columns)).slice(piece.start, piece.stop - piece.start)
            for piece in pieces
        ]
        return pa.concat_tables(parts)

    def _group(self, number: int, columns: tuple[str, ...]) -> Any:
        """Read a row group; the last one is held, for windows cut groups."""
        if self._held is not None and self._held[:2] == (number, columns):
            return self._held[2]
        path, group, name = self.groups[number]
        stored = [column for column in columns if column != "difficulty"]
        with parquet_errors(Path(path)), pq.ParquetFile(path) as file:
            table = file.read_row_group(group, columns=stored, use_threads=False).select(stored)
        if "difficulty" in columns:
            table = table.append_column("difficulty", pa.array([name] * len(table), pa.string()))
        self._held = (number, columns, table)
        return table

    def whole(self, columns: Sequence[str]) -> Iterator[Any]:
        """Read all rows, a table a row group."""
        for number in range(len(self.groups)):
            yield self._group(number, tuple(columns))


@dataclass(frozen=True, slots=True)
class Sides:
    """Finds the rows of the embedding store that ids name; opened anew by each process."""

    folder: Path
    sides: tuple[int, int]

    @classmethod
    def of(cls, run: Run) -> Sides:
        """Find the embedding store of a run.

        Raises
        ------
        StorageError
            When it is not on this machine (any more).
        """
        folder = run.root / ".store" / str(run.manifest["store"])
        store = open_store(folder)
        if store is None:
            raise StorageError(
                f"the embedding store {folder} is not here (rows and vectors come from it); "
                "mine run --force makes it again"
            )
        return cls(folder, (0, store.row_side))

    def open(self, *, vectors: bool) -> Callable[[str, Any], Sequence[Any]]:
        """Return what turns the ids of a role into row numbers, or into vectors."""
        store = open_store(self.folder)
        if store is None:
            raise StorageError(f"{self.folder} is gone; mine run --force makes it again")
        known = {side: _ids(store, side) for side in set(self.sides)}
        stored = {side: store.vectors(side) for side in set(self.sides)} if vectors else {}

        def find(role: str, ids: Any) -> Sequence[Any]:
            side = self.sides[role != "anchor"]
            rows = pc.index_in(ids, value_set=known[side].cast(ids.type))
            if rows.null_count:
                raise StorageError(
                    f"{self.folder} does not have all ids of the run; see mine verify"
                )
            numbers = rows.to_numpy().tolist()
            return _Taken(stored[side], numbers) if vectors else numbers

        return find


def _ids(store: Store, side: int) -> Any:
    return store.ids(side).take(np.arange(store.facts["rows"][side]))


@dataclass(frozen=True, slots=True)
class _Taken(Sequence[Any]):
    """Vectors by place, each copied when it is asked for: a window of them would be large."""

    vectors: NDArray[np.float32]
    rows: list[int]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: Any) -> Any:
        return np.array(self.vectors[self.rows[place]])


def give_default(columns: Sequence[str], give: str | None) -> str:
    """Return what rows give: texts where the shards have them, else ids, unless it is said.

    Raises
    ------
    UsageError
        When the name is unknown, or there are no texts.
    """
    if give is None:
        return "texts" if "anchor" in columns else "ids"
    if give not in GIVES:
        raise UsageError(f"give = {give!r}: {did_you_mean(give, GIVES)}")
    if give == "texts" and "anchor" not in columns:
        raise UsageError('give = "texts": the shards of this run hold no texts; use "ids"')
    return give
