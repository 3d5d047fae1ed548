"""PyTorch access to a finished run: a data set of its triplets, and the triplets inside a batch.

This module imports torch.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.utils.data
from numpy.typing import NDArray

from miner.errors import UsageError, did_you_mean
from miner.runs.opening import open_run
from miner.runs.run import Run
from miner.runs.shards import SCORES
from miner.training.batch_triplets import BatchTriplets
from miner.training.encoded_triplets import ROLES, FlatValues, encode_triplets
from miner.training.exports.triplets import shows_text
from miner.training.stored_rows import StoredRows, rows_of, store_of

__all__ = ["TripletDataset", "TripletIndex", "distinct_items"]

_GIVES = ("texts", "ids", "rows", "vectors")
_FLOATS = ("d_ap", "d_an", "weight", *SCORES)
_COLUMNS = (*_FLOATS, "difficulty")

Take = Callable[[NDArray[np.int32]], Sequence[Any]]


class TripletDataset(torch.utils.data.Dataset):
    """The triplets that a run wrote, as a map-style data set.

    Item n is row n of the shards, hard triplets before semi-hard ones. Shuffling, distributed
    ranks, workers and resuming are left to the samplers and loaders of torch and torchdata.

    Parameters
    ----------
    run : Run, str or Path
        A finished run, its path or its URL. A run in object storage is copied to this machine
        first.
    difficulty : str
        ``hard``, ``semi_hard`` or ``both``.
    give : str, optional
        What an item holds under `anchor`, `positive` and `negative`: ``texts``, ``ids``, ``rows``
        (row numbers in the embedding store, which has the order of the data set without skipped
        rows) or ``vectors`` (float32 arrays from the store). Default: texts if the run has them,
        else ids.
    columns : sequence of str
        Further keys of an item: `d_ap`, `d_an`, `weight`, `difficulty`, and with a teacher
        `teacher_ap` and `teacher_an`.

    Raises
    ------
    UsageError
        When an argument has an unknown value, or the run wrote no such triplets.
    StorageError
        When a shard is missing or does not have the checksum of the manifest (each shard is read
        once for that, about one second per GB), or ``rows`` or ``vectors`` need an embedding store
        that is not on this machine.

    Notes
    -----
    The data set takes 12 bytes of memory per triplet, 4 more for each number in `columns`, and
    holds each text or id once. The workers of a ``DataLoader`` share this memory, whether they are
    forked or spawned. Vectors stay in their memory-mapped file.

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
        self._columns = [_checked("columns", name, _COLUMNS) for name in columns]
        give = _given(give, has_texts=shows_text(opened))
        names = ROLES if give == "texts" else [f"{role}_id" for role in ROLES]
        floats = [name for name in _FLOATS if name in self._columns]
        if not {*floats} & {*SCORES} <= {*opened.schema().names}:
            raise UsageError(f"run {opened.run_id} has no scores of a teacher; mine with [teacher]")
        triplets = encode_triplets(opened, difficulty, names, floats)
        takes = [_take(opened, give, side, ids) for side, ids in enumerate(triplets.values)]
        self._anchors, self._documents = takes[0], takes[-1]
        # Tensors, because spawned workers receive them as shared memory.
        self._numbers = torch.from_numpy(triplets.numbers)
        self._floats = {name: torch.from_numpy(one) for name, one in triplets.columns.items()}
        self._classes = list(triplets.rows)
        self._ends = np.cumsum(list(triplets.rows.values()))

    def __len__(self) -> int:
        """Return the number of triplets."""
        return len(self._numbers)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return a triplet; raise ``IndexError`` if the index is out of range."""
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Iterable[int]) -> list[dict[str, Any]]:
        """Return several triplets; a ``DataLoader`` calls this once per batch."""
        at = np.array([operator.index(index) for index in indices], dtype=np.int64)
        numbers = np.take(self._numbers.numpy(), at, axis=0)
        anchors, documents = self._anchors(numbers[:, 0]), self._documents(numbers[:, 1:].ravel())
        items = [
            {"anchor": anchor, "positive": positive, "negative": negative}
            for anchor, positive, negative in zip(
                anchors, documents[::2], documents[1::2], strict=True
            )
        ]
        for name in self._columns:
            for item, value in zip(items, self._column(name, at), strict=True):
                item[name] = value
        return items

    def _column(self, name: str, at: NDArray[np.int64]) -> list[Any]:
        if name == "difficulty":
            classes = np.searchsorted(self._ends, at % len(self), side="right")
            return [self._classes[number] for number in classes]
        return list(self._floats[name].numpy()[at].tolist())


class TripletIndex:
    """An index of a run's triplets by id, which finds the triplets inside a batch.

    Parameters
    ----------
    run : Run, str or Path
    difficulty : str
        ``hard``, ``semi_hard`` or ``both``.

    Notes
    -----
    The index takes 8 bytes per triplet (about 40 while it is built), and holds each id once. The
    shards are checked as those of a `TripletDataset`.

    Examples
    --------
    >>> index = TripletIndex("mined/latest", "both")                  # doctest: +SKIP
    >>> loss = TripletMarginLoss()(embeddings, labels, index(ids))    # doctest: +SKIP
    """

    def __init__(self, run: Run | str | Path, difficulty: str = "hard") -> None:
        opened = run if isinstance(run, Run) else open_run(run)
        self._triplets = BatchTriplets(opened, difficulty)

    def __len__(self) -> int:
        """Return the number of triplets."""
        return len(self._triplets)

    def __call__(self, ids: Any, ref_ids: Any = None) -> tuple[Any, Any, Any]:
        """Return the triplets inside a batch as an `indices_tuple` of pytorch-metric-learning.

        Parameters
        ----------
        ids : sequence or tensor
            The id of each embedding. The ids of the whole data set give all triplets of the run.
        ref_ids : sequence or tensor, optional
            The id of each row of `ref_emb`; positives and negatives are then looked up in
            `ref_ids`. Required for runs of queries and a corpus.

        Returns
        -------
        tuple of LongTensor
            Positions of the anchors in `ids`, and of the positives and the negatives in `ref_ids`
            if given, else in `ids`. The tensors are empty if no triplet lies inside the batch.
        """
        others = None if ref_ids is None else _listed(ref_ids)
        found = self._triplets.inside(_listed(ids), others)
        anchors, positives, negatives = map(torch.from_numpy, found)
        return anchors, positives, negatives


def distinct_items(batch: Mapping[str, Any]) -> tuple[list[Any], tuple[Any, Any, Any]]:
    """Return the distinct items of a batch of triplets, and their positions as an `indices_tuple`.

    Parameters
    ----------
    batch : mapping
        `anchor`, `positive` and `negative`: texts, ids or row numbers, all from the same table.

    Returns
    -------
    items : list
        The distinct items, in order of appearance.
    indices : tuple of LongTensor
        Positions in `items` of the anchors, positives and negatives.

    Examples
    --------
    >>> texts, triplets = distinct_items(batch)                                # doctest: +SKIP
    >>> loss = TripletMarginLoss()(model(texts), indices_tuple=triplets)       # doctest: +SKIP
    """
    found: dict[Any, int] = {}
    anchors, positives, negatives = (
        torch.tensor([found.setdefault(one, len(found)) for one in _listed(batch[role])])
        for role in ROLES
    )
    return list(found), (anchors, positives, negatives)


def _listed(values: Any) -> list[Any]:
    return list(values.tolist() if hasattr(values, "tolist") else values)


def _checked(key: str, name: str, known: Sequence[str]) -> str:
    if name not in known:
        raise UsageError(f"{key} = {name!r}: {did_you_mean(name, known)}")
    return name


def _given(give: str | None, *, has_texts: bool) -> str:
    """Return `give`, or its default: texts if the shards have them, else ids."""
    if give is None:
        return "texts" if has_texts else "ids"
    if give == "texts" and not has_texts:
        raise UsageError('give = "texts": the shards of this run hold no texts; use "ids"')
    return _checked("give", give, _GIVES)


def _take(run: Run, give: str, side: int, values: Any) -> Take:
    """Return a function from indices of distinct values to the values that items hold."""
    if give in ("texts", "ids"):
        return FlatValues(values, torch.from_numpy).take
    store = store_of(run)
    rows = StoredRows(store, side, torch.from_numpy(rows_of(store, side, values)))
    return rows.rows if give == "rows" else rows.vectors
