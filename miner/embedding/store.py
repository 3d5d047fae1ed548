"""The embedding store: a data set read, checked, embedded and kept, under a key of its content.

A store is a folder: ``vectors-K.f32`` (stored rows, float32, of side K), ``ids-K.arrow``,
``texts-K.arrow``, ``labels.arrow`` (the value of each label), ``relevance.npz``; ``store.json`` is
written last, with the checksums of these files and its own: a folder without it does not count. The
key is made from the checksums of the data, the columns, the model's weights and the normalisation,
so that another margin finds it again and a retrained model does not.

The files are held against their checksums once a start, by `check_store`; workers open a store that
was checked. The checksums are SHA-256, because what was counted of a store is found by them too
(`miner.pipeline.count_cache`): 0.4 s for 512 MB on a processor with instructions for it.

The vectors come out of the cache of `miner.embedding.cache`, so that of a data set that grew, or of
a run that died, only what is missing is embedded. What a dead run has scanned is kept in
``.KEY.partial``, with the rows it set out to embed, and used again.
"""

from __future__ import annotations

import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from miner.datasets.column_store import Spool
from miner.errors import DamageError, StorageError
from miner.progress import warn_damaged
from miner.storage.arrays import load_arrays
from miner.storage.files import storage_errors
from miner.storage.json_files import digest, read_json
from miner.storage.records import check_files, checked_record
from miner.triplets.relevance import Relevance, load
from miner.triplets.types import Float32

__all__ = ["Store", "check_store", "open_store", "sound_store", "store_errors"]

_CHUNK_BYTES = 8 << 20
_CHECKED = 6
"""The first version of stores that carry checksums."""
_MOST = 1 << 48
"""Beyond all rows and dimensions."""
_DAMAGE = (
    *(ValueError, KeyError, TypeError, IndexError, OverflowError, EOFError, MemoryError),
    *(RuntimeError, SyntaxError, zipfile.BadZipFile, zlib.error, struct.error, tokenize.TokenError),
)
"""What NumPy, `zipfile` and Arrow raise on files that are not as they were written."""


@contextmanager
def store_errors(path: Path) -> Iterator[None]:
    """Turn what a damaged file of a store leads to into a `StorageError` that names it."""
    try:
        with storage_errors(path):
            yield
    except _DAMAGE as error:
        raise StorageError(
            f"{path} is damaged ({error}); remove {path.parent} and run the job again"
        ) from error


_MAPPED: WeakValueDictionary[tuple[Any, ...], NDArray[np.float32]] = WeakValueDictionary()
_MAPPING = Lock()


def _mapped(path: Path, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Map a file once a process: each mapping of it would count as memory of its own."""
    status = path.stat()
    key = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, *shape)
    with _MAPPING:
        mapped = _MAPPED.get(key)
        if mapped is None:
            mapped = _MAPPED[key] = np.memmap(path, dtype="<f4", mode="r", shape=shape)
        return mapped


@dataclass(frozen=True, slots=True)
class Store:
    """A finished store."""

    folder: Path
    facts: dict[str, Any]

    @property
    def checksum(self) -> str:
        """The digest of all that the store holds."""
        return digest(self.facts)

    @property
    def dim(self) -> int:
        """The dimensions of a stored row."""
        return int(self.facts["dim"])

    def vectors(self, side: int) -> Float32:
        """Return a side's stored rows, memory-mapped, shape (rows, dim)."""
        rows = self.facts["rows"][side]
        path = self.folder / f"vectors-{side}.f32"
        with store_errors(path):
            return np.asarray(_mapped(path, (rows, self.dim)))

    @property
    def row_side(self) -> int:
        """The side that holds the rows; the anchors are side 0."""
        return len(self.facts["rows"]) - 1

    def chunks(self, side: int) -> Iterator[Float32]:
        """Read a side's stored rows a chunk at a time, without mapping them."""
        rows = max(1, _CHUNK_BYTES // (4 * self.dim))
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
        with store_errors(path), path.open("rb") as file:
            return load(load_arrays(file))

    def ids(self, side: int) -> Spool:
        """Return a side's ids."""
        path = self.folder / f"ids-{side}.arrow"
        with store_errors(path):
            return Spool(path)

    def label_names(self) -> Any:
        """Return the value of each label, an Arrow array; None without one label a row."""
        path = self.folder / "labels.arrow"
        if not path.exists():
            return None
        with store_errors(path):
            return Spool(path).all()

    def texts(self, side: int) -> Spool | None:
        """Return a side's texts, None when they were not kept."""
        path = self.folder / f"texts-{side}.arrow"
        return Spool(path) if path.exists() else None


def open_store(folder: Path) -> Store | None:
    """Open a store; None when there is none, or an unfinished one.

    Its files are believed; see `check_store`.

    Raises
    ------
    DamageError
        When it does not describe itself.
    """
    path = folder / "store.json"
    if not path.exists():
        return None
    facts = read_json(path)
    if not isinstance(facts, dict) or "checksum" in facts or _is_checked(facts):
        facts = checked_record(facts, path)
    if not _is_described(facts):
        raise DamageError(f"{path} is damaged; remove {folder} and run the job again")
    return Store(folder, facts)


def check_store(store: Store) -> None:
    """Hold the files of a store against their checksums, if it is of a version that has some.

    Raises
    ------
    DamageError
        That names a file which is not as it was written.
    """
    check_files(store.folder, store.facts.get("files", {}))


def sound_store(folder: Path) -> Store | None:
    """Open a store and check its files; None, after a warning, where it is damaged."""
    try:
        store = open_store(folder)
        if store is not None:
            check_store(store)
        return store
    except DamageError as error:
        warn_damaged(f"{error}; the run makes the store again")
        return None


def _is_checked(facts: dict[str, Any]) -> bool:
    """Whether a store is of a version that has checksums."""
    version = facts.get("version", 0)
    return not isinstance(version, int) or version >= _CHECKED


def _is_described(facts: dict[str, Any]) -> bool:
    """Whether what a store says of itself has the shape on which its readers rely."""
    if not isinstance(facts.get("dataset", {}), dict):
        return False
    rows = facts.get("rows")
    counts = [facts.get("dim"), *(facts.get(name, 0) for name in ("items", "zeros"))]  # of a
    counts += rows if isinstance(rows, list) and rows else [None]  # plan's store there are none
    return all(isinstance(one, int) and 0 <= one < _MOST for one in counts) and counts[0] != 0
