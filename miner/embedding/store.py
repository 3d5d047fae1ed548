"""The embedding store: a data set that was read, checked and embedded, in a folder named by a key.

A store has ``vectors-K.f32`` (vectors of side K, float32), ``ids-K.arrow``, ``texts-K.arrow``,
``labels.arrow`` (the value of each label) and ``relevance.npz``. ``store.json`` is written last,
with the checksums of these files and its own; a folder without it is not a store. The key is a
digest of the checksums of the data, the columns, the model's weights and the normalisation, so a
job with another margin uses the same store, and a job with a retrained model does not.

`check_store` compares the files with their checksums once per start of a run; workers open the
checked store. The checksums are SHA-256, because cached counts are found by them too
(`miner.pipeline.count_cache`): 0.4 s for 512 MB on a processor with instructions for it.

The vectors come from the cache of `miner.embedding.cache`, so if a data set has grown, or a run was
interrupted, only missing rows are embedded. The scan of an interrupted run and the list of the rows
that it had to embed are kept in ``.KEY.partial`` and used again.
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

from miner.datasets.column_store import ColumnFile
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
"""Bound on the numbers of rows and dimensions."""
_DAMAGE = (
    *(ValueError, KeyError, TypeError, IndexError, OverflowError, EOFError, MemoryError),
    *(RuntimeError, SyntaxError, zipfile.BadZipFile, zlib.error, struct.error, tokenize.TokenError),
)
"""Errors of NumPy, `zipfile` and Arrow on damaged files."""


@contextmanager
def store_errors(path: Path) -> Iterator[None]:
    """Convert errors of a damaged file of a store to a `StorageError` that names the file."""
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
    """Map a file once per process, because each mapping would count as additional memory."""
    status = path.stat()
    key = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, *shape)
    with _MAPPING:
        mapped = _MAPPED.get(key)
        if mapped is None:
            mapped = _MAPPED[key] = np.memmap(path, dtype="<f4", mode="r", shape=shape)
        return mapped


@dataclass(frozen=True, slots=True)
class Store:
    """A complete store."""

    folder: Path
    facts: dict[str, Any]

    @property
    def checksum(self) -> str:
        """The digest of the whole store."""
        return digest(self.facts)

    @property
    def dim(self) -> int:
        """The dimensions of a vector."""
        return int(self.facts["dim"])

    def vectors(self, side: int) -> Float32:
        """Return the vectors of a side, memory-mapped, shape (rows, dim)."""
        rows = self.facts["rows"][side]
        path = self.folder / f"vectors-{side}.f32"
        with store_errors(path):
            return np.asarray(_mapped(path, (rows, self.dim)))

    @property
    def row_side(self) -> int:
        """The side that holds all rows; side 0 holds the anchors."""
        return len(self.facts["rows"]) - 1

    def chunks(self, side: int) -> Iterator[Float32]:
        """Read the vectors of a side chunk by chunk, without mapping the file."""
        rows = max(1, _CHUNK_BYTES // (4 * self.dim))
        path = self.folder / f"vectors-{side}.f32"
        with storage_errors(path), path.open("rb") as file:
            while True:
                flat = np.fromfile(file, dtype="<f4", count=rows * self.dim)
                if not len(flat):
                    return
                yield flat.reshape(-1, self.dim)

    def relevance(self) -> Relevance:
        """Return the relevance of rows to anchors."""
        path = self.folder / "relevance.npz"
        with store_errors(path), path.open("rb") as file:
            return load(load_arrays(file))

    def ids(self, side: int) -> ColumnFile:
        """Return the ids of a side."""
        path = self.folder / f"ids-{side}.arrow"
        with store_errors(path):
            return ColumnFile(path)

    def label_names(self) -> Any:
        """Return the value of each label as an Arrow array; None unless each row has one label."""
        path = self.folder / "labels.arrow"
        if not path.exists():
            return None
        with store_errors(path):
            return ColumnFile(path).all()

    def texts(self, side: int) -> ColumnFile | None:
        """Return the texts of a side; None if they were not stored."""
        path = self.folder / f"texts-{side}.arrow"
        return ColumnFile(path) if path.exists() else None


def open_store(folder: Path) -> Store | None:
    """Open a store; None if it does not exist or is incomplete.

    Its files are not verified; see `check_store`.

    Raises
    ------
    DamageError
        If ``store.json`` is damaged.
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
    """Compare the files of a store with their checksums, if its version has checksums.

    Raises
    ------
    DamageError
        If a file does not match; the message names it.
    """
    check_files(store.folder, store.facts.get("files", {}))


def sound_store(folder: Path) -> Store | None:
    """Open a store and check its files; None, after a warning, if it is damaged."""
    try:
        store = open_store(folder)
        if store is not None:
            check_store(store)
        return store
    except DamageError as error:
        warn_damaged(f"{error}; the run makes the store again")
        return None


def _is_checked(facts: dict[str, Any]) -> bool:
    """Whether the version of a store has checksums."""
    version = facts.get("version", 0)
    return not isinstance(version, int) or version >= _CHECKED


def _is_described(facts: dict[str, Any]) -> bool:
    """Whether the facts of a store have the fields and types that its readers need."""
    if not isinstance(facts.get("dataset", {}), dict):
        return False
    rows = facts.get("rows")
    # The store of a plan has neither items nor zeros.
    counts = [facts.get("dim"), *(facts.get(name, 0) for name in ("items", "zeros"))]
    counts += rows if isinstance(rows, list) and rows else [None]
    return all(isinstance(one, int) and 0 <= one < _MOST for one in counts) and counts[0] != 0
