"""The embedding store: a data set read, checked, embedded and kept, under a key of its content.

A store is a folder: ``vectors-K.f32`` (stored rows, float32, of side K), ``ids-K.arrow``,
``texts-K.arrow``, ``relevance.npz``, and ``store.json``, written last: a folder without it does
not count. Its key is made from the checksums of the data, the columns, the model's weights and the
normalisation, so that another margin finds it again and a retrained model does not.
"""

from __future__ import annotations

import shutil
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miner.datasets.scan import Side
from miner.datasets.source import Scanned, Source
from miner.datasets.spool import Spool
from miner.distance import Float32, normalize_rows
from miner.errors import DataError, StorageError
from miner.models.base import LoadedModel
from miner.relevance import Relevance, load
from miner.storage import (
    atomic_open,
    digest,
    publish_folder,
    read_json,
    sha256_file,
    storage_errors,
    write_json,
)

__all__ = ["Progress", "Store", "StoreKey", "open_store", "prepare_store"]

Progress = Callable[[str, int, int], None]
"""Called with a stage's name, what is done, and the total."""

_VERSION = 3
_CANARY_ROWS = 8


@dataclass(frozen=True, slots=True)
class StoreKey:
    """What a store is made of.

    Attributes
    ----------
    files : list of dict
        Path, bytes and SHA-256 of the data's files.
    model : dict
        Name, weights and options of the model.
    facts : dict
        Everything that the key is the digest of; no paths.
    """

    files: list[dict[str, Any]]
    model: dict[str, Any]
    facts: dict[str, Any]

    @property
    def name(self) -> str:
        """The store's folder name."""
        return digest(self.facts)[:24]

    @classmethod
    def of(cls, source: Source, model: LoadedModel, *, normalize: bool, texts: bool) -> StoreKey:
        """Read the data's checksums and the model's identity."""
        files = [
            {"path": str(file), "bytes": file.stat().st_size, "sha256": sha256_file(file)}
            for file in source.files
        ]
        first = next(source.sides[0].values(), None)
        if first is None:
            raise DataError(
                f"{source.sides[0].table.where} is empty: it has no rows; check its file"
            )
        identity = model.identity(first[:_CANARY_ROWS])
        facts = {
            "version": _VERSION,
            "files": [file["sha256"] for file in files],
            "roles": source.roles(),
            "links": list(source.link_columns),
            "model": identity,
            "normalize": normalize,
            "texts": texts,
        }
        return cls(files, identity, facts)


@contextmanager
def _store_errors(path: Path) -> Iterator[None]:
    """Turn what a damaged file of a store leads to into a `StorageError` that names it."""
    try:
        with storage_errors(path):
            yield
    except (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise StorageError(
            f"{path} is damaged ({error}); remove {path.parent} and run the job again"
        ) from error


@dataclass(frozen=True, slots=True)
class Store:
    """A finished store."""

    folder: Path
    facts: dict[str, Any]

    @property
    def dim(self) -> int:
        """The dimensions of a stored row."""
        return int(self.facts["dim"])

    def vectors(self, side: int) -> Float32:
        """Return a side's stored rows, memory-mapped, shape (rows, dim)."""
        rows = self.facts["rows"][side]
        path = self.folder / f"vectors-{side}.f32"
        with _store_errors(path):
            mapped = np.memmap(path, dtype="<f4", mode="r", shape=(rows, self.dim))
        return np.asarray(mapped)

    @property
    def row_side(self) -> int:
        """The side that holds the rows; the anchors are side 0."""
        return len(self.facts["rows"]) - 1

    def chunks(self, side: int, rows: int = 65536) -> Iterator[Float32]:
        """Read a side's stored rows a chunk at a time, without mapping them."""
        path = self.folder / f"vectors-{side}.f32"
        with storage_errors(path), path.open("rb") as file:
            while True:
                flat = np.fromfile(file, dtype="<f4", count=rows * self.dim)
                if not len(flat):
                    return
                yield flat.reshape(-1, self.dim)

    def relevance(self) -> Relevance:
        """Return who is relevant to whom."""
        path = self.folder / "relevance.npz"
        with _store_errors(path), path.open("rb") as file, np.load(file) as arrays:
            return load(dict(arrays))

    def ids(self, side: int) -> Spool:
        """Return a side's ids."""
        path = self.folder / f"ids-{side}.arrow"
        with _store_errors(path):
            return Spool(path)

    def texts(self, side: int) -> Spool | None:
        """Return a side's texts, None when they were not kept."""
        path = self.folder / f"texts-{side}.arrow"
        return Spool(path) if path.exists() else None


def open_store(folder: Path) -> Store | None:
    """Open a store; None when there is none, or an unfinished one."""
    if not (folder / "store.json").exists():
        return None
    return Store(folder, read_json(folder / "store.json"))


def prepare_store(
    root: Path,
    key: StoreKey,
    source: Source,
    model: LoadedModel,
    *,
    normalize: bool,
    texts: bool,
    batch_size: int,
    progress: Progress,
) -> tuple[Store, dict[str, Any]]:
    """Find the store of a key, or make it: scan the data, then embed it.

    Returns
    -------
    Store
    dict
        ``rows``, ``computed``, ``reused``, ``zero_vectors``, ``seconds``, for the manifest.
    """
    began = time.perf_counter()
    final = root / key.name
    store = open_store(final)
    computed = 0
    if store is None:
        partial = root / f".{key.name}.partial"
        with storage_errors(root):
            shutil.rmtree(partial, ignore_errors=True)
            shutil.rmtree(final, ignore_errors=True)
            partial.mkdir(parents=True)
        progress("reading", 0, 0)
        scanned = source.scan(partial, texts=texts and source.kind == "text")
        dims, rows, zeros = _embed(partial, source, scanned, model, normalize, batch_size, progress)
        facts = {**key.facts, "key": digest(key.facts), "dim": dims, "rows": rows, "zeros": zeros}
        with atomic_open(partial / "relevance.npz") as file:
            np.savez(file, allow_pickle=False, **scanned.relevance.arrays())
        write_json(partial / "store.json", {**facts, "dataset": scanned.facts})
        publish_folder(partial, final)
        store = Store(final, read_json(final / "store.json"))
        computed = sum(rows)
    total = sum(store.facts["rows"])
    return store, {
        "rows": total,
        "computed": computed,
        "reused": total - computed,
        "zero_vectors": store.facts["zeros"],
        "seconds": round(time.perf_counter() - began, 3),
    }


def _embed(
    folder: Path,
    source: Source,
    scanned: Scanned,
    model: LoadedModel,
    normalize: bool,
    batch_size: int,
    progress: Progress,
) -> tuple[int, list[int], int]:
    """Embed all sides; return the dimension, the rows of each, and how many are zero."""
    keeps = [np.flatnonzero(keep) if keep is not None else None for keep in scanned.keep]
    dim: int | None = None
    rows, zeros = [], 0
    stages = ("embedding",) if len(source.sides) == 1 else ("embedding queries", "embedding corpus")
    totals = (scanned.relevance.anchors, scanned.relevance.rows)[-len(source.sides) :]
    for number, side in enumerate(source.sides):
        writer = _SideWriter(side, model, normalize, dim, keeps[number])
        with atomic_open(folder / f"vectors-{number}.f32") as file:
            for batch in _rebatch(side.values(scanned.keep[number]), batch_size):
                file.write(writer.embed(batch).tobytes())
                progress(stages[number], writer.done, totals[number])
        dim = writer.dim
        rows.append(writer.done)
        zeros += writer.zeros
    assert dim is not None  # a side without rows is refused by the scan
    return dim, rows, zeros


def _rebatch(
    batches: Iterator[list[str] | NDArray[np.floating]], size: int
) -> Iterator[Sequence[str] | NDArray[np.floating]]:
    for batch in batches:
        for start in range(0, len(batch), size):
            yield batch[start : start + size]


@dataclass(slots=True)
class _SideWriter:
    """Turns batches of one side into stored rows, checking what the model returns."""

    side: Side
    model: LoadedModel
    normalize: bool
    dim: int | None
    rows: NDArray[np.int64] | None
    done: int = 0
    zeros: int = 0

    def embed(self, batch: Sequence[str] | NDArray[np.floating]) -> Float32:
        vectors = self.model.embed(batch)
        if self.dim is None:
            self.dim = vectors.shape[1]
        if vectors.shape[1] != self.dim or self.dim == 0:
            raise DataError(
                f"model {self.model.name!r} returned {vectors.shape[1]} dimensions for "
                f"{self._row(0)}, and {self.dim} before"
            )
        with np.errstate(over="ignore"):
            narrow = np.ascontiguousarray(vectors, dtype="<f4")
        bad = np.flatnonzero(~np.isfinite(narrow).all(axis=1))
        if len(bad):
            raise DataError(
                f"{self._row(int(bad[0]))}: the vector holds NaN, an infinite number, or one too "
                f"large for float32 (model {self.model.name!r})"
            )
        self.done += len(batch)
        self.zeros += int((~narrow.any(axis=1)).sum())
        return normalize_rows(vectors) if self.normalize else narrow

    def _row(self, position: int) -> str:
        place = self.done + position
        row = place if self.rows is None else int(self.rows[place])
        return f"{self.side.table.where}, row {row}"
