"""From a path to a table: which reader a file, a folder or a pattern needs."""

from __future__ import annotations

from pathlib import Path

from miner.datasets.base import READERS, Table
from miner.datasets.formats.files import (
    check_names,
    extension,
    is_pattern,
    matching_files,
    missing_file,
)
from miner.datasets.formats.hf_saved import is_saved, open_saved
from miner.datasets.formats.images import has_images, open_images
from miner.datasets.formats.trec import is_trec
from miner.errors import DataError, did_you_mean
from miner.storage.urls import expanded

__all__ = ["open_table"]

_ALONE = {"npy", "npz"}
"""Formats whose files stand alone: a folder of them is not one table."""


def open_table(path: str) -> Table:
    """Open a file, a folder or a pattern with the reader that it needs.

    Raises
    ------
    DataError
        When there is nothing, or nothing that a reader knows.
    """
    place = expanded(path)
    path = str(place)
    if place.is_dir():
        return _open_folder(place)
    if is_pattern(path):
        return _open_files(path, matching_files(path, READERS.names()))
    if not place.exists():
        raise missing_file(path)
    if not place.is_file():  # a pipe would be read once only, and a device never ends
        raise DataError(f"{path} is not a file; write what it gives into one, and name that")
    kind = extension(place)
    if kind not in READERS.names():
        raise DataError(
            f"{path}: no reader for {place.suffix or 'a file without extension'!r}: "
            f"{did_you_mean(kind, READERS.names())}"
        )
    return _open_files(path, [place])


def _open_folder(folder: Path) -> Table:
    if is_saved(folder):
        return open_saved(folder)
    try:
        files = matching_files(str(folder), set(READERS.names()) - _ALONE)
    except DataError:
        if has_images(folder):
            return open_images(folder)
        raise
    return _open_files(str(folder), files)


def _open_files(path: str, files: list[Path]) -> Table:
    check_names(files)
    kind = extension(files[0])
    if kind == "tsv" and all(file.stat().st_size and is_trec(file) for file in files):
        kind = "qrels"
    if kind in _ALONE and len(files) > 1:
        raise DataError(f"{path} matches {len(files)} .{kind} files; name one of them")
    table: Table = READERS.load(kind)(path, files)
    return table
