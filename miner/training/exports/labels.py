"""The label of each item of a run, from its embedding store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from miner.embedding.store import Store, open_store
from miner.errors import StorageError, UsageError
from miner.runs.run import Run
from miner.training.exports.triplets import Codes
from miner.triplets.relevance import AnchorSubset, Buckets, LabelRelevance

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
        The value of each label; None in a store that an earlier version made.
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
        raise UsageError(f"{run.where} is of queries and a corpus: they have no labels to batch by")
    folder = run.root / ".store" / str(run.manifest["store"])
    store = open_store(folder)
    if store is None:
        raise StorageError(f"the embedding store {folder} is gone; mine run --force makes it again")
    relevance = store.relevance()
    if isinstance(relevance, AnchorSubset):
        relevance = relevance.inner
    if not isinstance(relevance, LabelRelevance):
        raise UsageError(f"{run.where}: its items have lists of labels; batches need one an item")
    members = relevance.members
    return Labelled(store, relevance.labels, members, store.label_names())
