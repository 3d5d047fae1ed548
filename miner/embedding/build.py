"""Build an embedding store: try the model, scan the data, embed missing rows, write vectors."""

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
from miner.embedding.cache import Digests, VectorCache, open_generation
from miner.embedding.model_identity import CANARY_ROWS
from miner.embedding.probed_vectors import ProbedVectors, check_unchanged
from miner.embedding.recipe import EmbeddingRecipe, StoreKey
from miner.embedding.store import Store, sound_store, store_errors
from miner.errors import DamageError, DataError, StorageError
from miner.formatting import counted
from miner.progress import Progress, warn_damaged
from miner.storage.arrays import save_array
from miner.storage.files import atomic_open, publish_folder, sha256_file, storage_errors
from miner.storage.json_files import digest
from miner.storage.records import check_files, checksums, read_record, write_record
from miner.triplets.distance import normalize_rows
from miner.triplets.types import Float32, Rows

__all__ = ["prepare_store"]

_CHUNK = 256  # rows normalised at once, few enough for a CPU's cache
_READ_ROWS, _READ_BYTES = 1 << 14, 16 << 20  # read from the vector cache at once
_REPAIRS = 3
_SCAN, _COUNTS = "scan.npz", "counts"


def prepare_store(
    root: Path, key: StoreKey, recipe: EmbeddingRecipe, progress: Progress
) -> tuple[Store, dict[str, Any]]:
    """Return the store of a key; build it if it does not exist or is damaged.

    Returns
    -------
    Store
    dict
        For the manifest. ``rows``: number of items; ``computed``: items whose vectors were made
        now; ``reused``: the others; ``embedded``: contents that the model embedded (equal contents
        count once); ``zero_vectors``; ``batch_size``: smaller than in the job if the model ran
        out of memory; ``seconds``.
    """
    began = time.perf_counter()
    store, maker = sound_store(root / key.name), _Maker(root, key, recipe, progress)
    if store is None:
        try:
            store = maker.make()
        finally:
            recipe.model.model.close()
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
    """Builds one store."""

    def __init__(
        self, root: Path, key: StoreKey, recipe: EmbeddingRecipe, progress: Progress
    ) -> None:
        self.root, self.key, self.recipe, self.progress = root, key, recipe, progress
        self.folder = root / f".{key.name}.partial"
        self.rows: list[Rows] = []  # per table: used row numbers; below, their digests
        self.digests: list[Digests] = []
        self.chosen: Rows | None = None
        self.reused = self.embedded = self.zeros = 0
        self.tried: dict[int, Digests] = {}
        self.batch_size = recipe.batch_size
        self.dim: int | None = None
        two = len(recipe.source.sides) == 2
        self.stages = ("embedding queries", "embedding corpus") if two else ("embedding",)

    def _check_files(self) -> None:
        """Raise a `DataError` if a file of the data changed while it was read."""
        for path, expected in zip(self.recipe.source.files, self.key.files, strict=True):
            if not path.exists():
                raise DataError(f"{path} was removed during the run; put it back and run again")
            if sha256_file(path) != expected["sha256"]:
                raise DataError(
                    f"{path} changed as it was read; run the same command again when it is whole"
                )

    def make(self) -> Store:
        """Run all stages; return the published store."""
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
            if (final / _COUNTS).exists():  # still valid: counts are found by a store's checksums
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

    def _generation(self, number: int) -> VectorCache:
        """Open the cached vectors of the model, in the role and with the prompt of a side."""
        identity = self.key.identity
        facts = self.recipe.generation(number, identity)
        return open_generation(self.recipe.cache, facts, identity.facts["id"])

    def _try_model(self) -> None:
        """Embed a few rows of each side before the long work, and cache their vectors."""
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
                if vectors is None:  # the vectors of the identity are the probe itself
                    vectors, probe = embedder.embed(sample, rows), identity.probe
                embedder.check(vectors, rows)
                kept = ProbedVectors(generation, self.recipe.model, probe)
                kept.append(digests, vectors)
                kept.confirm()
            self.tried[number] = digests
            self.embedded += len(sample)

    def _scan(self) -> Any:
        """Return the record of the scan; scan the data unless an interrupted run has done so."""
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
        self._check_files()  # else a resumed run would use the scan of changed data
        names = sorted(path.name for path in partial.iterdir())
        record = {"dataset": scanned.facts, "files": checksums(partial, names)}
        write_record(partial / "scan.json", record)
        return record

    def _straight(self, number: int) -> None:
        """Embed a side and write its vectors without the cache, for models that are cheap."""
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
        """Embed the contents that the cache lacks, then write the vectors of all rows in order."""
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
                    f"{generation.folder}: the vectors of {counted(len(todo), 'row')} are "
                    "damaged; they are computed again"
                )
        raise StorageError(f"{generation.folder}: vectors cannot be read back; remove the folder")

    def _embed(self, number: int, generation: VectorCache, todo: Rows, *, again: bool) -> None:
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

    def _write(self, generation: VectorCache, digests: Digests, target: Path) -> Rows:
        """Write a side's vectors; return the rows whose cached vectors are missing or damaged."""
        lost, zeros = [], self.zeros
        step = min(_READ_ROWS, max(_CHUNK, _READ_BYTES // (8 * (self.dim or 1))))
        with atomic_open(target) as file:
            for start in range(0, len(digests), step):
                part = digests[start : start + step]
                vectors, whole = generation.read(part, generation.find(part))
                lost.append(start + np.flatnonzero(~whole))
                vectors[~whole] = 0  # damaged ones may be infinite or not a number
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
        """Rename the vectors of all rows to side 1; write the chosen anchors' vectors as side 0."""
        assert self.dim is not None
        anchors, rows = self.folder / "vectors-0.f32", self.folder / "vectors-1.f32"
        anchors.replace(rows)
        every = np.memmap(rows, "<f4", "r", shape=(count, self.dim))
        with atomic_open(anchors) as file:
            for start in range(0, len(chosen), _CHUNK):
                file.write(every[chosen[start : start + _CHUNK]].data)


def _todo(stem: Path, digests: Digests, there: NDArray[np.bool_]) -> Rows:
    """Return the rows to embed, one per distinct content; reuse an interrupted run's rows."""
    path, record = stem.with_suffix(".npy"), stem.with_suffix(".json")
    if _recorded(record) is not None:
        saved: Rows = np.load(path, allow_pickle=False)
        return saved
    missing = np.flatnonzero(~there)
    _, first = np.unique(digests[missing], return_index=True)
    todo: Rows = missing[np.sort(first)]
    save_array(path, todo)
    write_record(record, {"files": checksums(path.parent, [path.name])})
    return todo


def _recorded(path: Path) -> dict[str, Any] | None:
    """Return a record if its files match their checksums; None if it is missing or damaged."""
    if not path.exists():
        return None
    try:
        record = read_record(path)
        check_files(path.parent, record["files"])
    except DamageError as error:
        warn_damaged(f"{error}; what an interrupted run prepared is made again")
        return None
    return record


def _clear(folder: Path) -> None:
    """Remove the files of a damaged store, ``store.json`` first; keep its folder of counts."""
    (folder / "store.json").unlink(missing_ok=True)
    for path in folder.glob("*"):
        if not path.is_dir():
            path.unlink()
