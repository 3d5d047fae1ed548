"""Input data on object storage, copied to this machine for the readers.

Like a local path, a URL names an object, a folder (all objects below it) or a pattern.
"""

from __future__ import annotations

import glob
from collections.abc import Sequence
from dataclasses import replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from miner.datasets.formats.arrays import COMPANIONS
from miner.errors import DataError
from miner.job_sections import DatasetJob
from miner.progress import Progress
from miner.storage.remote.base import Entry, Folder, open_folder
from miner.storage.remote.copies import copy_entries, keep_copies_within, safe_names
from miner.storage.urls import check_url, is_url

__all__ = ["fetch", "fetch_dataset"]


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
    """Return an object; for ``NAME.npy`` also its arrays ``NAME.label.npy`` and so on."""
    stem, _, kind = found.name.rpartition(".")
    if kind.lower() != "npy":
        return [found]
    others = [folder.entry(f"{stem}.{name}.npy") for name in COMPANIONS]
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
