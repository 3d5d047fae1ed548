"""The label of each item of a run: its number from the embedding store, its value from the data.

The store keeps numbers only, in the order in which labels first stand in the data. Values are read
from the data file again, if it is still the one that was mined.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from miner.datasets.scan import typed
from miner.datasets.side import Side, plain_batch
from miner.datasets.source import open_source
from miner.embedding import Store, open_store
from miner.errors import MineError, StorageError, UsageError
from miner.exports.triplets import Codes
from miner.job import DatasetJob
from miner.relevance import AnchorSubset, Buckets, LabelRelevance
from miner.shards import Run
from miner.storage import sha256_file

__all__ = ["Labelled", "open_labelled"]


@dataclass(frozen=True, slots=True)
class Labelled:
    """The items of a run of labelled items.

    Attributes
    ----------
    codes : ndarray of shape (items,), int64
        The number of each item's label.
    members : Buckets
        The items of each label.
    names : pyarrow.Array or None
        The value of each label; None when the data that was mined is not there any more.
    """

    store: Store
    codes: Codes
    members: Buckets
    names: Any

    @property
    def ids(self) -> Any:
        """The ids of the items, an Arrow array."""
        return self.store.ids(self.store.row_side).take(np.arange(len(self.codes)))


def open_labelled(run: Run) -> Labelled:
    """Find the labels of a run's items.

    Raises
    ------
    UsageError
        When the run is of queries and a corpus, or its items have lists of labels.
    StorageError
        When its embedding store is gone.
    """
    if run.manifest["dataset"]["kind"] != "labelled":
        raise UsageError(f"{run.path} is of queries and a corpus: they have no labels to batch by")
    folder = run.path.parent.parent / ".store" / str(run.manifest["store"])
    store = open_store(folder)
    if store is None:
        raise StorageError(f"the embedding store {folder} is gone; mine run --force makes it again")
    relevance = store.relevance()
    if isinstance(relevance, AnchorSubset):
        relevance = relevance.inner
    if not isinstance(relevance, LabelRelevance):
        raise UsageError(f"{run.path}: its items have lists of labels; batches need one an item")
    members = relevance.members
    first = np.array([members.rows(code)[0] for code in np.flatnonzero(members.sizes).tolist()])
    return Labelled(store, relevance.labels, members, _names(run, store, relevance.labels, first))


def _names(run: Run, store: Store, codes: Codes, first: Codes) -> Any:
    """Read the label of one item of each label; None when the data cannot say."""
    names: dict[int, Any] = {}
    try:
        side = _same_data(run)
        if side is None:
            return None
        ids = store.ids(store.row_side).take(first)
        kind = pa.null()
        for found, labels in _rows(side, ids):
            kind = labels.type
            names |= dict(zip(codes[first[found]].tolist(), labels.to_pylist(), strict=True))
    except (MineError, TypeError):  # it was moved, or written for another version: numbers do
        return None
    if len(names) < len(first):
        return None
    column = pa.array([names.get(code) for code in range(int(codes.max()) + 1)], kind)
    return typed(column) if side.table.untyped and pa.types.is_string(kind) else column


def _same_data(run: Run) -> Side | None:
    """Open the data of a run; None when it is not there, or has changed."""
    stated = run.manifest["job"]["dataset"]
    known = {field.name for field in dataclasses.fields(DatasetJob)}
    job = DatasetJob(**{key: value for key, value in stated.items() if key in known})
    path = _found(run, Path(str(job.path)))
    source = open_source(replace(job, path=str(path)), run.manifest["job"]["model"]["name"])
    sums = [file["sha256"] for file in run.manifest["dataset"]["files"]]
    side = source.sides[0]
    return side if [sha256_file(file) for file in source.files] == sums else None


def _found(run: Run, path: Path) -> Path:
    """Resolve a path of the job: from here, or else from where the output was named."""
    out = Path(run.manifest["job"]["output"]["path"])
    root = run.path.parent.parent
    if path.exists() or path.is_absolute() or out.is_absolute():
        return path
    depth = len(out.parts)
    return root.parents[depth - 1] / path if root.parts[-depth:] == out.parts else path


def _rows(side: Side, ids: Any) -> Iterator[tuple[Codes, Any]]:
    """Find ids in a table; give their places among `ids`, and their labels."""
    assert side.label is not None  # a table of labelled items has the column
    columns = [name for name in (side.id, side.label) if name is not None]
    columns += side.where.columns if side.where else ()
    start = 0
    for batch in side.table.batches(list(dict.fromkeys(columns))):
        rows, batch = np.arange(start, start + len(batch)), plain_batch(batch)
        start += len(batch)
        if side.where is not None:
            keep = side.where.mask(batch, untyped=side.table.untyped)
            rows, batch = rows[keep], batch.filter(pa.array(keep))
        own = batch.column(side.id) if side.id else pa.array(rows)
        known = ids if own.type == ids.type else ids.cast(own.type)
        places = pc.index_in(own, value_set=known)
        there = places.is_valid()
        found = np.asarray(places.filter(there).to_numpy()).astype(np.int64)
        yield found, batch.column(side.label).filter(there)
