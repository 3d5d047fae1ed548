"""The drawn triplets and their spares with the teacher's scores, kept in the embedding store.

A pool does not depend on the teacher's thresholds, so a run with others draws, counts and scores
nothing. It is a folder ``pools/DIGEST`` of a store, with the records of each folder, the counts of
the anchors, and the distinct pairs with their scores; ``record.json`` is written last. The newest
few pools of a store stay, and they are removed with it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miner.errors import DamageError
from miner.pipeline.seal import UnitFile, read_unit_file
from miner.pipeline.teacher.teachers import Pairs
from miner.pipeline.units.records import TRIPLET
from miner.progress import warn_damaged
from miner.storage.arrays import load_array, save_array
from miner.storage.files import atomic_open, storage_errors
from miner.storage.json_files import digest
from miner.storage.records import check_files, checksums, read_record, write_record
from miner.triplets.hardness import MINED_CLASSES, OUTPUT_FOLDERS, OutputFolder
from miner.triplets.types import Float32

__all__ = ["KeptPools", "ScoredPool", "distinct_pairs", "pair_of"]

_CHUNK = 1 << 18
_KEPT = 4
_ARRAYS = ("counted", "pairs", "scores")


@dataclass(frozen=True, slots=True)
class ScoredPool:
    """Drawn triplets and spares, and the teacher's scores.

    Attributes
    ----------
    unit_files : dict
        The records of each folder, `TRIPLET`, sorted by anchor.
    counted : ndarray of shape (anchors,), `miner.pipeline.units.layout.ANCHOR_COUNTS`
        The counts by which they were drawn.
    pairs : ndarray of shape (k,), uint64
        The distinct (anchor, positive) and (anchor, negative), ascending.
    scores : ndarray of shape (k,), float32
        The score of each pair, before the activation.
    """

    unit_files: dict[OutputFolder, UnitFile]
    counted: NDArray[np.void]
    pairs: Pairs
    scores: Float32


@dataclass(frozen=True, slots=True)
class KeptPools:
    """The pools of a store.

    Attributes
    ----------
    store : Path
        The folder of the embedding store.
    identity : dict
        Everything that decides what is drawn and scored.
    """

    store: Path
    identity: Mapping[str, Any]

    @property
    def folder(self) -> Path:
        """The folder of this pool."""
        return self.store / "pools" / digest(dict(self.identity))[:24]

    def find(self) -> ScoredPool | None:
        """Return the pool; None if there is none, or if it is damaged, which causes a warning."""
        record = self.folder / "record.json"
        if not record.exists():
            return None
        try:
            facts = read_record(record)
            check_files(self.folder, facts["files"])
        except DamageError as error:
            warn_damaged(f"{error}; its triplets are drawn again")
            return None
        os.utime(record)  # the time of the last use
        return self._opened(facts["rows"])

    def keep(
        self,
        drawn: Mapping[OutputFolder, list[UnitFile]],
        counted: NDArray[np.void],
        pairs: Pairs,
        scores: Float32,
    ) -> ScoredPool:
        """Write a pool; older ones may be removed."""
        with storage_errors(self.folder):
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir(parents=True)
        for name in drawn:
            with atomic_open(self.folder / f"{name}.bin") as file:
                for unit_file in drawn[name]:
                    for records in read_unit_file(unit_file, _CHUNK):
                        file.write(records.tobytes())
        arrays: dict[str, NDArray[Any]] = dict(zip(_ARRAYS, (counted, pairs, scores), strict=True))
        for array, values in arrays.items():
            save_array(self.folder / f"{array}.npy", values)
        rows = {name: sum(one.rows for one in mine) for name, mine in drawn.items()}
        names = sorted(path.name for path in self.folder.iterdir())
        record = {"rows": rows, "files": checksums(self.folder, names)}
        write_record(self.folder / "record.json", record)
        self._remove_old()
        return self._opened(rows)

    def _opened(self, rows: Mapping[OutputFolder, int]) -> ScoredPool:
        unit_files = {
            name: UnitFile(str(self.folder.resolve() / f"{name}.bin"), rows[name])
            for name in OUTPUT_FOLDERS
            if name in rows
        }
        counted, pairs, scores = (
            np.array(load_array(self.folder / f"{name}.npy")) for name in _ARRAYS
        )
        return ScoredPool(unit_files, counted, pairs, scores)

    def _remove_old(self) -> None:
        used = sorted((path.stat().st_mtime_ns, path.parent) for path in self._records())
        for _, folder in used[:-_KEPT]:
            with storage_errors(folder):
                shutil.rmtree(folder)

    def _records(self) -> Iterator[Path]:
        return self.folder.parent.glob("*/record.json")


def pair_of(records: NDArray[np.void], role: str) -> Pairs:
    """Return the pair of each record's anchor and its row in a role."""
    anchors, rows = (records[name].astype(np.uint64) for name in ("anchor", role))
    return (anchors << np.uint64(32)) | rows


def distinct_pairs(drawn: Mapping[OutputFolder, list[UnitFile]]) -> Pairs:
    """Return the distinct (anchor, positive) and (anchor, negative) of the two classes."""
    found: list[Pairs] = [np.empty(0, dtype=np.uint64)]
    for name in MINED_CLASSES:
        for unit_file in drawn[name]:
            for records in read_unit_file(unit_file, _CHUNK):
                both = [pair_of(records, role) for role in ("positive", "negative")]
                found.append(np.unique(np.concatenate(both)))
    return np.unique(np.concatenate(found))


assert TRIPLET["anchor"].itemsize == TRIPLET["negative"].itemsize == 4  # a pair has 64 bits
