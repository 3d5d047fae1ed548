"""What counting passes found, kept beside the vectors for the next selection of the same triplets.

A record is a folder ``counts/DIGEST`` in an embedding store: named arrays (``NAME.npy``), and
``record.json``, written last, which names them with their checksums; an array that it does not name
does not exist. The digest is made from the bytes of the vectors and of the relevance, the metric,
the margin and the versions, so a store that was made again with other vectors finds nothing, and
one that differs only in the texts that it keeps finds all. A record goes with its store.

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
from miner.pipeline.units.layout import CENSUS, COUNTED, SELECTED
from miner.pipeline.units.merge import array_names
from miner.pipeline.units.miner import Miner
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
    """The record of one store, metric and margin, which may not be there yet.

    Attributes
    ----------
    store : Path
        The folder of the embedding store.
    facts : dict
        What the counts hang on.
    """

    store: Path
    facts: dict[str, Any]

    @classmethod
    def of(cls, store: Store, metric: Metric, margin: float, *, normalized: bool) -> KeptCounts:
        """Take the checksums of a store's vectors and relevance, which are held as it is opened."""
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
        """Where the record of this store is, or will be."""
        return self.store / "counts" / digest(self.facts)[:24]

    def find(self, names: Collection[str]) -> dict[str, Array] | None:
        """Return arrays of the record; None unless all are there, and whole.

        The records of the stores beside this one are looked at too. What is used is marked so, for
        `miner.embedding.eviction`; what is damaged is removed, after a warning.
        """
        for folder in self._folders():
            try:
                arrays = self._arrays(folder, names)
            except DamageError as error:
                warn_damaged(f"{error}; what was counted is made again")
                with storage_errors(folder):
                    shutil.rmtree(folder)
                continue
            if arrays is not None:
                with contextlib.suppress(OSError):  # what can be read only serves as well
                    os.utime(folder / "record.json")
                return arrays
        return None

    def holds(self, names: Collection[str]) -> bool:
        """Whether `find` would find them; changes nothing."""
        for folder in self._folders():
            with contextlib.suppress(DamageError):
                if self._arrays(folder, names) is not None:
                    return True
        return False

    def keep(self, arrays: Mapping[str, Array]) -> None:
        """Add arrays to the record; those that it has already stay, if all of them are whole."""
        folder = self.folder
        with storage_errors(folder):
            for torn in folder.glob(".*.tmp"):  # of a process that was killed as it wrote
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
        """Remove the record, here and in the stores beside this one."""
        for folder in self._folders():
            with storage_errors(folder):
                shutil.rmtree(folder)

    def _folders(self) -> list[Path]:
        """Return where the record is, in this store first."""
        name = self.folder.name
        found = sorted(self.store.parent.glob(f"*/counts/{name}"))
        return sorted(found, key=lambda folder: folder != self.folder)

    def _files(self, folder: Path) -> dict[str, str]:
        """Return the checksums of a record's files; nothing where there is none yet."""
        path = folder / "record.json"
        if not path.exists():
            return {}
        files: dict[str, str] = read_record(path)["files"]
        return files

    def _arrays(self, folder: Path, names: Collection[str]) -> dict[str, Array] | None:
        """Read arrays of a record; None unless it has all."""
        files, paths = self._files(folder), {name: folder / f"{name}.npy" for name in names}
        if any(path.name not in files for path in paths.values()):
            return None
        check_files(folder, {path.name: files[path.name] for path in paths.values()})
        return {name: np.load(path, allow_pickle=False) for name, path in paths.items()}


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
        miner.select_from_totals(np.arange(len(counted)), counted)
    return counted


def would_reuse(store: Store, mining: MiningJob, select: SelectJob) -> bool:
    """Whether a run would find its count in the record of a store; not if that is damaged."""
    try:
        kept = KeptCounts.of(store, mining.metric, mining.margin, normalized=mining.normalized)
        labelled = row_labels(store.relevance()) is not None
        return kept.holds(parts(select, mining, labelled=labelled))
    except StorageError:
        return False


def _type(columns: tuple[str, ...]) -> np.dtype[Any]:
    """Return the type of a part's records."""
    return np.dtype([(column, COUNTED[column]) for column in columns])
