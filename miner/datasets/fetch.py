"""Input data that is not a local file: on object storage, or in memory.

Like a local path, a URL names an object, a folder (all objects below it) or a pattern. Its objects
are copied to this machine. A table in memory is written to a file: a killed run can be
continued, and its report and `mine verify` can read the data again.
"""

from __future__ import annotations

import glob
from collections.abc import Sequence
from dataclasses import replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from miner.datasets.column_types import usual_layout, usual_type
from miner.datasets.formats.arrays import COMPANIONS
from miner.datasets.layouts.vectors_and_table import TABLES
from miner.errors import DataError
from miner.job_sections import DatasetJob
from miner.progress import Progress
from miner.storage.files import sha256_file, storage_errors, sync_folder
from miner.storage.remote.base import Entry, Folder, open_folder
from miner.storage.remote.copies import copy_entries, keep_copies_within, safe_names
from miner.storage.urls import check_url, is_url

__all__ = ["fetch", "fetch_dataset", "vectors_table", "write_data"]

_KEPT = b"huggingface"
"""The only metadata of a table that is kept: the names of its classes."""


def fetch_dataset(dataset: DatasetJob, most: int, progress: Progress) -> DatasetJob:
    """Copy remote inputs to this machine; return the data set with local paths.

    Parameters
    ----------
    dataset : DatasetJob
    most : int
        Most bytes of all copies on this machine. Copies in use are kept even beyond this limit.
    progress : callable
        Receives the progress in bytes.

    Raises
    ------
    DataError, StorageError
        See `fetch`.
    """
    remote = {name: path for name, path in dataset.paths.items() if is_url(path)}
    if not remote:
        return dataset
    local: dict[str, Any] = {
        name: fetch(path, f"dataset.{name}", progress) for name, path in remote.items()
    }
    keep_copies_within(most)
    return replace(dataset, **local)


def vectors_table(vectors: Any, labels: Any) -> Any:
    """Return vectors and their labels as a ``pyarrow.Table`` with `embedding` and `label`.

    Parameters
    ----------
    vectors : array_like of shape (n, d), float
        They are stored as float32.
    labels : sequence of length n

    Raises
    ------
    DataError
        If there is not one label for each vector.
    """
    rows = np.asarray(vectors, dtype=np.float32)
    if rows.ndim != 2 or not rows.size:
        raise DataError(f"vectors must have the shape (n, d), not {rows.shape}")
    if labels is None or len(labels) != len(rows):
        given = "no" if labels is None else f"{len(labels):,}"
        raise DataError(f"there are {len(rows):,} vectors and {given} labels; give one for each")
    flat = pa.array(np.ascontiguousarray(rows).ravel())
    embedding = pa.FixedSizeListArray.from_arrays(flat, rows.shape[1])
    return pa.table({"embedding": embedding, "label": _column(labels)})


def _column(values: Any) -> Any:
    """Return values as an Arrow column."""
    try:
        return pa.array(values)
    except (pa.ArrowException, ValueError, TypeError) as error:
        raise DataError(f"labels are of several types: {error}; give texts or numbers") from error


def write_data(data: Any, folder: Path) -> Path:
    """Write a table to a Parquet file whose name is a digest of it, unless there is one already.

    Parameters
    ----------
    data : pyarrow.Table, data frame of pandas or Polars, or mapping of columns
    folder : Path
        It is created if it does not exist.

    Returns
    -------
    Path
        The file: the same table has the same path.

    Raises
    ------
    DataError
        If the data are no table.
    StorageError
        If the file cannot be written.
    """
    table = _table(data)
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with storage_errors(folder), TemporaryDirectory(dir=folder, prefix=".") as held:
        written = Path(held) / "table.parquet"
        _write(table, written)
        path = folder / f"{sha256_file(written)[:24]}.parquet"
        if path.exists():
            path.touch()  # so that `mine prune` takes it for new
        else:
            written.replace(path)
            sync_folder(folder)
    return path


def _write(table: Any, path: Path) -> None:
    """Write a table to a Parquet file, which cannot hold every layout of Arrow."""
    try:
        pq.write_table(table, path, compression="zstd")
    except pa.ArrowNotImplementedError:  # Polars has categories as dictionaries of views
        try:
            columns = [
                pa.chunked_array(map(usual_layout, column.chunks), usual_type(column.type))
                for column in table.columns
            ]
            plain = pa.table(columns, table.column_names, metadata=table.schema.metadata)
            pq.write_table(plain, path, compression="zstd")
        except pa.ArrowException as error:
            raise DataError(
                f"the table cannot be written as Parquet ({error}); give its columns as text, "
                "numbers, times or lists"
            ) from error


def _table(data: Any) -> Any:
    """Return any table in memory as a ``pyarrow.Table``, without foreign metadata.

    An index of pandas whose levels have names is data too.
    """
    try:
        if hasattr(data, "iloc"):  # pandas
            named = all(name is not None for name in data.index.names)
            table = pa.Table.from_pandas(data, preserve_index=named)
        else:
            table = data if isinstance(data, pa.Table) else pa.table(data)
    except (pa.ArrowException, TypeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise DataError(
            f"data of type {type(data).__name__} is no table ({reason}); give a pyarrow.Table, a "
            "data frame of pandas or Polars, or vectors and labels"
        ) from error
    kept = {name: text for name, text in (table.schema.metadata or {}).items() if name == _KEPT}
    return table.replace_schema_metadata(kept or None)


def fetch(path: str, key: str, progress: Progress) -> str:
    """Return `path` itself if it is local, or the path of a local copy of its objects.

    Parameters
    ----------
    path : str
        A local path, or a URL of an object, a folder or a pattern.
    key : str
        The job key or option that names it, for messages.
    progress : callable
        Receives the progress in bytes.

    Raises
    ------
    DataError
        If the URL names no object.
    StorageError
        If the object storage or the disk fails.
    """
    if not is_url(path):
        return path
    url = check_url(path, key)
    parent, _, name = url.rpartition("/")
    alone = url.count("/") > 2
    if alone:
        parent_folder = open_folder(parent, key)
        found = parent_folder.entry(name)
        if found is not None:
            return str(
                copy_entries(parent_folder, _with_companions(parent_folder, found), progress) / name
            )
    if glob.has_magic(url):
        return _fetch_pattern(url, key, progress)
    folder = open_folder(url, key)
    entries = safe_names(folder, (one for one in folder.entries() if _is_data(one.name)))
    if not entries:
        raise DataError(_nothing(url, parent_folder if alone else folder, name))
    return str(copy_entries(folder, entries, progress))


def _with_companions(folder: Folder, found: Entry) -> list[Entry]:
    """Return an object; for ``NAME.npy`` also its arrays ``NAME.label.npy`` and its tables."""
    stem, _, kind = found.name.rpartition(".")
    if kind.lower() != "npy":
        return [found]
    names = [f"{stem}.{name}.npy" for name in COMPANIONS]
    names += [f"{one}.{kind}" for one in (stem, "labels") for kind in TABLES]
    others = [folder.entry(name) for name in names]
    return [found, *(other for other in others if other is not None)]


def _is_data(name: str) -> bool:
    """Whether an object can be data: it and its folders are not hidden."""
    return not any(part.startswith(".") and part.strip(".") for part in name.split("/"))


def _fetch_pattern(url: str, key: str, progress: Progress) -> str:
    """Copy the objects that match a pattern; return the pattern in the local copy."""
    parts = url.split("/")
    depth = next(depth for depth, part in enumerate(parts) if glob.has_magic(part))
    if depth < 3:
        raise DataError(f"{url}: a pattern cannot replace the name of a bucket; name the bucket")
    folder, pattern = open_folder("/".join(parts[:depth]), key), parts[depth:]
    matching = (one for one in folder.entries() if _matches(one.name.split("/"), pattern))
    entries = safe_names(folder, matching)
    if not entries:
        raise DataError(f"{url} matches no object; check the path")
    copied = copy_entries(folder, entries, progress)
    return str(Path(glob.escape(str(copied)), *pattern))


def _matches(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether a name matches a pattern, where ``**`` matches any number of folders."""
    if not pattern:
        return not parts
    if pattern[0] == "**":
        rest = pattern[1:] or ["*"]
        return any(_matches(parts[skip:], rest) for skip in range(len(parts)))
    return bool(parts) and fnmatchcase(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])


def _nothing(url: str, folder: Folder, name: str) -> str:
    """Return the message for a URL that names no object, with a suggestion of a similar name."""
    close = get_close_matches(name, folder.children(), n=1, cutoff=0.5)
    near = f"did you mean {close[0]!r}?" if close else "check the path"
    return f"no such object or folder: {url}; {near}"
