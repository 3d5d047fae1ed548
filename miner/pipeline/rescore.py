"""Rescoring: triplets whose negative a second model finds too relevant are dropped.

Each pair (anchor, negative) of a piece's chunk is scored once; triplets of it are dropped where the
score is above the job's bound. Nothing is put in their place. A piece that is done leaves a record,
for the scorer may be slow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from miner.embedding.models.rescorers import Rescorer
from miner.embedding.store import Store
from miner.errors import StorageError
from miner.pipeline.seal import Piece, read_piece
from miner.progress import Progress
from miner.runs.staging import Staging
from miner.storage.files import atomic_open, sha256_file
from miner.triplets.hardness import MINED, Kept

__all__ = ["Rescoring"]

_CHUNK = 1 << 13


@dataclass(frozen=True, slots=True)
class Rescoring:
    """The pass of a rescorer over what was written.

    Attributes
    ----------
    rescorer : Rescorer
    most : float
        Triplets whose negative scores above it are dropped.
    store : Store
        Where the texts are.
    staging : Staging
    progress : callable
    """

    rescorer: Rescorer
    most: float
    store: Store
    staging: Staging
    progress: Progress

    def apply(self, pieces: Mapping[Kept, list[Piece]]) -> dict[Kept, list[Piece]]:
        """Return the pieces of both classes without what was dropped, and the others as they are.

        Raises
        ------
        DataError
            When the scorer does not give one finite number a pair.
        """
        result = dict(pieces)
        total = sum(len(pieces[name]) for name in MINED)
        done = 0
        for name in MINED:
            kept = []
            for piece in pieces[name]:
                self.progress("rescoring", done, total)
                kept.append(self._piece(piece))
                done += 1
            result[name] = kept
        self.progress("rescoring", done, total)
        return result

    def _piece(self, piece: Piece) -> Piece:
        path = Path(piece.path)
        target = path.with_name(f"rescored-{path.name}")
        record = self.staging.recorded(target.stem)
        if record is None:
            rows = 0
            with atomic_open(target) as file:
                for records in read_piece(piece, _CHUNK):
                    kept = records[self._scores(records) <= self.most]
                    file.write(kept.tobytes())
                    rows += len(kept)
            record = {"rows": rows, "files": {f"work/{target.name}": sha256_file(target)}}
            self.staging.record(target.stem, record)
        return Piece(str(target), int(record["rows"]))

    def _scores(self, records: NDArray[np.void]) -> NDArray[np.float64]:
        """Score the negative of each record."""
        anchors, negatives = (records[role].astype(np.int64) for role in ("anchor", "negative"))
        pairs, inverse = np.unique(
            np.stack([anchors, negatives], axis=1), axis=0, return_inverse=True
        )
        texts = (
            self._texts(side, pairs[:, column])
            for column, side in enumerate((0, self.store.row_side))
        )
        return self.rescorer.score(list(zip(*texts, strict=True)))[inverse.ravel()]

    def _texts(self, side: int, rows: NDArray[np.int64]) -> list[str]:
        column = self.store.texts(side)
        if column is None:
            raise StorageError(f"{self.store.folder} has lost its texts; run with --force")
        texts: list[str] = column.take(rows).to_pylist()
        return texts
