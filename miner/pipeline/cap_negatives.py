"""Applies ``select.per_negative``: at most N triplets of a class have the same negative.

Without the cap, rows that are near to everything (hubs) would be the negative of most triplets.
Each triplet of a hub gets a pseudorandom number: a bijective mix (the finaliser of splitmix64,
Steele, Lea and Flood 2014) of its anchor, its positive and a seeded key of its negative. The N
smallest numbers stay, so the result does not depend on the units or the engine. The records are
read from their files in chunks. Memory is proportional to the number of rows, plus N times the
number of hubs processed together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from miner.pipeline.seal import UnitFile, read_unit_file
from miner.selection.strategies.base import seed_sequence
from miner.storage.files import atomic_open
from miner.triplets.hardness import MINED_CLASSES, OUTPUT_FOLDERS, OutputFolder

__all__ = ["cap_negatives"]

Records = NDArray[np.void]
Numbers = NDArray[np.uint64]
_Numbered = tuple[NDArray[np.int64], Numbers]
"""Negatives, and the pseudorandom numbers of their triplets."""

_CHUNK = 1 << 18
_HELD = 1 << 22
"""Number of pseudorandom numbers in memory while the cuts of hubs are determined."""
_PLACE = len(OUTPUT_FOLDERS) + 1
_ALL = np.iinfo(np.uint64).max


@dataclass(frozen=True, slots=True)
class _Class:
    """The unit files of one class, and the salt of its pseudorandom numbers."""

    unit_files: list[UnitFile]
    salt: np.uint64

    def chunks(self) -> Iterator[Records]:
        for unit_file in self.unit_files:
            yield from read_unit_file(unit_file, _CHUNK)

    def numbers(self, records: Records) -> Numbers:
        """Return the pseudorandom numbers of triplets; they differ for the same negative."""
        anchor, positive, negative = (
            records[name].astype(np.uint64) for name in ("anchor", "positive", "negative")
        )
        key = _mix(negative + self.salt)
        return _mix(((anchor << np.uint64(32)) | positive) ^ key)


def cap_negatives(
    unit_files: Mapping[OutputFolder, list[UnitFile]], most: int, seed: int, rows: int
) -> dict[OutputFolder, list[UnitFile]]:
    """Keep at most `most` triplets of each class with the same negative.

    Parameters
    ----------
    unit_files : mapping
        The unit files of each folder. If a class has hubs, its files are rewritten under new names.
    most : int
        The cap; 0 for no cap.
    seed : int
        ``select.seed`` of the job.
    rows : int
        The number of rows of the data set.

    Returns
    -------
    dict
        The remaining unit files of each folder, in the same order.
    """
    result = dict(unit_files)
    for code, name in enumerate(MINED_CLASSES if most else ()):
        salt = seed_sequence(seed, _PLACE, code).generate_state(1, np.uint64)[0]
        mine = _Class(unit_files[name], salt)
        cuts = _cuts(mine, most, rows)
        if cuts is not None:
            result[name] = [_cut(mine, unit_file, cuts) for unit_file in mine.unit_files]
    return result


def _cuts(mine: _Class, most: int, rows: int) -> Numbers | None:
    """Return, per negative, the largest number that stays; None if there are no hubs."""
    counts = np.zeros(rows, dtype=np.int64)
    for records in mine.chunks():
        counts += np.bincount(records["negative"], minlength=rows)
    hubs = np.flatnonzero(counts > most)
    if not len(hubs):
        return None
    cuts = np.full(rows, _ALL, dtype=np.uint64)
    together = max(1, _HELD // most)
    for start in range(0, len(hubs), together):
        _find_cuts(mine, most, hubs[start : start + together], cuts)
    return cuts


def _find_cuts(mine: _Class, most: int, hubs: NDArray[np.int64], cuts: Numbers) -> None:
    """Set the cuts of the given hubs, in one pass over all records."""
    looked = np.zeros(len(cuts), dtype=np.bool_)
    looked[hubs] = True
    parts, held = [], 0
    for records in mine.chunks():
        part = records[looked[records["negative"]]]
        parts.append((part["negative"].astype(np.int64), mine.numbers(part)))
        held += len(part)
        if held > 2 * max(_HELD, most * len(hubs)):
            parts = [_smallest(parts, most)]
            held = len(parts[0][0])
    negatives, numbers = _smallest(parts, most)
    cuts[hubs] = 0
    np.maximum.at(cuts, negatives, numbers)


def _smallest(parts: list[_Numbered], most: int) -> _Numbered:
    """Return the `most` smallest numbers of each negative."""
    negatives, numbers = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.lexsort((numbers, negatives))
    ordered = negatives[order]
    place = np.arange(len(order)) - np.searchsorted(ordered, ordered)
    kept = order[place < most]
    return negatives[kept], numbers[kept]


def _cut(mine: _Class, unit_file: UnitFile, cuts: Numbers) -> UnitFile:
    """Write a copy of a unit file without the triplets whose numbers exceed the cuts."""
    path = Path(unit_file.path)
    target = path.with_name(f"capped-{path.name}")
    rows = 0
    with atomic_open(target) as file:
        for records in read_unit_file(unit_file, _CHUNK):
            kept = records[mine.numbers(records) <= cuts[records["negative"]]]
            file.write(kept.tobytes())
            rows += len(kept)
    return replace(unit_file, path=str(target), rows=rows)


def _mix(numbers: Numbers) -> Numbers:
    """Mix the bits of numbers; the function is bijective."""
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))
