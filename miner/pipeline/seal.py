"""Writes the records of all unit files to Parquet shards of equal size.

A shard is a range of rows of a class, so its bytes do not depend on the units or the engine.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miner.embedding.store import open_store
from miner.errors import StorageError
from miner.pipeline.candidates.listed import Listed
from miner.pipeline.engines.base import Engine
from miner.pipeline.units.records import SCORED, TRIPLET
from miner.progress import Progress
from miner.runs.shards import (
    PART_ROWS,
    Sides,
    Sources,
    file_facts,
    group_slices,
    triplet_schema,
    write_part,
)
from miner.runs.staging import Staging
from miner.runs.tables import PROMOTED, write_promoted
from miner.storage.files import storage_errors
from miner.storage.json_files import read_json, write_json
from miner.triplets.hardness import OutputFolder, difficulty

__all__ = ["ShardSlice", "ShardWriter", "UnitFile", "read_unit_file", "rows_dropped", "seal_shards"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class UnitFile:
    """A file with the records of one folder, `TRIPLET` or, with a teacher's scores, `SCORED`."""

    path: str
    rows: int
    scored: bool = False

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the records."""
        return SCORED if self.scored else TRIPLET


@dataclass(frozen=True, slots=True)
class ShardSlice:
    """A shard to write: rows ``start`` to ``start + rows`` (exclusive) of a folder."""

    folder: OutputFolder
    number: int
    start: int
    rows: int

    @property
    def name(self) -> str:
        """The path of the shard in the run."""
        return f"{self.folder}/part-{self.number:05d}.parquet"


@dataclass(frozen=True, slots=True)
class ShardWriter:
    """Writes shards, in a worker.

    Attributes
    ----------
    store, run, work : str
        Folders of the embedding store, of the staged run, and of the lists of unit files.
    texts : bool
        Whether shards contain the texts.
    metadata : dict of str
        Metadata of the Parquet schema; `difficulty` is added.
    scored : tuple of str
        The folders whose shards have the scores of a teacher.
    listed : str or None
        The folder of the candidates that negatives were drawn from; see `Listed`.
    sources : tuple of str
        The names of who proposed candidates.
    """

    store: str
    run: str
    work: str
    texts: bool
    metadata: dict[str, str]
    scored: tuple[OutputFolder, ...] = ()
    listed: str | None = None
    sources: tuple[str, ...] = ()

    def save_list(self, folder: OutputFolder, unit_files: list[UnitFile]) -> None:
        """Save the list of a folder's unit files for the workers: there may be thousands."""
        write_json(self._list_path(folder), [astuple(unit_file) for unit_file in unit_files])

    def _list_path(self, folder: OutputFolder) -> Path:
        return Path(self.work) / f"pieces-{folder}.json"

    def write(self, part: ShardSlice) -> dict[str, Any]:
        """Write one shard; return its facts for the manifest."""
        sides = self._sides()
        metadata = {**self.metadata, "difficulty": difficulty(part.folder)}
        schema = triplet_schema(sides, metadata, scored=part.folder in self.scored)
        path = Path(self.run) / part.name
        mine = [UnitFile(*unit_file) for unit_file in read_json(self._list_path(part.folder))]
        groups = (
            _records(mine, part.start + first, last - first)
            for first, last in group_slices(part.rows)
        )
        write_part(path, schema, sides, groups)
        return file_facts(path, Path(self.run), part.rows)

    def write_promoted(self, records: NDArray[np.void]) -> dict[str, Any]:
        """Write the pairs that the teacher promoted; return the facts of the table."""
        path = Path(self.run) / PROMOTED
        write_promoted(path, self._sides(), records)
        return file_facts(path, Path(self.run), len(records))

    def _sides(self) -> Sides:
        store = open_store(Path(self.store))
        if store is None:
            raise StorageError(f"{self.store} is gone; run the same command again")
        rows = store.row_side
        texts = (store.texts(0), store.texts(rows)) if self.texts else (None, None)
        sources = None
        if self.listed is not None:
            listed = Listed.open(Path(self.listed), store.facts["rows"][-1])
            sources = Sources(self.sources, listed.masks)
        return Sides(store.ids(0), store.ids(rows), *texts, sources)


def rows_dropped(
    before: Mapping[OutputFolder, list[UnitFile]], after: Mapping[OutputFolder, list[UnitFile]]
) -> dict[OutputFolder, int]:
    """Return the number of rows that a pass over the unit files dropped, per folder."""
    return {
        name: sum(unit_file.rows for unit_file in before[name])
        - sum(unit_file.rows for unit_file in after[name])
        for name in before
    }


def read_unit_file(unit_file: UnitFile, chunk: int) -> Iterator[NDArray[np.void]]:
    """Yield the records of a unit file in chunks of `chunk` records."""
    for start in range(0, unit_file.rows, chunk):
        yield _records([unit_file], start, min(chunk, unit_file.rows - start))


def _records(unit_files: list[UnitFile], start: int, rows: int) -> NDArray[np.void]:
    """Return `rows` records of a class from position `start`, across its unit files."""
    dtype = unit_files[0].dtype if unit_files else TRIPLET
    parts = []
    for unit_file in unit_files:
        if start < unit_file.rows and rows > 0:
            count = min(rows, unit_file.rows - start)
            with storage_errors(Path(unit_file.path)):
                offset = start * dtype.itemsize
                parts.append(np.fromfile(unit_file.path, dtype, count, offset=offset))
            rows -= count
            start = 0
        else:
            start -= min(start, unit_file.rows)
    return np.concatenate(parts) if parts else np.empty(0, dtype)


def _cut(unit_files: Mapping[OutputFolder, list[UnitFile]]) -> Iterator[ShardSlice]:
    """Yield the shards of each folder; an empty folder has one empty shard."""
    for folder in unit_files:
        total = sum(unit_file.rows for unit_file in unit_files[folder])
        for number, start in enumerate(range(0, max(total, 1), PART_ROWS)):
            yield ShardSlice(folder, number, start, min(PART_ROWS, total - start))


def seal_shards(
    writer: ShardWriter,
    staging: Staging,
    engine: Engine,
    unit_files: Mapping[OutputFolder, list[UnitFile]],
    progress: Progress,
) -> list[dict[str, Any]]:
    """Write the shards that do not exist yet; return the facts of all shards, in order."""
    parts = list(_cut(unit_files))
    names = {part: f"seal-{part.folder}-{part.number:05d}" for part in parts}
    sealed = {part: staging.recorded(name) for part, name in names.items()}
    pending = [part for part, record in sealed.items() if record is None]
    total = sum(part.rows for part in parts)
    done = total - sum(part.rows for part in pending)
    progress("sealing", done, total)
    for folder in {part.folder for part in pending}:
        writer.save_list(folder, unit_files[folder])
    for unit in engine.each(functools.partial(_seal, writer), pending):
        part, facts = unit.result
        record = {"facts": facts, "files": {f"run/{part.name}": facts["sha256"]}}
        staging.record(names[part], record)
        sealed[part] = record
        logged = {"unit": part.name, "rows": part.rows, "seconds": round(unit.seconds, 3)}
        _log.info("unit_done", extra={"facts": {"stage": "sealing", **logged}})
        done += part.rows
        progress("sealing", done, total)
    return [record["facts"] for record in sealed.values() if record is not None]


def _seal(writer: ShardWriter, part: ShardSlice) -> tuple[ShardSlice, dict[str, Any]]:
    """Write one shard, in a worker."""
    return part, writer.write(part)
