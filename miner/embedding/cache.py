"""The vector cache: vectors by content, so that a model embeds each content once.

A cache is a folder of *generations*. A generation is a folder with the vectors of one model (by its
weights) and one prompt. It has ``model.json``, written first, and segments that only grow:
``segment-NN.vectors`` holds vectors, little endian, in float32, or in float64 if the model returns
float64 (rounded once, after normalisation). ``segment-NN.keys`` holds one record for each vector:
the digest of the content, and a checksum of digest and vector. Vectors are appended before their
records, so a killed process leaves at worst an incomplete end, which is ignored by readers and cut
off by the next writer. A record with a wrong checksum (after a power failure) counts as missing.

Each process appends to a separate segment, which it locks, so several runs can share a cache.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from miner.errors import DamageError, StorageError
from miner.storage.files import storage_errors
from miner.storage.json_files import digest, read_json, write_json
from miner.storage.records import checked_record, write_record

__all__ = ["Digests", "VectorCache", "open_generation", "read_generation"]

Digests = NDArray[np.void]
"""Content digests, shape (n,), dtype V16."""

Vectors = NDArray[np.floating]

_RECORD = np.dtype([("digest", "V16"), ("check", "<u8")])
_SYNC_SECONDS = 10.0
_TYPES = ("<f4", "<f8")
_MOST_DIM = 1 << 24
_MOST_DIGITS = 4
"""Most digits of a segment's number; see `_take_segment`."""
_MISSING = -1
_FACTOR = np.uint64(0x9E3779B97F4A7C15)
_SLICE = 256
_NEVER_ZERO = np.uint64(0xD1B54A32D192ED03)


def open_generation(root: Path, facts: Mapping[str, Any], name: str = "?") -> VectorCache:
    """Open the generation that `facts` identify; create it if it does not exist.

    Parameters
    ----------
    root : Path
        The folder of the cache.
    facts : mapping
        JSON: everything except the content that decides the vectors.
    name : str
        The name of the model, only for display.

    Raises
    ------
    StorageError
        If the cache cannot be written or is damaged.
    """
    folder = root / digest(dict(facts))[:24]
    with storage_errors(root):
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / ".lock"):  # `prune` holds it while it removes a generation
            folder.mkdir(exist_ok=True)
            described = folder / "model.json"
            if described.exists():
                os.utime(described)  # the time of the last use, for `prune`
            else:
                write_json(described, {"id": name, **facts})
            return VectorCache(folder, *_take_segment(folder))


def read_generation(root: Path, facts: Mapping[str, Any]) -> VectorCache | None:
    """Open a generation without writing anything; None if it has no vectors."""
    folder = root / digest(dict(facts))[:24]
    there = (folder / "shape.json").exists()
    return VectorCache(folder, _MISSING, FileLock(folder / "reading.lock")) if there else None


def _take_segment(folder: Path) -> tuple[int, FileLock]:
    """Lock the first segment that no other process appends to."""
    for number in range(10_000):
        lock = FileLock(folder / f"segment-{number:02}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            continue
        return number, lock
    raise StorageError(f"{folder}: all segments are in use; end processes that hang")


class VectorCache:
    """The vectors of one model, which are found by the digests of their contents.

    Vectors appended by this process or another one are found after `refresh`.
    """

    def __init__(self, folder: Path, number: int, lock: FileLock) -> None:
        self.folder = folder
        self._number = number
        self._lock = lock
        self.dim: int | None = None  # dimensions of the vectors; None while it has none
        self._type = np.dtype("<f4")
        self._handles: tuple[int, int] | None = None
        self._digests = np.empty(0, dtype="V16")
        self._places = np.empty((0, 2), dtype=np.int64)  # segment, row of the segment
        self._order = np.empty(0, dtype=np.int64)
        self._sorted = np.empty(0, dtype="<u8")
        self._synced = time.monotonic()
        self.refresh()

    def __enter__(self) -> VectorCache:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def _row_bytes(self) -> int:
        assert self.dim is not None
        return self._type.itemsize * self.dim

    def close(self) -> None:
        """Flush to disk, and release the lock of the segment."""
        if self._handles is not None:
            self.sync()
            for handle in self._handles:
                os.close(handle)
            self._handles = None
        self._lock.release()

    def sync(self) -> None:
        """Flush appended data to disk: vectors first, then records."""
        self._synced = time.monotonic()
        for handle in self._handles or ():
            os.fsync(handle)

    # Reading

    def refresh(self) -> None:
        """Read the records of all segments."""
        if not (self.folder / "shape.json").exists():
            return
        self._read_shape()
        digests, places = [self._digests[:0]], [self._places[:0]]
        for path in sorted(self.folder.glob("segment-[0-9][0-9]*.keys")):
            number = _segment_number(path)
            if number is None:
                continue
            with storage_errors(path):
                records = np.fromfile(path, dtype=_RECORD)
                vectors = path.with_suffix(".vectors")
                rows = vectors.stat().st_size // self._row_bytes if vectors.exists() else 0
            rows = min(rows, len(records))
            digests.append(records["digest"][:rows])
            places.append(np.stack([np.full(rows, number), np.arange(rows)], axis=1))
        self._digests = np.concatenate(digests)
        self._places = np.concatenate(places)
        first = _halves(self._digests)[:, 0]
        self._order = np.argsort(first, kind="stable")
        self._sorted = first[self._order]

    def _read_shape(self) -> None:
        path = self.folder / "shape.json"
        try:
            shape = read_json(path)
            if isinstance(shape, dict) and "checksum" in shape:  # older caches have no checksum
                shape = checked_record(shape, path)
            known = isinstance(shape, dict) and shape.get("type") in _TYPES
            dim = shape.get("dim") if known else None
            if not isinstance(dim, int) or not 0 < dim <= _MOST_DIM:
                raise DamageError(f"{path} is damaged: it has no shape of vectors")
        except DamageError as error:
            remedy = f"remove {self.folder}: the same command makes its vectors again"
            raise DamageError(f"{error}; {remedy}") from error
        self.dim, self._type = dim, np.dtype(shape["type"])

    def find(self, digests: Digests) -> NDArray[np.int64]:
        """Find the vectors of contents.

        Parameters
        ----------
        digests : ndarray of shape (n,), V16

        Returns
        -------
        ndarray of shape (n, 2), int64
            The segment and the row in it of each content's newest vector; -1 if it has none.
        """
        found = np.full((len(digests), 2), _MISSING, dtype=np.int64)
        if len(self._sorted):
            # The order is stable, so the last of equal digests is the one written last. If the
            # digests of two contents share their first eight bytes, the older counts as missing.
            at = np.searchsorted(self._sorted, _halves(digests)[:, 0], side="right") - 1
            rows = self._order[np.maximum(at, 0)]
            same = self._digests[rows] == digests
            found[same] = self._places[rows[same]]
        return found

    def read(
        self, digests: Digests, places: NDArray[np.int64]
    ) -> tuple[Vectors, NDArray[np.bool_]]:
        """Read vectors and verify their checksums.

        Parameters
        ----------
        digests : ndarray of shape (n,), V16
        places : ndarray of shape (n, 2), int64
            The result of `find`.

        Returns
        -------
        ndarray of shape (n, dim), float32 or float64
        ndarray of shape (n,), bool
            False for rows whose vector is missing or damaged; they must be embedded again.
        """
        assert self.dim is not None
        vectors = np.empty((len(places), self.dim), dtype=self._type)
        checks = np.zeros(len(places), dtype="<u8")
        for number in np.unique(places[:, 0]):
            chosen = np.flatnonzero(places[:, 0] == number)
            if number == _MISSING:
                vectors[chosen] = 0
                continue
            stem = self.folder / f"segment-{number:02}"
            with storage_errors(stem):
                rows = places[chosen, 1]
                vectors[chosen] = _gather(
                    stem.with_suffix(".vectors"), rows, vectors.dtype, self.dim
                )
                records = _gather(stem.with_suffix(".keys"), rows, _RECORD, 1)
            checks[chosen] = records[:, 0]["check"]
        return vectors, (checks == _checks(digests, vectors)) & (places[:, 0] != _MISSING)

    # Writing

    def append(self, digests: Digests, vectors: Vectors) -> None:
        """Append vectors under the digests of their contents.

        Raises
        ------
        StorageError
            If the disk is full or cannot be written.
        ValueError
            If the vectors have another dimension than the stored ones.
        """
        if self.dim is None:
            self._settle_shape(vectors)
        if vectors.shape[1] != self.dim:
            raise ValueError(f"{vectors.shape[1]} dimensions, not {self.dim}")
        records = np.empty(len(digests), dtype=_RECORD)
        stored = np.ascontiguousarray(vectors, dtype=self._type)
        records["digest"] = digests
        records["check"] = _checks(digests, stored)
        with storage_errors(self.folder):
            if self._handles is None:
                self._open_segment()
            assert self._handles is not None
            _write(self._handles[0], stored.tobytes())
            _write(self._handles[1], records.tobytes())
            if time.monotonic() - self._synced > _SYNC_SECONDS:
                self.sync()

    def _settle_shape(self, vectors: NDArray[np.floating]) -> None:
        """Record the dimension and dtype of the first vectors of the generation."""
        kind = "<f8" if vectors.dtype == np.float64 else "<f4"
        with FileLock(self.folder / "shape.lock"):
            if not (self.folder / "shape.json").exists():
                write_record(self.folder / "shape.json", {"dim": vectors.shape[1], "type": kind})
        self._read_shape()

    def _open_segment(self) -> None:
        """Open the segment for appending, after cutting off an incomplete end."""
        stem = self.folder / f"segment-{self._number:02}"
        sizes = (self._row_bytes, _RECORD.itemsize)
        handles = [
            os.open(stem.with_suffix(suffix), os.O_RDWR | os.O_CREAT, 0o666)
            for suffix in (".vectors", ".keys")
        ]
        rows = min(
            os.fstat(handle).st_size // size for handle, size in zip(handles, sizes, strict=True)
        )
        for handle, size in zip(handles, sizes, strict=True):
            os.ftruncate(handle, rows * size)
            os.lseek(handle, 0, os.SEEK_END)
        self._handles = (handles[0], handles[1])


def _segment_number(path: Path) -> int | None:
    """Return the number of a segment; None if a file is not named like one."""
    digits = path.stem.removeprefix("segment-")
    return int(digits) if digits.isdecimal() and len(digits) <= _MOST_DIGITS else None


def _halves(digests: Digests) -> NDArray[np.uint64]:
    """Return each digest as two uint64, shape (n, 2)."""
    whole = np.ascontiguousarray(digests)
    return whole.view("<u8").reshape(-1, 2)


def _checks(digests: Digests, vectors: Vectors) -> NDArray[np.uint64]:
    """Return a checksum of each digest and vector: a polynomial in an odd factor, modulo 2**64.

    A constant is added so that a record of zeros, which a crash can leave, fails the check.
    """
    words = vectors.view("<u4")
    with np.errstate(over="ignore"):
        powers = np.multiply.accumulate(np.full(words.shape[1] + 2, _FACTOR))
        total = _halves(digests) @ powers[:2] + _NEVER_ZERO
        for start in range(0, len(words), _SLICE):  # few enough for a CPU's cache as uint64
            part = slice(start, start + _SLICE)
            total[part] += words[part].astype(np.uint64) @ powers[2:]
    return np.asarray(total, dtype=np.uint64)


def _gather(path: Path, rows: NDArray[np.int64], dtype: Any, width: int) -> NDArray[Any]:
    """Read rows of a file of records, without mapping it: mapped pages would stay in memory."""
    unique, inverse = np.unique(rows, return_inverse=True)
    size = dtype.itemsize * width
    buffer = np.empty((len(unique), width), dtype=dtype)
    view = memoryview(buffer.reshape(-1).view(np.uint8).data)
    breaks = np.flatnonzero(np.diff(unique) != 1) + 1
    starts = [0, *breaks.tolist()]
    with path.open("rb", buffering=0) as file:
        for start, stop in zip(starts, [*starts[1:], len(unique)], strict=True):
            file.seek(int(unique[start]) * size)
            _read_into(file, view[start * size : stop * size], path)
    return buffer[inverse]


def _read_into(file: Any, view: memoryview, path: Path) -> None:
    while len(view):
        count = file.readinto(view)
        if not count:
            raise StorageError(f"{path} is shorter than its records say; remove {path.parent}")
        view = view[count:]


def _write(handle: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(handle, view) :]
