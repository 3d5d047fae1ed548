"""`mine batches`: which items to put into a batch, so that confusable labels meet.

A batch has P labels and K items of each (Hermans, Beyer and Leibe 2017, section 2). Each of its
PK items is an anchor with K - 1 positives and PK - K negatives in the batch: PK (K - 1) (PK - K)
triplets.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from miner.errors import UsageError
from miner.runs.run import Run
from miner.selection.strategies.base import seeds
from miner.training.exports.confusion import Confusion, count_confusion
from miner.training.exports.labels import Labelled, open_labelled
from miner.training.exports.triplets import Codes
from miner.training.exports.writing import export_folder, whole_folder, write_parts

__all__ = ["export_batches"]

_ROWS = 1 << 12


@dataclass(slots=True)
class _Composer:
    """Composes batches of the labels that have enough items."""

    confusion: Confusion
    labelled: Labelled
    p: int
    k: int
    seed: int
    able: Codes
    random: int = 0
    scores: Any = field(init=False)
    enough: Any = field(init=False)
    order: tuple[int, Any] = field(init=False, default=(-1, None))

    def __post_init__(self) -> None:
        self.scores = np.zeros(len(self.labelled.members.sizes))
        self.enough = np.zeros(len(self.scores), dtype=np.bool_)
        self.enough[self.able] = True

    def batch(self, number: int) -> tuple[Codes, Codes]:
        """Return the labels of a batch, shape (p,), and its items, shape (p, k)."""
        rng = np.random.default_rng(seeds(self.seed, 1, number))
        labels = self._confused(self._start(number))
        missing = self.p - len(labels)
        self.random += missing
        if missing:
            drawn = self.able[rng.choice(len(self.able), self.p, replace=False)]
            labels += drawn[~np.isin(drawn, labels)][:missing].tolist()
        members = [self.labelled.members.rows(label) for label in labels]
        items = [own[rng.choice(len(own), self.k, replace=False)] for own in members]
        return np.array(labels, dtype=np.int64), np.stack(items)

    def _start(self, number: int) -> int:
        """Return the label that a batch starts from: all in turn, each round in its own order."""
        turn, place = divmod(number, len(self.able))
        if self.order[0] != turn:
            rng = np.random.default_rng(seeds(self.seed, 0, turn))
            self.order = (turn, rng.permutation(self.able))
        return int(self.order[1][place])

    def _confused(self, start: int) -> list[int]:
        """Add to a label, one by one, the label most confused with all so far."""
        labels, newest = [start], start
        near = np.empty(0, dtype=np.int64)
        while True:
            others, weights = self.confusion.of(newest)
            keep = self.enough[others]
            self.scores[others[keep]] += weights[keep]
            near = np.union1d(near, others[keep])  # ascending: of equal scores the first is taken
            near = near[~np.isin(near, labels)]
            if len(labels) == self.p or not len(near):
                break
            newest = int(near[np.argmax(self.scores[near])])
            labels.append(newest)
        self.scores[near] = self.scores[labels] = 0.0
        return labels


def export_batches(
    run: Run,
    *,
    p: int = 16,
    k: int = 4,
    batches: int | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    force: bool = False,
) -> dict[str, Any]:
    """Write batch compositions of P labels x K items that put confusable labels together.

    A batch starts from a label; all labels start equally often, in a seeded order. The label that
    has the most hard triplets with those chosen so far, as anchor's and negative's label either way
    round, is added next; of equal ones that which comes first in the data. Where no label left has
    any, labels are drawn at random. The K items of a label are drawn at random, none twice in a
    batch. A batch holds PK anchors and PK (K - 1) (PK - K) triplets.

    Columns are ``batch`` (int64, from 0), ``label``, ``item_id`` and, where content was kept,
    ``text``; rows are in the order in which labels were added. A sampler makes a batch of the rows
    of one number. Labels have their own values, or numbers in the order of the data when the data
    file that was mined is gone.

    Parameters
    ----------
    run : Run
        Of labelled items, with one label each.
    p, k : int
        Labels in a batch, and items of each; both 2 or more.
    batches : int or None
        How many; default: as many as there are labels with `k` items.
    seed : int
        Of all draws.
    out : str or Path, optional
        The folder to make. Default: ``exports/RUN_ID-batches-PxK`` beside ``runs``.
    force : bool
        Replace an export that is there.

    Returns
    -------
    dict
        ``path``, ``rows``, ``batches``, ``labels`` (those with `k` items), ``random_labels``
        (places that were filled at random), ``triplets_per_batch``, ``confusion`` (``run`` or
        ``shards``: see `miner.training.exports.confusion`), ``named``, ``files`` and ``left_out``.

    Raises
    ------
    UsageError
        When the run has no labels, or too few with `k` items; on a folder that is there.
    StorageError
        When the embedding store is gone, or a file is damaged.
    """
    _check(p, k, batches, seed)
    folder = export_folder(run, f"batches-{p}x{k}", out, force=force)
    labelled = open_labelled(run)
    sizes = labelled.members.sizes
    able = np.flatnonzero(sizes >= k).astype(np.int64)
    if len(able) < p:
        raise UsageError(
            f"{run.where}: {len(able)} labels have {k} items or more, {p} are needed; "
            "lower --p or --k"
        )
    count = len(able) if batches is None else batches
    with run.held(), whole_folder(folder) as temporary:
        confusion = count_confusion(run, labelled)
        composer = _Composer(confusion, labelled, p, k, seed, able)
        files = write_parts(temporary, _record_batches(composer, count), "parquet")
    small = sizes[(sizes > 0) & (sizes < k)]
    return {
        "run_id": run.run_id,
        "path": str(folder),
        "p": p,
        "k": k,
        "seed": seed,
        "batches": count,
        "rows": sum(file["rows"] for file in files),
        "columns": _schema(labelled).names,
        "triplets_per_batch": p * k * (k - 1) * (p * k - k),
        "labels": len(able),
        "named": labelled.names is not None,
        "confusion": confusion.source,
        "random_labels": composer.random,
        "files": files,
        "left_out": {"small_labels": len(small), "items_of_small_labels": int(small.sum())},
    }


def _check(p: int, k: int, batches: int | None, seed: int) -> None:
    """Refuse numbers that make no triplet."""
    for name, value, least in (
        ("p", p, 2),
        ("k", k, 2),
        ("batches", batches, 1),
        ("seed", seed, 0),
    ):
        if value is not None and value < least:
            raise UsageError(f"--{name} {value}: at least {least}")


def _schema(labelled: Labelled) -> Any:
    store = labelled.store
    label = pa.int64() if labelled.names is None else labelled.names.type
    columns = [("batch", pa.int64()), ("label", label), ("item_id", store.ids(store.row_side).type)]
    return pa.schema(columns + ([("text", pa.string())] if store.texts(store.row_side) else []))


def _record_batches(composer: _Composer, count: int) -> Iterator[Any]:
    """Compose all batches, some thousand rows at a time."""
    labelled, store = composer.labelled, composer.labelled.store
    ids, texts = store.ids(store.row_side), store.texts(store.row_side)
    schema = _schema(labelled)
    step = max(1, _ROWS // (composer.p * composer.k))
    for start in range(0, count, step):
        numbers = np.arange(start, min(start + step, count))
        made = [composer.batch(number) for number in numbers.tolist()]
        labels = pa.array(np.repeat(np.concatenate([own for own, _ in made]), composer.k))
        items = np.concatenate([items.ravel() for _, items in made])
        columns = [
            pa.array(np.repeat(numbers, composer.p * composer.k)),
            labels if labelled.names is None else labelled.names.take(labels),
            ids.take(items),
        ]
        if texts is not None:
            columns.append(texts.take(items).cast(pa.string()))
        yield pa.record_batch(columns, schema=schema)
