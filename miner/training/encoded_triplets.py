"""A run's triplets in memory: three integers per triplet, and each distinct value once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from miner.errors import UsageError, did_you_mean
from miner.formatting import counted
from miner.runs.run import Run
from miner.runs.shards import parquet_errors
from miner.triplets.hardness import MINED_CLASSES, class_name

__all__ = [
    "ROLES",
    "EncodedTriplets",
    "FlatValues",
    "classes_of",
    "encode_triplets",
    "written_classes",
]

ROLES = ("anchor", "positive", "negative")
_WAITING_FACTOR = 4
"""Parts wait until they have this many times as many values as are numbered already."""

Numbers = NDArray[np.int32]


def classes_of(difficulty: str) -> tuple[str, ...]:
    """Return the classes of a difficulty: ``hard``, ``semi_hard`` or ``both``."""
    named: dict[str, tuple[str, ...]] = {name: (name,) for name in MINED_CLASSES}
    named["both"] = tuple(reversed(MINED_CLASSES))
    difficulty = class_name(difficulty)
    if difficulty not in named:
        raise UsageError(f"no difficulty {difficulty!r}: {did_you_mean(difficulty, named)}")
    return named[difficulty]


def written_classes(run: Run, difficulty: str | None) -> tuple[str, ...]:
    """Return the classes that a difficulty names, or of None all that the run wrote rows of.

    Raises
    ------
    UsageError
        When the run wrote no row of these classes.
    """
    rows = {name: run.manifest["written"][name]["rows"] for name in reversed(MINED_CLASSES)}
    full = tuple(name for name in rows if rows[name])
    named = full if difficulty is None else classes_of(difficulty)
    if set(named) & set(full):
        return named
    if not full:
        raise UsageError(
            f"{run.where} has no triplets: every one is easy, or left out by its [select] (see "
            "mine show); mine again with another"
        )
    raise UsageError(
        f"{run.where} has no {difficulty} triplets; it has {counted(rows[full[0]], 'row')} of "
        f"another class: --difficulty {full[0]}"
    )


@dataclass(frozen=True, slots=True)
class EncodedTriplets:
    """Triplets in the order of the run's shards, hard ones before semi-hard ones.

    Attributes
    ----------
    numbers : ndarray of shape (triplets, 3), int32
        Indices into `values` of each triplet's anchor, positive and negative.
    values : list of one or two pyarrow.Array
        The distinct values: one array for labelled items; for queries with documents one array for
        the queries (the anchors) and one for the documents.
    columns : dict of str to ndarray of shape (triplets,), float32
        Further columns of the shards.
    rows : dict of str to int
        Number of triplets of each class.
    """

    numbers: Numbers
    values: list[Any]
    columns: dict[str, NDArray[np.float32]]
    rows: dict[str, int]


def encode_triplets(
    run: Run, difficulty: str, names: Sequence[str], more: Sequence[str] = ()
) -> EncodedTriplets:
    """Read the triplets of a run.

    The files of a run in object storage are copied to this machine first, and their checksums are
    compared with the manifest.

    Parameters
    ----------
    run : Run
    difficulty : str
        ``hard``, ``semi_hard`` or ``both``.
    names : sequence of three str
        The columns of the anchors, positives and negatives.
    more : sequence of str
        Further columns to read, of type float32.

    Raises
    ------
    UsageError
        When the run wrote no triplet of the class.
    StorageError
        When a shard is missing, or is not the one of the manifest's checksum.
    """
    labelled = run.manifest["dataset"]["kind"] == "labelled"
    sides = [_Numbering() for _ in range(1 if labelled else 2)]
    roles = [sides[0], sides[-1], sides[-1]]
    numbers: list[list[Numbers]] = [[], [], []]
    columns: dict[str, list[NDArray[np.float32]]] = {name: [] for name in more}
    rows = dict.fromkeys(written_classes(run, difficulty), 0)
    with run.held():
        for name in rows:
            for table in _row_groups(run.part_paths(name), names, more):
                rows[name] += len(table)
                for side, found, column in zip(roles, numbers, names, strict=True):
                    for part in table[column].chunks:
                        side.add(part, found)
                for column, parts in columns.items():
                    parts.append(table[column].to_numpy())
    for side in sides:
        side.settle()
    return EncodedTriplets(
        np.stack([np.concatenate(found) for found in numbers], axis=1),
        [side.values for side in sides],
        {column: np.concatenate(parts) for column, parts in columns.items()},
        rows,
    )


def _row_groups(paths: Sequence[str], names: Sequence[str], more: Sequence[str]) -> Iterator[Any]:
    """Read files one row group at a time; dictionary-encoded strings stay encoded."""
    for path in paths:
        with parquet_errors(Path(path)), pq.ParquetFile(path, read_dictionary=[*names]) as file:
            for group in range(file.num_row_groups):
                yield file.read_row_group(group, columns=[*names, *more], use_threads=False)


class _Numbering:
    """Numbers the distinct values of columns that arrive in parts, in order of appearance.

    Parts wait until they have `_WAITING_FACTOR` times as many values as are numbered already. This
    bounds the memory of waiting parts, and the numbered values are hashed only a few times.

    Attributes
    ----------
    values : pyarrow.Array
        The distinct values so far. Strings have the type large_string, which is not limited to
        2 GiB.
    """

    def __init__(self) -> None:
        self.values: Any = None
        self._waiting: list[tuple[Any, list[Numbers]]] = []
        self._held = 0

    def add(self, part: Any, numbers: list[Numbers]) -> None:
        """Add a part; the array of its numbers is appended to `numbers`, now or by `settle`."""
        encoded = part.dictionary_encode()
        if self.values is None:
            kind = encoded.type.value_type
            self.values = pa.array([], pa.large_string() if pa.types.is_string(kind) else kind)
        values = encoded.dictionary.cast(self.values.type)
        encoded = pa.DictionaryArray.from_arrays(encoded.indices, values)
        self._waiting.append((encoded, numbers))
        self._held += len(values)
        if self._held > _WAITING_FACTOR * len(self.values):
            self.settle()

    def settle(self) -> None:
        """Number the values of all waiting parts."""
        known = pa.DictionaryArray.from_arrays(pa.array([], pa.int32()), self.values)
        parts = [known, *(part for part, _ in self._waiting)]
        first, *unified = pa.chunked_array(parts).unify_dictionaries().chunks
        for part, (_, numbers) in zip(unified, self._waiting, strict=True):
            numbers.append(part.indices.to_numpy())
        self.values = first.dictionary
        self._waiting, self._held = [], 0


class FlatValues:
    """A copy of an Arrow array without nulls, in memory that processes can share.

    Parameters
    ----------
    values : pyarrow.Array
    make : callable
        Converts an array of bytes to an object that NumPy can read without a copy. Pickling this
        object may move the bytes, as it does for a tensor.
    """

    def __init__(self, values: Any, make: Callable[[NDArray[np.uint8]], Any]) -> None:
        parts = [np.array(np.frombuffer(part, dtype=np.uint8)) for part in values.buffers()[1:]]
        self._memory = [make(part) for part in parts]
        self._kind, self._count = values.type, len(values)
        self._array: Any = None

    def __getstate__(self) -> dict[str, Any]:
        """Drop the array in this process too, because pickling may move the memory under it."""
        self._array = None
        return dict(self.__dict__)

    def take(self, numbers: Numbers) -> list[Any]:
        """Return the values at some indices as Python objects."""
        if self._array is None:
            buffers = [None, *(pa.py_buffer(np.asarray(part)) for part in self._memory)]
            self._array = pa.Array.from_buffers(self._kind, self._count, buffers)
        taken: list[Any] = self._array.take(pa.array(numbers)).to_pylist()
        return taken
