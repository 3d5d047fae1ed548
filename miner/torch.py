"""A finished run for PyTorch: a data set of its triplets, and triplets of a batch.

Importing this module imports torch; nothing else of the package does.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.utils.data
from numpy.typing import NDArray

from miner.embedding.store import Store
from miner.errors import UsageError, did_you_mean
from miner.runs.run import Run, open_run
from miner.training.batch_triplets import BatchTriplets, places_of
from miner.training.encoded_triplets import (
    ROLES,
    EncodedTriplets,
    FlatValues,
    encode_triplets,
    shard_columns,
)
from miner.training.stored_rows import StoredVectors, rows_of, store_of

__all__ = ["TripletDataset", "TripletIndex", "distinct_items"]

_GIVES = ("texts", "ids", "rows", "vectors")
_FLOATS = ("d_ap", "d_an", "weight")
_COLUMNS = (*_FLOATS, "difficulty")

Take = Callable[[NDArray[np.int32]], Sequence[Any]]


class TripletDataset(torch.utils.data.Dataset):
    """The triplets that a run wrote, as a map-style data set.

    Item n is row n of the shards, hard triplets before semi-hard ones. Samplers and loaders of
    torch and torchdata decide on the order, the ranks, the workers and where to resume.

    Parameters
    ----------
    run : Run, str or Path
        A finished run, its path or its URL. One in object storage is copied to this machine first.
    difficulty : str
        ``hard``, ``semi_hard`` or ``both``.
    give : str, optional
        What an item holds under `anchor`, `positive` and `negative`: ``texts``, ``ids``, ``rows``
        (numbers in the embedding store: the order of the data set, without the rows that it
        skipped) or ``vectors`` (of the store, float32 arrays). Default: texts where the run has
        them, else ids.
    columns : sequence of str
        More of the row: `d_ap`, `d_an`, `weight`, `difficulty`.

    Raises
    ------
    UsageError
        When a name makes no sense, or the run wrote no such triplets.
    StorageError
        When a shard, or the embedding store where rows or vectors are asked for, is not there.

    Notes
    -----
    Memory holds 12 bytes a triplet, 4 more for each number in `columns`, and each text or id once.
    The workers of a ``DataLoader`` share it, forked or spawned. Vectors stay in their file, which
    is memory-mapped.

    Examples
    --------
    >>> from torch.utils.data import DataLoader                             # doctest: +SKIP
    >>> triplets = TripletDataset("mined/latest", "both")                   # doctest: +SKIP
    >>> loader = DataLoader(triplets, batch_size=64, shuffle=True)          # doctest: +SKIP
    >>> for batch in loader:                                                # doctest: +SKIP
    ...     anchors, positives = batch["anchor"], batch["positive"]         # 64 texts each
    """

    def __init__(
        self,
        run: Run | str | Path,
        difficulty: str = "hard",
        *,
        give: str | None = None,
        columns: Sequence[str] = (),
    ) -> None:
        opened = run if isinstance(run, Run) else open_run(run)
        self._columns = _known(columns)
        give = _checked_give(give, shard_columns(opened, difficulty))
        store = store_of(opened) if give in ("rows", "vectors") else None
        names = ROLES if give == "texts" else [f"{role}_id" for role in ROLES]
        floats = [name for name in _FLOATS if name in self._columns]
        triplets = encode_triplets(opened, difficulty, names, floats)
        numbers = triplets.numbers if store is None else _stored_rows(store, triplets)
        self._sides = _sides(triplets, store, vectors=give == "vectors")
        # Tensors, because spawned workers get those as shared memory.
        self._numbers = torch.from_numpy(numbers)
        self._floats = {name: torch.from_numpy(one) for name, one in triplets.columns.items()}
        self._classes = list(triplets.rows)
        self._ends = np.cumsum(list(triplets.rows.values()))

    def __len__(self) -> int:
        """Return how many triplets the run wrote of the class."""
        return len(self._numbers)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return a triplet; an ``IndexError`` when there are not so many."""
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Iterable[int]) -> list[dict[str, Any]]:
        """Return some triplets; a ``DataLoader`` asks for a batch at once."""
        at = np.array([operator.index(index) for index in indices], dtype=np.int64)
        items = [
            {"anchor": anchor, "positive": positive, "negative": negative}
            for anchor, positive, negative in zip(*self._shown(at), strict=True)
        ]
        for name in self._columns:
            column = self._difficulties(at) if name == "difficulty" else self._column(name, at)
            for item, value in zip(items, column, strict=True):
                item[name] = value
        return items

    def _shown(self, at: NDArray[np.int64]) -> Iterator[Sequence[Any]]:
        """Yield what triplets hold, role by role; roles of one kind of item are read at once."""
        numbers = np.take(self._numbers.numpy(), at, axis=0)
        for roles, take in self._sides:
            own = numbers[:, roles]
            taken, count = take(own.ravel()), own.shape[1]
            yield from (taken[role::count] for role in range(count))

    def _column(self, name: str, at: NDArray[np.int64]) -> list[float]:
        column: list[float] = self._floats[name].numpy()[at].tolist()
        return column

    def _difficulties(self, at: NDArray[np.int64]) -> list[str]:
        classes = np.searchsorted(self._ends, at % len(self), side="right")
        return [self._classes[number] for number in classes]


class TripletIndex:
    """A run's triplets by id, to find those that lie inside a batch.

    Parameters
    ----------
    run : Run, str or Path
    difficulty : str
        ``hard``, ``semi_hard`` or ``both``.

    Notes
    -----
    Holds 8 bytes a triplet (some 40 while it is made) and each id once.

    Examples
    --------
    >>> index = TripletIndex("mined/latest", "both")                  # doctest: +SKIP
    >>> loss = TripletMarginLoss()(embeddings, labels, index(ids))    # doctest: +SKIP
    """

    def __init__(self, run: Run | str | Path, difficulty: str = "hard") -> None:
        opened = run if isinstance(run, Run) else open_run(run)
        self._triplets = BatchTriplets(opened, difficulty)

    def __len__(self) -> int:
        """Return how many triplets the run wrote of the class."""
        return len(self._triplets)

    def __call__(self, ids: Any, ref_ids: Any = None) -> tuple[Any, Any, Any]:
        """Return an `indices_tuple` of pytorch-metric-learning: anchors, positives, negatives.

        Parameters
        ----------
        ids : sequence or tensor
            The id of each embedding; those of the whole data set give all triplets of the run.
        ref_ids : sequence or tensor, optional
            The id of each of `ref_emb`, where positives and negatives are looked up there. Runs of
            queries and a corpus need it.

        Returns
        -------
        tuple of LongTensor
            Places in `ids`, in `ids` or `ref_ids`, and there again; empty when no triplet lies
            inside.
        """
        others = None if ref_ids is None else _listed(ref_ids)
        found = self._triplets.inside(_listed(ids), others)
        anchors, positives, negatives = map(torch.from_numpy, found)
        return anchors, positives, negatives


def distinct_items(batch: Mapping[str, Any]) -> tuple[list[Any], tuple[Any, Any, Any]]:
    """Return each item of a batch of triplets once, and the batch as an `indices_tuple` of them.

    Parameters
    ----------
    batch : mapping
        `anchor`, `positive` and `negative`: texts, ids or row numbers of one kind of item.

    Examples
    --------
    >>> texts, triplets = distinct_items(batch)                                # doctest: +SKIP
    >>> loss = TripletMarginLoss()(model(texts), indices_tuple=triplets)       # doctest: +SKIP
    """
    items, places = places_of([_listed(batch[role]) for role in ROLES])
    anchors, positives, negatives = map(torch.from_numpy, places)
    return items, (anchors, positives, negatives)


def _listed(values: Any) -> list[Any]:
    return list(values.tolist() if hasattr(values, "tolist") else values)


def _stored_rows(store: Store, triplets: EncodedTriplets) -> NDArray[np.int32]:
    """Return the row of the store that each triplet has in each role."""
    anchors, documents = triplets.values
    first = rows_of(store, 0, anchors)
    rest = first if documents is anchors else rows_of(store, 1, documents)
    sides = zip((first, rest, rest), triplets.numbers.T, strict=True)
    return np.stack([rows[numbers] for rows, numbers in sides], axis=1)


def _sides(
    triplets: EncodedTriplets, store: Store | None, *, vectors: bool
) -> list[tuple[slice, Take]]:
    """Return what turns numbers into what items hold, and for which roles it does so."""
    anchors, documents = triplets.values
    if anchors is documents:
        return [(slice(0, 3), _take_from(documents, store, 0, vectors=vectors))]
    return [
        (slice(0, 1), _take_from(anchors, store, 0, vectors=vectors)),
        (slice(1, 3), _take_from(documents, store, 1, vectors=vectors)),
    ]


def _take_from(values: Any, store: Store | None, side: int, *, vectors: bool) -> Take:
    if store is None:
        return FlatValues(values, torch.from_numpy).take
    return StoredVectors(store, side).take if vectors else _as_list


def _as_list(rows: NDArray[np.int32]) -> list[int]:
    listed: list[int] = rows.tolist()
    return listed


def _known(columns: Sequence[str]) -> tuple[str, ...]:
    for name in columns:
        if name not in _COLUMNS:
            raise UsageError(f"columns: {name!r}: {did_you_mean(name, _COLUMNS)}")
    return tuple(columns)


def _checked_give(give: str | None, stored: Sequence[str]) -> str:
    """Return what items hold: texts where the shards have them, else ids, unless it is said."""
    if give is None:
        return "texts" if "anchor" in stored else "ids"
    if give not in _GIVES:
        raise UsageError(f"give = {give!r}: {did_you_mean(give, _GIVES)}")
    if give == "texts" and "anchor" not in stored:
        raise UsageError('give = "texts": the shards of this run hold no texts; use "ids"')
    return give
