"""Drops triplets whose negative a second model (the rescorer) finds too relevant.

Each pair (anchor, negative) of a chunk is scored once; its triplets are dropped if the score is
above ``select.rescore_max``. They are not replaced. Each finished unit file has a record, because
the rescorer may be slow.

A rescorer whose weights are unknown (a server) may change during the run. Therefore a few pairs,
the probe, are scored again from time to time and at the end. A unit file is recorded only after a
probe with unchanged scores, together with these scores, so that a later run does not reuse the
file of another rescorer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miner.embedding.models.rescorers import Rescorer
from miner.embedding.probed_vectors import ProbeClock
from miner.embedding.store import Store
from miner.errors import DataError, StorageError
from miner.pipeline.seal import UnitFile, read_unit_file
from miner.progress import Progress
from miner.runs.staging import Staging
from miner.storage.files import atomic_open, sha256_file
from miner.storage.json_files import digest
from miner.triplets.hardness import MINED_CLASSES, OutputFolder

__all__ = ["Rescoring"]

_CHUNK = 1 << 13
_PROBED = 8
"""Number of pairs in the probe."""
_ROUNDING = 1e-4
"""Largest difference of two scores of one pair, relative to the largest score of the probe."""


@dataclass(slots=True)
class Rescoring:
    """Applies a rescorer to the unit files of a run.

    Attributes
    ----------
    rescorer : Rescorer
    most : float
        Largest score of a negative; triplets above it are dropped.
    store : Store
        The embedding store, which contains the texts.
    staging : Staging
    progress : callable
    """

    rescorer: Rescorer
    most: float
    store: Store
    staging: Staging
    progress: Progress
    _pairs: list[tuple[str, str]] = field(default_factory=list)  # the probe
    _expected: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    _waiting: dict[str, dict[str, Any]] = field(default_factory=dict)  # records
    _clock: ProbeClock = field(default_factory=ProbeClock)

    def apply(
        self, unit_files: Mapping[OutputFolder, list[UnitFile]]
    ) -> dict[OutputFolder, list[UnitFile]]:
        """Return the unit files without dropped triplets; ``suspects`` are never rescored.

        Raises
        ------
        DataError
            If the rescorer does not return one finite number per pair, or has changed.
        """
        result = dict(unit_files)
        if self.rescorer.weights is None:
            self._set_out([unit_file for name in MINED_CLASSES for unit_file in unit_files[name]])
        try:
            self._apply(unit_files, result)
        except DataError:  # files that were finished before the bad pair are still recorded
            self._confirm()
            raise
        self._confirm()
        return result

    def _apply(
        self,
        unit_files: Mapping[OutputFolder, list[UnitFile]],
        result: dict[OutputFolder, list[UnitFile]],
    ) -> None:
        total = sum(len(unit_files[name]) for name in MINED_CLASSES)
        done = 0
        for name in MINED_CLASSES:
            kept = []
            for unit_file in unit_files[name]:
                self.progress("rescoring", done, total)
                kept.append(self._rescored(unit_file))
                done += 1
            result[name] = kept
        self.progress("rescoring", done, total)

    def _set_out(self, unit_files: list[UnitFile]) -> None:
        """Score the probe (the first pairs); keep the scores recorded before, if they agree."""
        first = next((unit_file for unit_file in unit_files if unit_file.rows), None)
        if first is None:
            return
        self._pairs, _ = self._texts_of(next(read_unit_file(first, _PROBED)))
        now, record = self.rescorer.score(self._pairs), self.staging.recorded("rescoring")
        before = np.asarray(record["scores"] if record else [], dtype=np.float64)
        self._expected = before if _alike(before, now) else now
        self.staging.record("rescoring", {"scores": self._expected.tolist()})

    def _confirm(self) -> None:
        """Score the probe again, and record the finished unit files if it is unchanged."""
        waiting, self._waiting = self._waiting, {}
        if not waiting:
            return
        if self._pairs:
            with self._clock.probing():
                now = self.rescorer.score(self._pairs)
            if not _alike(self._expected, now):
                raise DataError(
                    f"select.rescore = {self.rescorer.name!r} scored the same pairs differently "
                    "than before: the model changed during the run, or its scores vary; scores "
                    "since the last good probe are dropped; make sure that one model answers and "
                    "run the same command again"
                )
        for name, record in waiting.items():
            self.staging.record(name, record)

    def _rescored(self, unit_file: UnitFile) -> UnitFile:
        path = Path(unit_file.path)
        target = path.with_name(f"rescored-{path.name}")
        scorer = digest(self._expected.tolist())
        record = self.staging.recorded(target.stem)
        if record is None or record.get("scorer") != scorer:
            rows = 0
            with atomic_open(target) as file:
                for records in read_unit_file(unit_file, _CHUNK):
                    kept = records[self._scores(records) <= self.most]
                    file.write(kept.tobytes())
                    rows += len(kept)
            files = {f"work/{target.name}": sha256_file(target)}
            record = {"rows": rows, "files": files, "scorer": scorer}
            self._waiting[target.stem] = record
            if self._clock.due:
                self._confirm()
        return UnitFile(str(target), int(record["rows"]))

    def _scores(self, records: NDArray[np.void]) -> NDArray[np.float64]:
        """Return the score of the negative of each record."""
        pairs, inverse = self._texts_of(records)
        return self.rescorer.score(pairs)[inverse]

    def _texts_of(
        self, records: NDArray[np.void]
    ) -> tuple[list[tuple[str, str]], NDArray[np.int64]]:
        """Return the distinct pairs of texts (anchor, negative), and each record's pair index."""
        anchors, negatives = (records[role].astype(np.int64) for role in ("anchor", "negative"))
        pairs, inverse = np.unique(
            np.stack([anchors, negatives], axis=1), axis=0, return_inverse=True
        )
        texts = (
            self._texts(side, pairs[:, column])
            for column, side in enumerate((0, self.store.row_side))
        )
        return list(zip(*texts, strict=True)), inverse.ravel()

    def _texts(self, side: int, rows: NDArray[np.int64]) -> list[str]:
        column = self.store.texts(side)
        if column is None:
            raise StorageError(f"{self.store.folder} has lost its texts; run with --force")
        texts: list[str] = column.take(rows).to_pylist()
        return texts


def _alike(before: NDArray[np.float64], now: NDArray[np.float64]) -> bool:
    """Whether two lists of probe scores agree up to rounding."""
    if before.shape != now.shape:
        return False
    return bool((abs(now - before) <= _ROUNDING * abs(before).max(initial=0)).all())
