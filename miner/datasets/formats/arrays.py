"""NumPy files: ``.npz`` with columns by name; ``.npy`` with vectors, their labels next to it.

Only arrays that are used must be readable and have a row for each item.
"""

from __future__ import annotations

import lzma
import os
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from miner.datasets.base import READERS, ROWS, data_errors
from miner.datasets.formats.files import extension
from miner.errors import DataError
from miner.storage.arrays import release_pages
from miner.storage.os_errors import raise_exhausted

__all__ = [
    "BFLOAT16",
    "COMPANIONS",
    "ArrayTable",
    "array_column",
    "array_table",
    "load_vectors",
    "open_npy",
    "open_npz",
]

BFLOAT16 = np.dtype([("bfloat16", "<u2")])
"""Floats of 16 bits that are the first half of a float32; NumPy has no such type."""

COMPANIONS = ("label", "id", "group")
"""Arrays that belong to NAME.npy and lie next to it, as NAME.label.npy and so on."""
_ARRAYS = {"npy", "npz", "safetensors"}
_USUAL = {
    "embedding": ("embeddings", "vectors", "vector", "features", "X", "x", "emb", "feats"),
    "label": ("labels", "y", "target", "targets"),
    "id": ("ids", "keys"),
}
"""Usual names of arrays for each role."""
_LOCAL_HEADER, _CHECKED = 30, 1 << 20
"""Bytes of a zip archive's local header before its names; bytes read at a time to check it."""
_NO_ROOM = "needs more memory than there is; save it with np.savez, which does not compress"
_FAULTS = (
    *(ValueError, TypeError, KeyError, IndexError, ArithmeticError, OSError, EOFError),
    *(RuntimeError, RecursionError, SyntaxError, tokenize.TokenError, struct.error),
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError),
)
"""Errors of `numpy` and `zipfile` on damaged, encrypted or unusually compressed files."""
_HEADERS: dict[tuple[int, int], Any] = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


@dataclass(frozen=True, slots=True)
class ArrayTable:
    """Columns that are NumPy arrays of equal length."""

    where: str
    files: tuple[Path, ...]
    arrays: Mapping[str, Any]
    untyped: bool = False
    hints: Mapping[str, str] = field(default_factory=dict)
    faults: Mapping[str, str] = field(default_factory=dict)

    @property
    def types(self) -> dict[str, Any]:
        """The Arrow type of each column, by name; null for those that cannot be read."""
        types = {name: array_column(values[:0]).type for name, values in self.arrays.items()}
        return {**types, **dict.fromkeys(self.faults, pa.null())}

    @property
    def usual(self) -> dict[str, str]:
        """The names in this file of the columns `embedding`, `label` and `id`, where they differ.

        Arrays have usual names of their own, such as `X` and `y`.
        """
        found = {}
        for role, names in _USUAL.items():
            there = [name for name in names if name in self.types]
            if there and role not in self.types:
                found[role] = there[0]
        return found

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Stream the named columns, in batches of at most `ROWS` rows."""
        names = list(dict.fromkeys(columns))
        for name in names:
            if name in self.faults:
                raise DataError(self.faults[name])
        count = len(next(iter(self.arrays.values())))
        for start in range(0, count, ROWS):
            with data_errors(self.where):  # text may hold invalid code points
                parts = [array_column(self.arrays[name][start : start + ROWS]) for name in names]
            yield pa.RecordBatch.from_arrays(parts, names=names)
        for name in names:
            release_pages(self.arrays[name])


def array_column(values: Any) -> Any:
    """Convert an array to an Arrow column; with several axes, each row becomes one list.

    Arrow has neither foreign byte orders nor floats of more than 64 bits, so those are converted.
    """
    kind = values.dtype
    if kind == BFLOAT16:
        values = (values["bfloat16"].astype(np.uint32) << 16).view(np.float32)
        kind = values.dtype
    wide = kind.kind == "f" and kind.itemsize > 8
    with np.errstate(over="ignore", invalid="ignore"):  # infinite values are refused later, by row
        values = np.asarray(values, dtype=np.float64 if wide else kind.newbyteorder("="))
    if values.ndim == 1:
        return pa.array(values)
    column = pa.array(np.ascontiguousarray(values).reshape(-1))
    for size in reversed(values.shape[1:]):
        column = pa.FixedSizeListArray.from_arrays(column, size)
    return column


@contextmanager
def _load_errors(path: Path) -> Iterator[None]:
    """Convert errors of NumPy on a file to a one-line `DataError`."""
    try:
        with np.errstate(over="raise"):  # an overflow in the shape would only warn
            yield
    except MemoryError:
        raise DataError(f"{path} {_NO_ROOM}") from None  # the array is too large
    except _FAULTS as error:
        raise_exhausted(error, path)
        if "pickle" in str(error) or "Python objects" in str(error):
            reason = "it holds Python objects, which are not loaded; save numbers or text"
        else:
            reason = f"{error}; write the file again"
        raise DataError(f"{path} cannot be read: {reason}") from error


def _load(path: Path, mode: Any = None) -> Any:
    """Load a file without pickle, which could run code."""
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty; check how it was written")
    with path.open("rb") as file:
        packed = file.read(2) == b"PK"
    if packed and not zipfile.is_zipfile(path):
        raise DataError(f"{path} cannot be read: the archive is cut off; write the file again")
    with _load_errors(path):
        if packed:
            zipfile.ZipFile(path).close()  # numpy would leave the file open if this fails
        return np.load(path, mmap_mode=mode, allow_pickle=False)


def _load_array(path: Path, mode: Any = None) -> Any:
    array = _load(path, mode)
    if not isinstance(array, np.ndarray):
        raise DataError(f"{path} is an .npz archive; name it .npz, or save one array with np.save")
    return array


def array_table(
    path: Path, files: tuple[Path, ...], arrays: Mapping[str, Any], faults: Mapping[str, str]
) -> ArrayTable:
    """Return arrays as a table; those that are no columns of it become faults.

    Parameters
    ----------
    path : Path
    files : tuple of Path
    arrays : mapping of str to ndarray
    faults : mapping of str to str
        Messages for arrays that cannot be read.

    Raises
    ------
    DataError
        If no array can be a column.
    """
    lengths = {name: len(values) if values.ndim else 0 for name, values in arrays.items()}
    counts = [count for count in lengths.values() if count]
    rows = max(counts, key=counts.count, default=0)  # of equally frequent ones the first
    if not rows and not faults:
        raise DataError(f"{path} is empty: it has no rows; check how it was written")
    found, wrong = {}, dict(faults)
    for name, values in arrays.items():
        if not rows or lengths[name] != rows:
            wrong[name] = (
                f"{path}: arrays of different lengths: {lengths}; each must have a row an item"
            )
        elif values.ndim > 1 and not values[0].size:
            wrong[name] = f"{path}: array {name!r} has empty rows; vectors need values"
        elif values.dtype.kind not in "iufUb" and values.dtype != BFLOAT16:
            wrong[name] = f"{path}: array {name!r} has the type {values.dtype}, not numbers or text"
        else:
            found[name] = values
    if not found:
        raise DataError(next(iter(wrong.values())))
    return ArrayTable(str(path), files, found, faults=wrong)


def open_npz(where: str, files: Sequence[Path]) -> ArrayTable:
    """Open an archive whose arrays are the columns (`embedding`, `label`, `id`, ...)."""
    path = files[0]
    archive = _load(path)
    if isinstance(archive, np.ndarray):
        raise DataError(f"{path} is not an .npz archive; name it .npy, or save it with np.savez")
    arrays, faults = {}, {}
    with archive:
        for name in archive.files:
            try:
                with _load_errors(path):
                    arrays[name] = _member(path, archive, name)
            except DataError as error:
                faults[name] = str(error)
    return array_table(path, (path,), arrays, faults)


def _member(path: Path, archive: Any, name: str) -> Any:
    """Map an array of an archive into memory if it is not compressed; else load it."""
    members = {info.filename: info for info in archive.zip.infolist()}
    info = members.get(f"{name}.npy")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if info is not None and info.file_size > memory:
        raise DataError(
            f"{path}: array {name!r} unpacks to {info.file_size:,} bytes: it {_NO_ROOM}"
        )
    if info is None or info.compress_type != zipfile.ZIP_STORED:
        return _unpacked(archive, name)
    with archive.zip.open(info) as file:
        while file.read(_CHECKED):  # reading to the end verifies the archive's checksum
            pass
    with path.open("rb") as file:
        file.seek(info.header_offset)
        lengths = struct.unpack("<2H", file.read(_LOCAL_HEADER)[-4:])
        file.seek(sum(lengths), 1)
        version = np.lib.format.read_magic(file)
        if version not in _HEADERS:
            return _unpacked(archive, name)
        shape, fortran, kind = _HEADERS[version](file)
        if kind.hasobject or 0 in shape:
            return _unpacked(archive, name)
        order: Any = "F" if fortran else "C"
        return np.memmap(path, kind, "r", offset=file.tell(), shape=shape, order=order)


def _unpacked(archive: Any, name: str) -> Any:
    """Load an array of an archive.

    Raises
    ------
    ValueError
        If the member is not an array; NumPy returns its bytes then.
    """
    array = archive[name]
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{name!r} in it is no array")
    return array


def load_vectors(path: Path) -> Any:
    """Map the vectors of a ``.npy`` file into memory."""
    vectors = _load_array(path, "r")
    if vectors.ndim < 2:
        raise DataError(
            f"{path} has the shape {vectors.shape}; vectors need two axes (rows, values)"
        )
    return array_table(path, (path,), {"embedding": vectors}, {}).arrays["embedding"]


def open_npy(where: str, given: Sequence[Path]) -> ArrayTable:
    """Open ``NAME.npy`` as column `embedding`, and ``NAME.label.npy`` next to it as `label`."""
    path = given[0]
    arrays = {"embedding": load_vectors(path)}
    files = [path]
    for name in COMPANIONS:
        companion = path.with_name(f"{path.stem}.{name}.npy")
        if companion.exists():
            arrays[name] = _load_array(companion)
            files.append(companion)
    table = array_table(path, tuple(files), arrays, {})
    companion = path.with_name(f"{path.stem}.label.npy")
    kinds = set(READERS.names()) - _ARRAYS
    tables = sorted(file.name for file in path.parent.iterdir() if extension(file) in kinds)
    seen = f" (the table {tables[0]} in its folder is not read with it)" if tables else ""
    hint = (
        f"has vectors only{seen}; put their labels into {companion}, or into labels.csv or "
        f"{path.stem}.csv in its folder, in the same order"
    )
    return replace(table, hints={"label": hint})
