"""The cache of finished counts in an embedding store, for later selections of the same triplets.

A record is a folder ``counts/DIGEST`` in an embedding store. It contains arrays (``NAME.npy``) and
``record.json``, which is written last and lists the arrays with their checksums; files that it does
not list are ignored. The digest covers the bytes of the vectors and of the relevance, the metric,
the margin and the versions. A store with other vectors therefore has another record, and stores
that differ only in their texts share one. A record is deleted with its store.

A count has parts. ``census`` and ``loss`` depend only on the triplets. The selection fields of the
anchors also depend on the strategy and the caps. If they follow from the census
(`Selection.needs_pairs` is False) they are computed again. Otherwise they are a separate part,
named by a digest of the keys that affect them: a job with another seed, `max_triplets`,
`per_negative` or rescorer reuses it, and a job with other filters counts again. Counting again
yields the census too, so parts of two counts are never combined.

To cache another product of the count pass, add it to `parts`; records without it are then not used.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miner.embedding.store import Store
from miner.errors import DamageError, StorageError
from miner.job_sections import MiningJob, SelectJob
from miner.pipeline.units.layout import ANCHOR_COUNTS, CENSUS_COLUMNS, SELECTION_COLUMNS
from miner.pipeline.units.merge import array_names
from miner.pipeline.units.miner import UnitMiner
from miner.progress import warn_damaged
from miner.selection.selection import counts_identity, load_selection
from miner.storage.arrays import save_array
from miner.storage.files import sha256_file, storage_errors
from miner.storage.json_files import digest
from miner.storage.records import check_files, read_record, write_record
from miner.triplets.distance import Metric
from miner.triplets.relevance.labels import row_labels
from miner.version import __version__

__all__ = ["KeptCounts", "join", "parts", "split", "would_reuse"]

_FORMAT = 3

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class KeptCounts:
    """The record of one store, metric and margin, which may not exist yet.

    Attributes
    ----------
    store : Path
        The folder of the embedding store.
    facts : dict
        Everything that the counts depend on.
    """

    store: Path
    facts: dict[str, Any]

    @classmethod
    def from_store(
        cls, store: Store, metric: Metric, margin: float, *, normalized: bool
    ) -> KeptCounts:
        """Return the record of a store; its facts use the checksums that the store already has."""
        sides = range(len(store.facts["rows"]))
        names = ["relevance.npz", *(f"vectors-{side}.f32" for side in sides)]
        facts = {
            "format": _FORMAT,
            "versions": {"mine": __version__, "numpy": np.__version__},
            "files": [store.facts["files"][name] for name in names],
            "rows": store.facts["rows"],
            "dim": store.dim,
            "metric": metric,
            "margin": margin,
            "normalize": normalized,
        }
        return cls(store.folder, facts)

    @property
    def folder(self) -> Path:
        """The folder of this store's record."""
        return self.store / "counts" / digest(self.facts)[:24]

    def find(self, names: Collection[str]) -> dict[str, Array] | None:
        """Return arrays of the record; None unless all of them exist undamaged.

        The records of the other stores in the same folder are searched too. The time stamp of the
        record is updated for `miner.embedding.eviction`. A damaged record causes a warning and is
        removed.
        """
        for folder in self._folders():
            try:
                arrays = self._arrays(folder, names)
            except DamageError as error:
                warn_damaged(f"{error}; the counts are made again")
                with storage_errors(folder):
                    shutil.rmtree(folder)
                continue
            if arrays is not None:
                with contextlib.suppress(OSError):  # a read-only record is usable too
                    os.utime(folder / "record.json")
                return arrays
        return None

    def holds(self, names: Collection[str]) -> bool:
        """Whether `find` would return the arrays; changes nothing."""
        for folder in self._folders():
            with contextlib.suppress(DamageError):
                if self._arrays(folder, names) is not None:
                    return True
        return False

    def keep(self, arrays: Mapping[str, Array]) -> None:
        """Add arrays to the record; existing arrays stay, unless one of them is damaged."""
        folder = self.folder
        with storage_errors(folder):
            for torn in folder.glob(".*.tmp"):  # left by a process that was killed while writing
                torn.unlink()
        try:
            files = self._files(folder)
            check_files(folder, files)
        except DamageError:
            files = {}
        for name, array in arrays.items():
            path = folder / f"{name}.npy"
            if path.name not in files:
                save_array(path, array)
                files[path.name] = sha256_file(path)
        write_record(folder / "record.json", {"facts": self.facts, "files": files})

    def drop(self) -> None:
        """Remove the record from this store and from the other stores in the same folder."""
        for folder in self._folders():
            with storage_errors(folder):
                shutil.rmtree(folder)

    def _folders(self) -> list[Path]:
        """Return the folders of the record in all stores, this store first."""
        name = self.folder.name
        found = sorted(self.store.parent.glob(f"*/counts/{name}"))
        return sorted(found, key=lambda folder: folder != self.folder)

    def _files(self, folder: Path) -> dict[str, str]:
        """Return the checksums of a record's files; empty if there is no record."""
        path = folder / "record.json"
        if not path.exists():
            return {}
        files: dict[str, str] = read_record(path)["files"]
        return files

    def _arrays(self, folder: Path, names: Collection[str]) -> dict[str, Array] | None:
        """Return arrays of a record; None unless it has all of them."""
        files, paths = self._files(folder), {name: folder / f"{name}.npy" for name in names}
        if any(path.name not in files for path in paths.values()):
            return None
        check_files(folder, {path.name: files[path.name] for path in paths.values()})
        return {name: np.load(path, allow_pickle=False) for name, path in paths.items()}


Parts = dict[str, tuple[str, ...]]
"""The fields of `ANCHOR_COUNTS` that each part contains."""


def parts(select: SelectJob, mining: MiningJob, *, labelled: bool) -> Parts:
    """Return the parts of a job's count; `labelled`: each row has exactly one label."""
    named: Parts = {"census": CENSUS_COLUMNS}
    if mining.loss:
        named["loss"] = ("loss",)
    if labelled and mining.neighbours:
        named[f"neighbours-{mining.neighbours}"] = ("neighbour", "votes", "looked")
    named |= dict.fromkeys(array_names(mining, labelled=labelled), ())
    if load_selection(select).needs_pairs:
        named[f"select-{digest(counts_identity(select))[:16]}"] = SELECTION_COLUMNS
    return named


def split(counted: NDArray[np.void], named: Parts) -> dict[str, Array]:
    """Split the records of all anchors into parts."""
    cut = {}
    for name, columns in ((name, columns) for name, columns in named.items() if columns):
        cut[name] = np.empty(len(counted), dtype=_type(columns))
        for column in columns:
            cut[name][column] = counted[column]
    return cut


def join(found: Mapping[str, Array], named: Parts, miner: UnitMiner) -> NDArray[np.void]:
    """Return the records of all anchors, assembled from their parts."""
    counted = np.zeros(len(miner.tally.positives), dtype=ANCHOR_COUNTS)
    for name, columns in named.items():
        for column in columns:
            counted[column] = found[name][column]
    if not miner.selection.needs_pairs:
        miner.select_from_totals(np.arange(len(counted)), counted)
    return counted


def would_reuse(store: Store, mining: MiningJob, select: SelectJob) -> bool:
    """Whether a run would reuse the counts in a store; False if they are damaged."""
    try:
        kept = KeptCounts.from_store(
            store, mining.metric, mining.margin, normalized=mining.normalized
        )
        labelled = row_labels(store.relevance()) is not None
        return kept.holds(parts(select, mining, labelled=labelled))
    except StorageError:
        return False


def _type(columns: tuple[str, ...]) -> np.dtype[Any]:
    """Return the dtype of a part with these fields."""
    return np.dtype([(column, ANCHOR_COUNTS[column]) for column in columns])
