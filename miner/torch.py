"""A finished run for PyTorch: a data set of its triplets, and triplets of a batch.

Importing this module imports torch; nothing else of the package does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed
import torch.utils.data

from miner.errors import UsageError, did_you_mean
from miner.runs.run import Run, open_run
from miner.training.batch_triplets import BatchTriplets, places_of
from miner.training.epoch_order import EpochOrder, Reader
from miner.training.row_groups import EXTRA, ROLES, RowGroups, Sides, give_default

__all__ = ["TripletDataset", "TripletIndex", "distinct_items"]

_VERSION = 1


class TripletDataset(torch.utils.data.IterableDataset):
    """The triplets that a run wrote, in an order of their own in every epoch.

    Row groups are shuffled and split over ranks and the workers of a ``DataLoader``; each reader
    then shuffles `buffer` rows at a time. The same run, seed, epoch and numbers of ranks and
    workers give the same order.

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
    seed : int
        Of all draws, with the epoch.
    shuffle : bool
        False: the order of the run.
    buffer : int
        Rows that are shuffled together; each worker holds so many.
    rank, ranks : int, optional
        Default: those of ``torch.distributed`` where it is initialised when this is called, else
        one rank. Where others split what it gives (accelerate does), say 0 and 1.
    drop_last : bool
        Ranks get the same number of rows. False: the first rows of the epoch are given again at
        its end, fewer than there are ranks; so one rank has every row exactly once. True: as few
        are left out.

    Raises
    ------
    UsageError
        When a name or a number makes no sense, or the run wrote no such triplets.
    StorageError
        When a shard, or the embedding store where rows or vectors are asked for, is not there.

    Examples
    --------
    >>> from torch.utils.data import DataLoader                             # doctest: +SKIP
    >>> triplets = TripletDataset("mined/latest", "both")                   # doctest: +SKIP
    >>> for epoch in range(3):                                              # doctest: +SKIP
    ...     triplets.set_epoch(epoch)
    ...     for batch in DataLoader(triplets, batch_size=64, num_workers=2):
    ...         anchors, positives = batch["anchor"], batch["positive"]     # 64 texts each
    """

    def __init__(
        self,
        run: Run | str | Path,
        difficulty: str = "hard",
        *,
        give: str | None = None,
        columns: Sequence[str] = (),
        seed: int = 0,
        shuffle: bool = True,
        buffer: int = 1 << 17,
        rank: int | None = None,
        ranks: int | None = None,
        drop_last: bool = False,
    ) -> None:
        super().__init__()
        opened = run if isinstance(run, Run) else open_run(run)
        self._groups = RowGroups.of(opened, difficulty)
        self._give = give_default(self._groups.columns, give)
        self._extra = _known(columns)
        self._sides = Sides.of(opened) if self._give in ("rows", "vectors") else None
        if buffer < 1 or seed < 0:
            raise UsageError(f"buffer = {buffer} must be above 0, and seed = {seed} not below")
        self._settings: dict[str, Any] = {"seed": seed, "shuffle": shuffle, "buffer": buffer}
        self._settings |= {"rows": int(self._groups.sizes.sum()), "run": opened.run_id}
        self._settings |= {"difficulty": difficulty, "drop_last": drop_last}
        self._rank = _place(rank, ranks)
        self._epoch = torch.zeros(1, dtype=torch.int64).share_memory_()  # persistent workers see it
        self._reader = Reader(*self._rank)
        self._done = 0
        self._saved: dict[str, Any] | None = None

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next pass; workers that persist hear of it too.

        Parameters
        ----------
        epoch : int
            From 0.
        """
        if epoch < 0:
            raise UsageError(f"epoch {epoch} must not be below 0")
        self._epoch[0] = epoch
        self._done = 0
        self._saved = None

    @property
    def epoch(self) -> int:
        """The epoch that was set, 0 at first."""
        return int(self._epoch[0])

    def __len__(self) -> int:
        """Return how many rows this rank gives in an epoch."""
        return self._order().rank_rows(self._rank[1])

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Give this reader's rows of the epoch; after `load_state_dict`, those that are left."""
        worker = torch.utils.data.get_worker_info()
        spread = (worker.id, worker.num_workers) if worker is not None else (0, 1)
        self._reader = Reader(*self._rank, *spread)
        self._done = self._resumed()
        return self._rows(self._order(), self._reader)

    def _rows(self, order: EpochOrder, reader: Reader) -> Iterator[dict[str, Any]]:
        find = self._sides and self._sides.open(vectors=self._give == "vectors")
        suffix = "" if self._give == "texts" else "_id"
        named = [role + suffix for role in ROLES] + list(self._extra)
        for pieces, chosen in order.windows(reader, self._done):
            table = self._groups.read(pieces, named).take(chosen)
            given: dict[str, Sequence[Any]] = {}
            for name in named:
                role, column = name.removesuffix("_id"), table[name].combine_chunks()
                if role not in ROLES:
                    given[name] = column.to_pylist()
                else:
                    given[role] = find(role, column) if find else column.to_pylist()
            for row in range(len(chosen)):
                self._done += 1  # before it is given: the state counts what the caller has
                yield {name: values[row] for name, values in given.items()}

    def _order(self) -> EpochOrder:
        kept = {key: self._settings[key] for key in ("shuffle", "drop_last")}
        seed = (self._settings["seed"], self.epoch)
        return EpochOrder(self._groups.sizes, seed, window=self._settings["buffer"], **kept)

    def state_dict(self) -> dict[str, Any]:
        """Return where this reader is in its epoch.

        Without workers that is where the training loop is. Workers of a ``DataLoader`` read ahead
        in processes of their own: see `state_after` for that, or use torchdata's
        ``StatefulDataLoader``, which asks each worker.
        """
        return self._state(self._reader.workers, {str(self._reader.worker): self._done})

    def state_after(self, batches: int, batch_size: int, workers: int = 0) -> dict[str, Any]:
        """Return where the workers of a ``DataLoader`` were when it had given so many batches.

        Batches come from the workers in turn, so the number tells what each had given.

        Parameters
        ----------
        batches : int
            That the training loop has taken in this epoch, from its beginning.
        batch_size, workers : int
            As the ``DataLoader`` has them; it must not drop its last batches.
        """
        order, count = self._order(), max(workers, 1)
        rows = []
        for worker in range(count):
            start, stop = order.stretch(Reader(*self._rank, worker, count))
            rows.append(stop - start)
        done = dict.fromkeys(range(count), 0)
        while batches and any(done[n] < rows[n] for n in done):
            for worker in range(count):
                if batches and done[worker] < rows[worker]:
                    done[worker] = min(done[worker] + batch_size, rows[worker])
                    batches -= 1
        return self._state(count, {str(worker): given for worker, given in done.items()})

    def _state(self, workers: int, done: Mapping[str, int]) -> dict[str, Any]:
        at = {"rank": self._rank[0], "ranks": self._rank[1], "workers": workers}
        return {
            "version": _VERSION,
            "epoch": self.epoch,
            **self._settings,
            **at,
            "done": dict(done),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where a state was taken: the next pass gives the rest of its epoch.

        Parameters
        ----------
        state : mapping
            Of `state_dict` or `state_after`.

        Raises
        ------
        UsageError
            When the state is of another run, order, rank or number of ranks.
        """
        here = {"version": _VERSION, **self._settings}
        here |= {"rank": self._rank[0], "ranks": self._rank[1]}
        for key, value in here.items():
            if state.get(key) != value:
                raise UsageError(
                    f"the state has {key} = {state.get(key)!r}, this data set {value!r}: "
                    "the order would be another"
                )
        self.set_epoch(int(state["epoch"]))
        self._saved = {"workers": int(state["workers"]), "done": dict(state["done"])}
        self._saved["epoch"] = self.epoch

    def _resumed(self) -> int:
        """Return how many rows this reader has given before a state was taken, and forget it."""
        saved, self._saved = self._saved, None
        if saved is None or saved["epoch"] != self.epoch:
            return 0
        if saved["workers"] != self._reader.workers:
            raise UsageError(
                f"the state is of {saved['workers']} workers, these are {self._reader.workers}: "
                "resume with as many, or at the next epoch"
            )
        return int(saved["done"].get(str(self._reader.worker), 0))


class TripletIndex:
    """A run's triplets by id, to find those that lie inside a batch.

    Parameters
    ----------
    run : Run, str or Path
    difficulty : str
        ``hard``, ``semi_hard`` or ``both``.

    Notes
    -----
    Holds 8 bytes a triplet (some 20 while it is made) and each id once.

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


def _known(columns: Sequence[str]) -> tuple[str, ...]:
    for name in columns:
        if name not in EXTRA:
            raise UsageError(f"columns: {name!r}: {did_you_mean(name, EXTRA)}")
    return tuple(columns)


def _place(rank: int | None, ranks: int | None) -> tuple[int, int]:
    """Return which rank this is, of how many."""
    if (rank is None) != (ranks is None):
        raise UsageError("give both rank and ranks, or neither")
    if rank is None or ranks is None:
        there = torch.distributed.is_available() and torch.distributed.is_initialized()
        if not there:
            return 0, 1
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    Reader(rank, ranks)
    return rank, ranks
