"""Which parts of a count are kept, and a whole count made of them again for another selection.

A count has parts that hang on the triplets alone (``census``, ``loss``) and one that hangs on the
selection too: what its strategy and caps make of every anchor. Where that follows from the census
(`Selection.needs_pairs` is False) it is computed; else it is a part of its own, under the digest of
the keys that decide it, so that a job which differs in its seed, `max_triplets`, `per_negative` or
rescorer finds it and one which differs in its filters counts again. Such a count gives the census
as well: to read that from a record would save nothing, so parts of two counts are never mixed.

A further product of the counting pass is one more part: name it in `parts` where a job needs it,
and a record that lacks it counts as none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miner.census.column_sums import labels_of
from miner.embedding.store import Store
from miner.errors import StorageError
from miner.job import MiningJob, SelectJob
from miner.pipeline.count_cache import KeptCounts
from miner.pipeline.merge import array_names
from miner.pipeline.units.layout import CENSUS, COUNTED, SELECTED
from miner.pipeline.units.miner import Miner
from miner.selection.selection import counts_identity, load_selection
from miner.storage.files import digest

__all__ = ["join", "parts", "split", "would_reuse"]

Array = NDArray[Any]

Parts = dict[str, tuple[str, ...]]
"""Per part, its columns of `COUNTED`."""


def parts(select: SelectJob, mining: MiningJob, *, labelled: bool) -> Parts:
    """Return the parts that a job's count is made of; `labelled` where each row has one label."""
    named: Parts = {"census": CENSUS}
    if mining.loss:
        named["loss"] = ("loss",)
    if labelled and mining.neighbours:
        named[f"neighbours-{mining.neighbours}"] = ("neighbour", "votes", "looked")
    named |= dict.fromkeys(array_names(mining, labelled=labelled), ())
    if load_selection(select).needs_pairs:
        named[f"select-{digest(counts_identity(select))[:16]}"] = SELECTED
    return named


def split(counted: NDArray[np.void], named: Parts) -> dict[str, Array]:
    """Cut a count into its parts."""
    cut = {}
    for name, columns in ((name, columns) for name, columns in named.items() if columns):
        cut[name] = np.empty(len(counted), dtype=_type(columns))
        for column in columns:
            cut[name][column] = counted[column]
    return cut


def join(found: Mapping[str, Array], named: Parts, miner: Miner) -> NDArray[np.void]:
    """Make a whole count of its parts."""
    counted = np.zeros(len(miner.tally.positives), dtype=COUNTED)
    for name, columns in named.items():
        for column in columns:
            counted[column] = found[name][column]
    if not miner.selection.needs_pairs:
        miner.select_from_totals(counted)
    return counted


def would_reuse(store: Store, mining: MiningJob, select: SelectJob) -> bool:
    """Whether a run would find its count in the record of a store; not if that is damaged."""
    try:
        kept = KeptCounts.of(store, mining.metric, mining.margin, normalized=mining.normalized)
        labelled = labels_of(store.relevance()) is not None
        return kept.holds(parts(select, mining, labelled=labelled))
    except StorageError:
        return False


def _type(columns: tuple[str, ...]) -> np.dtype[Any]:
    """Return the type of a part's records."""
    return np.dtype([(column, COUNTED[column]) for column in columns])
