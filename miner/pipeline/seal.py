"""Writes the records of all unit files to Parquet shards of equal size.

A shard is a range of rows of a class, so its bytes do not depend on the units or the engine.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miner.embedding.store import open_store
from miner.errors import StorageError
from miner.pipeline.engines.base import Engine
from miner.pipeline.units.records import TRIPLET
from miner.progress import Progress
from miner.runs.shards import (
    PART_ROWS,
    Sides,
    file_facts,
    group_slices,
    triplet_schema,
    write_part,
)
from miner.runs.staging import Staging
from miner.storage.files import storage_errors
from miner.storage.json_files import read_json, write_json
from miner.triplets.hardness import Kept, difficulty

__all__ = ["Part", "Piece", "Sealer", "fewer", "read_piece", "seal_shards"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Piece:
    """A file of `TRIPLET` records that one unit wrote for one folder."""

    path: str
    rows: int


@dataclass(frozen=True, slots=True)
class Part:
    """A shard to write: rows ``start`` to ``start + rows`` (exclusive) of a folder."""

    folder: Kept
    number: int
    start: int
    rows: int

    @property
    def name(self) -> str:
        """The path of the shard in the run."""
        return f"{self.folder}/part-{self.number:05d}.parquet"


@dataclass(frozen=True, slots=True)
class Sealer:
    """Writes shards, in a worker.

    Attributes
    ----------
    store, run, work : str
        Folders of the embedding store, of the staged run, and of the lists of unit files.
    texts : bool
        Whether shards contain the texts.
    metadata : dict of str
        Metadata of the Parquet schema; `difficulty` is added.
    """

    store: str
    run: str
    work: str
    texts: bool
    metadata: dict[str, str]

    def tell(self, folder: Kept, pieces: list[Piece]) -> None:
        """Save the list of a folder's unit files for the workers: there may be thousands."""
        write_json(self._pieces(folder), [[piece.path, piece.rows] for piece in pieces])

    def _pieces(self, folder: Kept) -> Path:
        return Path(self.work) / f"pieces-{folder}.json"

    def seal(self, part: Part) -> dict[str, Any]:
        """Write one shard; return its facts for the manifest."""
        sides = self._sides()
        schema = triplet_schema(sides, {**self.metadata, "difficulty": difficulty(part.folder)})
        path = Path(self.run) / part.name
        mine = [Piece(*piece) for piece in read_json(self._pieces(part.folder))]
        groups = (
            _records(mine, part.start + first, last - first)
            for first, last in group_slices(part.rows)
        )
        write_part(path, schema, sides, groups)
        return file_facts(path, Path(self.run), part.rows)

    def _sides(self) -> Sides:
        store = open_store(Path(self.store))
        if store is None:
            raise StorageError(f"{self.store} is gone; run the same command again")
        rows = store.row_side
        texts = (store.texts(0), store.texts(rows)) if self.texts else (None, None)
        return Sides(store.ids(0), store.ids(rows), *texts)


def fewer(before: Mapping[Kept, list[Piece]], after: Mapping[Kept, list[Piece]]) -> dict[Kept, int]:
    """Return the number of rows that a pass over the unit files dropped, per folder."""
    return {
        name: sum(piece.rows for piece in before[name]) - sum(piece.rows for piece in after[name])
        for name in before
    }


def read_piece(piece: Piece, chunk: int) -> Iterator[NDArray[np.void]]:
    """Yield the records of a unit file in chunks of `chunk` records."""
    for start in range(0, piece.rows, chunk):
        yield _records([piece], start, min(chunk, piece.rows - start))


def _records(pieces: list[Piece], start: int, rows: int) -> NDArray[np.void]:
    """Return `rows` records of a class from position `start`, across its unit files."""
    parts = []
    for piece in pieces:
        if start < piece.rows and rows > 0:
            count = min(rows, piece.rows - start)
            with storage_errors(Path(piece.path)):
                offset = start * TRIPLET.itemsize
                parts.append(np.fromfile(piece.path, TRIPLET, count, offset=offset))
            rows -= count
            start = 0
        else:
            start -= min(start, piece.rows)
    return np.concatenate(parts) if parts else np.empty(0, TRIPLET)


def _cut(pieces: Mapping[Kept, list[Piece]]) -> Iterator[Part]:
    """Yield the shards of each folder; an empty folder has one empty shard."""
    for folder in pieces:
        total = sum(piece.rows for piece in pieces[folder])
        for number, start in enumerate(range(0, max(total, 1), PART_ROWS)):
            yield Part(folder, number, start, min(PART_ROWS, total - start))


def seal_shards(
    sealer: Sealer,
    staging: Staging,
    engine: Engine,
    pieces: Mapping[Kept, list[Piece]],
    progress: Progress,
) -> list[dict[str, Any]]:
    """Write the shards that do not exist yet; return the facts of all shards, in order."""
    parts = list(_cut(pieces))
    names = {part: f"seal-{part.folder}-{part.number:05d}" for part in parts}
    sealed = {part: staging.recorded(name) for part, name in names.items()}
    pending = [part for part, record in sealed.items() if record is None]
    total = sum(part.rows for part in parts)
    done = total - sum(part.rows for part in pending)
    progress("sealing", done, total)
    for folder in {part.folder for part in pending}:
        sealer.tell(folder, pieces[folder])
    for unit in engine.each(functools.partial(_seal, sealer), pending):
        part, facts = unit.result
        record = {"facts": facts, "files": {f"run/{part.name}": facts["sha256"]}}
        staging.record(names[part], record)
        sealed[part] = record
        told = {"unit": part.name, "rows": part.rows, "seconds": round(unit.seconds, 3)}
        _log.info("unit_done", extra={"facts": {"stage": "sealing", **told}})
        done += part.rows
        progress("sealing", done, total)
    return [record["facts"] for record in sealed.values() if record is not None]


def _seal(sealer: Sealer, part: Part) -> tuple[Part, dict[str, Any]]:
    """Write one shard, in a worker."""
    return part, sealer.seal(part)
