"""The drawn triplets and their spares with the teacher's scores, kept in the embedding store.

A pool does not depend on the teacher's thresholds, so a run with others draws, counts and scores
nothing. It is a folder of the store (`KeptFolder`) with the records of each folder, the counts of
the anchors, and the distinct pairs with their scores. The newest few pools of a store stay.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miner.pipeline.kept_folder import KeptFolder
from miner.pipeline.seal import UnitFile, read_unit_file
from miner.pipeline.teacher.pairs import Pairs, joined
from miner.storage.arrays import load_array, save_array
from miner.storage.files import atomic_open
from miner.triplets.hardness import MINED_CLASSES, OUTPUT_FOLDERS, OutputFolder
from miner.triplets.types import Float32

__all__ = ["ScoredPool", "distinct_pairs", "find_pool", "keep_pool", "pair_of"]

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


def find_pool(kept: KeptFolder) -> ScoredPool | None:
    """Return a kept pool; None if there is none, or if it is damaged, which causes a warning."""
    facts = kept.find("its triplets are drawn again")
    return None if facts is None else _opened(kept.path, facts["rows"])


def keep_pool(
    kept: KeptFolder,
    drawn: Mapping[OutputFolder, list[UnitFile]],
    counted: NDArray[np.void],
    pairs: Pairs,
    scores: Float32,
) -> ScoredPool:
    """Write a pool; older ones may be removed."""
    folder = kept.emptied()
    for name in drawn:
        with atomic_open(folder / f"{name}.bin") as file:
            for unit_file in drawn[name]:
                for records in read_unit_file(unit_file, _CHUNK):
                    file.write(records.tobytes())
    arrays: dict[str, NDArray[Any]] = dict(zip(_ARRAYS, (counted, pairs, scores), strict=True))
    for array, values in arrays.items():
        save_array(folder / f"{array}.npy", values)
    rows = {name: sum(one.rows for one in mine) for name, mine in drawn.items()}
    kept.seal({"rows": rows}, _KEPT)
    return _opened(folder, rows)


def _opened(folder: Path, rows: Mapping[OutputFolder, int]) -> ScoredPool:
    unit_files = {
        name: UnitFile(str(folder.resolve() / f"{name}.bin"), rows[name])
        for name in OUTPUT_FOLDERS
        if name in rows
    }
    counted, pairs, scores = (np.array(load_array(folder / f"{name}.npy")) for name in _ARRAYS)
    return ScoredPool(unit_files, counted, pairs, scores)


def pair_of(records: NDArray[np.void], role: str) -> Pairs:
    """Return the pair of each record's anchor and its row in a role."""
    return joined(records["anchor"], records[role])


def distinct_pairs(drawn: Mapping[OutputFolder, list[UnitFile]]) -> Pairs:
    """Return the distinct (anchor, positive) and (anchor, negative) of the two classes."""
    found: list[Pairs] = [np.empty(0, dtype=np.uint64)]
    for name in MINED_CLASSES:
        for unit_file in drawn[name]:
            for records in read_unit_file(unit_file, _CHUNK):
                both = [pair_of(records, role) for role in ("positive", "negative")]
                found.append(np.unique(np.concatenate(both)))
    return np.unique(np.concatenate(found))
