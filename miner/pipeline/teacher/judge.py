"""Apply a teacher's rules to a pool: write the triplets that stay, and those that are rejected."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miner.job_sections import Activation, Rejected
from miner.pipeline.seal import UnitFile, read_unit_file
from miner.pipeline.teacher.pairs import joined
from miner.pipeline.teacher.pool import ScoredPool, pair_of
from miner.pipeline.units.records import SCORED
from miner.selection.teacher_rules import TeacherRules, activated, fill_slots
from miner.storage.files import atomic_open
from miner.triplets.hardness import MINED_CLASSES, MinedClass, OutputFolder
from miner.triplets.types import Rows

__all__ = ["Judged", "judge"]

_CHUNK = 1 << 18

Records = NDArray[np.void]


@dataclass(frozen=True, slots=True)
class Judged:
    """What is left of a pool.

    Attributes
    ----------
    unit_files : dict
        The records of each folder, `SCORED`; `TRIPLET` without a teacher, and for suspects of
        guards.
    counted : ndarray of shape (anchors,), `miner.pipeline.units.layout.ANCHOR_COUNTS`
        The counts by which the triplets were drawn.
    dropped : dict
        Per class, the triplets that were ``rejected``, without spares, and the spares that
        ``replaced`` them.
    promoted : ndarray of `SCORED`
        One record of each (anchor, negative) that becomes a positive.
    facts : dict
        The facts of the teacher for the manifest; empty without one.
    """

    unit_files: dict[OutputFolder, list[UnitFile]]
    counted: Records
    dropped: dict[str, dict[OutputFolder, int]] = field(default_factory=dict)
    promoted: Records = field(default_factory=lambda: np.empty(0, dtype=SCORED))
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def scored(self) -> tuple[OutputFolder, ...]:
        """The folders whose records have the teacher's scores."""
        return tuple(
            name for name, files in self.unit_files.items() if any(one.scored for one in files)
        )


def judge(
    pool: ScoredPool,
    rules: TeacherRules,
    fate: Rejected,
    activation: Activation | None,
    work: Path,
    contents: Rows | None = None,
) -> Judged:
    """Write the triplets of a pool that stay, in the order of the pool.

    Parameters
    ----------
    pool : ScoredPool
    rules : TeacherRules
    fate : str
        What happens to rejected triplets: ``drop``, ``suspects`` or ``promote``. A pair that is
        promoted, or a row with the same content, is the negative of no other triplet.
    activation : str or None
    work : Path
        The folder of the files.
    contents : ndarray of shape (rows,), int64, optional
        Equal codes for equal content, negative where content is not compared; for ``promote``.
    """
    court = _Court(pool, rules, activated(pool.scores, activation))
    if contents is not None:
        court.first = _first_rows(contents)
        court.barred = np.unique(np.concatenate([*court.rejected_pairs()]))
    result = Judged(
        {name: [unit_file] for name, unit_file in pool.unit_files.items()},
        pool.counted,
        {why: dict.fromkeys(MINED_CLASSES, 0) for why in ("rejected", "replaced")},
    )
    aside = [np.empty(0, dtype=SCORED)]
    for name in MINED_CLASSES:
        path, rows = work.resolve() / f"judged-{name}.bin", 0
        with atomic_open(path) as file:
            for records in court.chunks(name):
                rejected, spare = court.rejected(records), records["weight"] < 0
                kept = fill_slots(_groups(records), spare, rejected)
                records["weight"] = abs(records["weight"])
                file.write(records[kept].tobytes())
                rows += int(kept.sum())
                result.dropped["rejected"][name] += int((rejected & ~spare).sum())
                result.dropped["replaced"][name] += int((kept & spare).sum())
                if fate != "drop":
                    aside.append(records[rejected])
        result.unit_files[name] = [UnitFile(str(path), rows, scored=True)]
    left = np.concatenate(aside)
    left = left[np.argsort(left["anchor"], kind="stable")]
    if fate == "suspects":
        path = work.resolve() / "judged-suspects.bin"
        with atomic_open(path) as file:
            file.write(left.tobytes())
        result.unit_files["suspects"] = [UnitFile(str(path), len(left), scored=True)]
    if fate == "promote":
        _, first = np.unique(pair_of(left, "negative"), return_index=True)
        return replace(result, promoted=left[first])
    return result


@dataclass(slots=True)
class _Court:
    """A pool, the rules, and the scores that they compare."""

    pool: ScoredPool
    rules: TeacherRules
    scores: NDArray[np.float32]
    first: Rows = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    barred: NDArray[np.uint64] = field(default_factory=lambda: np.empty(0, dtype=np.uint64))

    def chunks(self, name: MinedClass) -> Iterator[Records]:
        """Yield the records of a class with their scores; the records of an anchor are together."""
        held = np.empty(0, dtype=SCORED)
        for records in read_unit_file(self.pool.unit_files[name], _CHUNK):
            held = np.concatenate([held, self._scored(records)])
            cut = int(np.searchsorted(held["anchor"], held["anchor"][-1]))
            if cut:
                yield held[:cut]
                held = held[cut:]
        if len(held):
            yield held

    def _scored(self, records: Records) -> Records:
        result = np.empty(len(records), dtype=SCORED)
        for column in records.dtype.names or ():
            result[column] = records[column]
        for column, role in (("teacher_ap", "positive"), ("teacher_an", "negative")):
            result[column] = self.scores[np.searchsorted(self.pool.pairs, pair_of(records, role))]
        return result

    def rejected(self, records: Records) -> NDArray[np.bool_]:
        """Return which triplets the rules reject, or have a pair that is promoted."""
        found = self.rules.reject(records["teacher_ap"], records["teacher_an"])
        if len(self.barred):
            found |= np.isin(self._content_pairs(records), self.barred)
        return found

    def _content_pairs(self, records: Records) -> NDArray[np.uint64]:
        """Return the pair of each record's anchor and the first row with its negative's content."""
        return joined(records["anchor"], self.first[records["negative"]])

    def rejected_pairs(self) -> Iterator[NDArray[np.uint64]]:
        """Yield the (anchor, negative) of the triplets that the rules reject, by content."""
        yield self.barred
        for name in MINED_CLASSES:
            for records in self.chunks(name):
                yield np.unique(self._content_pairs(records[self.rejected(records)]))


def _first_rows(contents: Rows) -> Rows:
    """Return, for each row, the first row with the same content."""
    first = np.arange(len(contents))
    known = np.flatnonzero(contents >= 0)
    _, place, code = np.unique(contents[known], return_index=True, return_inverse=True)
    first[known] = known[place[code]]
    return first


def _groups(records: Records) -> NDArray[np.int64]:
    """Return the number of each record's (anchor, positive), ascending from 0."""
    changed = np.diff(pair_of(records, "positive").view(np.int64), prepend=-1) != 0
    return np.cumsum(changed) - 1
