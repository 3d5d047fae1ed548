"""Making an embedding store: try the model, scan the data, embed what is missing, put in order."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miner.datasets.content import content_digests
from miner.embedding.batches import Embedder, embed_missing
from miner.embedding.cache import Digests, Generation, open_generation
from miner.embedding.model_identity import CANARY_ROWS
from miner.embedding.probed_vectors import ProbedVectors, check_unchanged
from miner.embedding.recipe import Recipe, StoreKey
from miner.embedding.store import Store, sound_store, store_errors
from miner.errors import DamageError, DataError, StorageError
from miner.progress import Progress, warn_damaged
from miner.storage.arrays import save_array
from miner.storage.files import atomic_open, publish_folder, sha256_file, storage_errors
from miner.storage.json_files import digest
from miner.storage.records import check_files, checksums, read_record, write_record
from miner.triplets.distance import normalize_rows
from miner.triplets.types import Float32, Rows

__all__ = ["prepare_store"]

_CHUNK = 256  # rows that are normalised at once: they stay in a CPU's cache
_READ_ROWS, _READ_BYTES = 1 << 14, 16 << 20  # of the cache at once: batches by length lie apart
_REPAIRS = 3
_SCAN, _COUNTS = "scan.npz", "counts"


def prepare_store(
    root: Path, key: StoreKey, recipe: Recipe, progress: Progress
) -> tuple[Store, dict[str, Any]]:
    """Find the store of a key, or make it.

    Returns
    -------
    Store
    dict
        For the manifest: ``rows``; ``computed``, those whose vectors were made now, and
        ``reused``, the others; ``embedded``, how many contents went through the model (equal ones
        do once); ``zero_vectors``; ``batch_size``, smaller than the job's when the model ran out
        of memory; ``seconds``.
    """
    began = time.perf_counter()
    store, maker = sound_store(root / key.name), _Maker(root, key, recipe, progress)
    if store is None:
        store = maker.make()
    else:
        os.utime(store.folder / "store.json")  # the time of the last use, for `keep_within`
        maker.reused = store.facts["items"]
    rows = store.facts["items"]
    return store, {
        "rows": rows,
        "computed": rows - maker.reused,
        "reused": maker.reused,
        "embedded": maker.embedded,
        "zero_vectors": store.facts["zeros"],
        "batch_size": maker.batch_size,
        "seconds": round(time.perf_counter() - began, 3),
    }


class _Maker:
    """Makes one store."""

    def __init__(self, root: Path, key: StoreKey, recipe: Recipe, progress: Progress) -> None:
        self.root, self.key, self.recipe, self.progress = root, key, recipe, progress
        self.folder = root / f".{key.name}.partial"
        self.rows: list[Rows] = []  # of the files, per table, and the digests of their contents
        self.digests: list[Digests] = []
        self.chosen: Rows | None = None
        self.reused = self.embedded = self.zeros = 0
        self.tried: dict[int, Digests] = {}
        self.batch_size = recipe.batch_size
        self.dim: int | None = None
        two = len(recipe.source.sides) == 2
        self.stages = ("embedding queries", "embedding corpus") if two else ("embedding",)

    def _check_files(self) -> None:
        """Hold the data's files against their checksums, now that they are read."""
        for path, told in zip(self.recipe.source.files, self.key.files, strict=True):
            if not path.exists():
                raise DataError(f"{path} is gone since the run began; put it back and run again")
            if sha256_file(path) != told["sha256"]:
                raise DataError(
                    f"{path} changed as it was read; run the same command again when it is whole"
                )

    def make(self) -> Store:
        """Go through the stages; return the published store."""
        final, partial = self.root / self.key.name, self.folder
        with storage_errors(self.root):
            _clear(final)
            partial.mkdir(parents=True, exist_ok=True)
        self._try_model()
        scanned = self._scan()
        make = self._from_cache if self.recipe.model.model.cached else self._straight
        for number in range(len(self.recipe.source.sides)):
            make(number)
        counts = [len(rows) for rows in self.rows]
        rows = counts
        if self.chosen is not None:
            rows = [len(self.chosen), *counts]
            self._split_anchors(self.chosen, counts[0])
        vectors = (f"vectors-{side}.f32" for side in range(len(rows)))
        facts = {
            **self.key.facts,
            "key": digest(self.key.facts),
            "dim": self.dim,
            "rows": rows,
            "items": sum(counts),
            "zeros": self.zeros,
            "dataset": scanned["dataset"],
            "files": {**scanned["files"], **checksums(partial, vectors)},
        }
        del facts["files"][_SCAN]
        for helper in [*partial.glob("todo-*"), partial / _SCAN, partial / "scan.json"]:
            helper.unlink(missing_ok=True)
        self._check_files()
        write_record(partial / "store.json", facts)
        with storage_errors(final):
            if (final / _COUNTS).exists():  # of a damaged store: they are found by its checksums
                (final / _COUNTS).rename(partial / _COUNTS)
            shutil.rmtree(final, ignore_errors=True)
        publish_folder(partial, final)
        return Store(final, read_record(final / "store.json"))

    def _embedder(self, number: int) -> Embedder:
        recipe = self.recipe
        return Embedder(
            recipe.model,
            recipe.source.sides[number].table.where,
            recipe.role(number),
            recipe.prompts[number],
            self.batch_size,
            self.dim,
        )

    def _generation(self, number: int) -> Generation:
        """Open the vectors of a side's kind of row."""
        identity = self.key.identity
        facts = self.recipe.generation(number, identity)
        return open_generation(self.recipe.cache, facts, identity.facts["id"])

    def _try_model(self) -> None:
        """Embed a handful of rows of each side before the long haul; keep their vectors."""
        for number, side in enumerate(self.recipe.source.sides):
            rows, sample = side.sample(CANARY_ROWS)
            embedder = self._embedder(number)
            if not self.recipe.model.model.cached:
                embedder.embed(sample, rows)
                continue
            digests = content_digests(sample)
            with self._generation(number) as generation:
                if (generation.find(digests)[:, 0] >= 0).all():
                    continue
                identity = self.key.identity
                vectors, probe = identity.vectors if number == 0 else None, None
                if vectors is None:  # those of the identity are what a probe is compared with
                    vectors, probe = embedder.embed(sample, rows), identity.probe
                embedder.check(vectors, rows)
                kept = ProbedVectors(generation, self.recipe.model, probe)
                kept.append(digests, vectors)
                kept.confirm()
            self.tried[number] = digests
            self.embedded += len(sample)

    def _scan(self) -> Any:
        """Scan the data, or take what a run that died has scanned; return the scan's record."""
        partial, sides = self.folder, range(len(self.recipe.source.sides))
        record = _recorded(partial / "scan.json")
        if record is None:
            with storage_errors(partial):
                shutil.rmtree(partial)
                partial.mkdir()
            record = self._fresh_scan(partial)
        with store_errors(partial / _SCAN):
            with np.load(partial / _SCAN, allow_pickle=False) as arrays:
                self.rows = [arrays[f"rows_{number}"] for number in sides]
                if self.recipe.model.model.cached:
                    self.digests = [arrays[f"digests_{number}"] for number in sides]
                self.chosen = arrays.get("chosen")
        return record

    def _fresh_scan(self, partial: Path) -> dict[str, Any]:
        self.progress("reading", 0, 0)
        texts = self.recipe.texts and self.recipe.source.kind == "text"
        scanned = self.recipe.source.scan(partial, texts=texts)
        with atomic_open(partial / "relevance.npz") as file:
            np.savez(file, allow_pickle=False, **scanned.relevance.arrays())
        arrays: dict[str, NDArray[Any]] = {
            f"rows_{number}": rows for number, rows in enumerate(scanned.rows)
        }
        if self.recipe.model.model.cached:
            for number, digests in enumerate(scanned.digests):
                if digests is not None:
                    arrays[f"digests_{number}"] = digests
        if scanned.chosen is not None:
            arrays["chosen"] = scanned.chosen
        with atomic_open(partial / _SCAN) as file:
            np.savez(file, allow_pickle=False, **arrays)
        self._check_files()  # of other data, it would be taken for this by the run that goes on
        names = sorted(path.name for path in partial.iterdir())
        record = {"dataset": scanned.facts, "files": checksums(partial, names)}
        write_record(partial / "scan.json", record)
        return record

    def _straight(self, number: int) -> None:
        """Write vectors that are not worth a cache as they come from the model."""
        embedder, rows = self._embedder(number), self.rows[number]
        done = 0
        with atomic_open(self.folder / f"vectors-{number}.f32") as file:
            for values in self.recipe.source.sides[number].values(rows):
                for start in range(0, len(values), self.batch_size):
                    batch = values[start : start + self.batch_size]
                    vectors = embedder.embed(batch, rows[done : done + len(batch)])
                    file.write(self._stored(vectors).data)
                    done += len(batch)
                    self.progress(self.stages[number], done, len(rows))
            if self.key.identity.probe is not None:
                check_unchanged(self.recipe.model, self.key.identity.probe, done, done)
        self.dim, self.embedded = embedder.dim, self.embedded + done

    def _from_cache(self, number: int) -> None:
        """Embed what the cache has not, then write all in the order of the rows."""
        digests = self.digests[number]
        with self._generation(number) as generation:
            self.dim = self.dim or generation.dim
            there = generation.find(digests)[:, 0] >= 0
            tried = self.tried.get(number, digests[:0])
            self.reused += int((there & ~np.isin(digests, tried)).sum())
            todo = _todo(self.folder / f"todo-{number}", digests, there)
            for attempt in range(_REPAIRS):
                if len(todo):
                    self._embed(number, generation, todo, again=attempt > 0)
                generation.refresh()
                todo = self._write(generation, digests, self.folder / f"vectors-{number}.f32")
                if not len(todo):
                    return
                warn_damaged(
                    f"{generation.folder}: the vectors of {len(todo)} rows are damaged; they are "
                    "made again"
                )
        raise StorageError(f"{generation.folder}: vectors cannot be read back; remove the folder")

    def _embed(self, number: int, generation: Generation, todo: Rows, *, again: bool) -> None:
        side, embedder = self.recipe.source.sides[number], self._embedder(number)
        rows, digests = self.rows[number][todo], self.digests[number][todo]

        def done(rows: int) -> None:
            self.progress(self.stages[number], rows, len(todo))

        done(0)
        probe = self.key.identity.probe
        self.embedded += embed_missing(
            embedder, side, generation, rows, digests, done, probe=probe, again=again
        )
        self.batch_size = embedder.batch_size
        self.dim = self.dim or embedder.dim or generation.dim

    def _write(self, generation: Generation, digests: Digests, target: Path) -> Rows:
        """Write a side's stored rows; return the rows that the cache could not give."""
        lost, zeros = [], self.zeros
        step = min(_READ_ROWS, max(_CHUNK, _READ_BYTES // (8 * (self.dim or 1))))
        with atomic_open(target) as file:
            for start in range(0, len(digests), step):
                part = digests[start : start + step]
                vectors, whole = generation.read(part, generation.find(part))
                lost.append(start + np.flatnonzero(~whole))
                for cut in range(0, len(part), _CHUNK):
                    file.write(self._stored(vectors[cut : cut + _CHUNK]).data)
        missing: Rows = np.concatenate(lost)
        if len(missing):
            self.zeros = zeros
        return missing

    def _stored(self, vectors: NDArray[np.floating]) -> Float32:
        narrow = np.ascontiguousarray(vectors, dtype="<f4")
        self.zeros += int((~narrow.any(axis=1)).sum())
        return normalize_rows(vectors) if self.recipe.normalize else narrow

    def _split_anchors(self, chosen: Rows, count: int) -> None:
        """Make the vectors of all rows side 1, and those of the chosen anchors side 0."""
        assert self.dim is not None
        anchors, rows = self.folder / "vectors-0.f32", self.folder / "vectors-1.f32"
        anchors.replace(rows)
        every = np.memmap(rows, "<f4", "r", shape=(count, self.dim))
        with atomic_open(anchors) as file:
            for start in range(0, len(chosen), _CHUNK):
                file.write(every[chosen[start : start + _CHUNK]].data)


def _todo(stem: Path, digests: Digests, there: NDArray[np.bool_]) -> Rows:
    """Return the rows to embed, each content once; those that a run which died had set out with."""
    path, told = stem.with_suffix(".npy"), stem.with_suffix(".json")
    if _recorded(told) is not None:
        saved: Rows = np.load(path, allow_pickle=False)
        return saved
    missing = np.flatnonzero(~there)
    _, first = np.unique(digests[missing], return_index=True)
    todo: Rows = missing[np.sort(first)]
    save_array(path, todo)
    write_record(told, {"files": checksums(path.parent, [path.name])})
    return todo


def _recorded(path: Path) -> dict[str, Any] | None:
    """Return a record whose files are whole; None where there is none, or a damaged one."""
    if not path.exists():
        return None
    try:
        record = read_record(path)
        check_files(path.parent, record["files"])
    except DamageError as error:
        warn_damaged(f"{error}; what a run that died had prepared is made again")
        return None
    return record


def _clear(folder: Path) -> None:
    """Remove the files of a damaged store, first that which makes it one; its counts stay."""
    (folder / "store.json").unlink(missing_ok=True)
    for path in folder.glob("*"):
        if not path.is_dir():
            path.unlink()
