"""Open a path as a table, with the reader that its file, folder or pattern needs."""

from __future__ import annotations

import glob
from collections.abc import Iterable
from difflib import get_close_matches
from functools import partial
from pathlib import Path

from miner.datasets.base import READERS, Table
from miner.datasets.formats.arrow_ipc import is_saved, open_saved
from miner.datasets.formats.files import (
    PLAIN,
    TEXTS,
    TextFormat,
    check_encoding,
    check_names,
    extension,
)
from miner.datasets.formats.images import has_images, open_images
from miner.datasets.formats.trec import is_trec
from miner.datasets.layouts.vectors_and_table import join_vectors, table_of, vector_files
from miner.errors import DataError, did_you_mean
from miner.storage.urls import expanded

__all__ = ["open_table"]

_ALONE = {"npy", "npz", "safetensors"}
"""Formats where each file is a table: a folder of such files is not one table."""


def open_table(path: str, text: TextFormat = PLAIN) -> Table:
    """Open a file, a folder or a pattern with the reader that it needs.

    Parameters
    ----------
    path : str
    text : TextFormat
        How files of text are written, as the job says.

    Raises
    ------
    DataError
        If no file exists there, or none has a known format.
    """
    place = expanded(path)
    path = str(place)
    if place.is_dir():
        return _open_folder(place, text)
    if _is_pattern(path):
        return _open_files(path, _matching_files(path, READERS.names()), text)
    if not place.exists():
        raise _missing_file(path)
    if not place.is_file():  # a pipe can be read only once, and a device never ends
        raise DataError(f"{path} is not a file; write its content into a file, and name that")
    kind = extension(place)
    if kind not in READERS.names():
        raise DataError(
            f"{path}: no reader for {place.suffix or 'a file without extension'!r}: "
            f"{did_you_mean(kind, READERS.names())}"
        )
    return _open_files(path, [place], text)


def _open_folder(folder: Path, text: TextFormat) -> Table:
    """Open a folder; its ``.json`` files are a table only if nothing else is, for many describe."""
    if is_saved(folder):
        return open_saved(folder)
    kinds = set(READERS.names()) - _ALONE
    try:
        files = _matching_files(str(folder), kinds - {"json"})
    except DataError as error:
        if has_images(folder):
            return open_images(folder)
        try:
            files = _matching_files(str(folder), {"json"})
        except DataError:
            raise error from None
    table = _open_files(str(folder), files, text)
    vectors = vector_files(folder)
    if not vectors or table.types.keys() & {"text", "image", "embedding"}:
        return table
    return join_vectors(str(folder), vectors, files, partial(_open_files, str(folder), text=text))


def _open_files(path: str, files: list[Path], text: TextFormat) -> Table:
    check_names(files)
    kind = extension(files[0])
    if kind in TEXTS and text.encoding is None:
        for file in files:
            check_encoding(file)
    if kind == "tsv" and all(is_trec(file, text) for file in files):
        kind = "qrels"
    if kind == "npy":
        joined = _with_table(path, files, text)
        if joined is not None:
            return joined
    if kind in _ALONE and len(files) > 1:
        raise DataError(f"{path} matches {len(files)} .{kind} files; name one of them")
    reader = READERS.load(kind)
    table: Table = reader(path, files, text) if kind in TEXTS else reader(path, files)
    return table


def _with_table(path: str, vectors: list[Path], text: TextFormat) -> Table | None:
    """Return vectors with the tables next to them; None if there are none, or labels as arrays."""
    tables = [table_of(file) for file in vectors]
    found = [table for table in tables if table is not None]
    if len(found) < len(vectors) or vectors[0].with_suffix(".label.npy").exists():
        return None
    return join_vectors(path, vectors, found, partial(_open_files, path, text=text))


def _is_pattern(path: str) -> bool:
    """Whether a path is a pattern, and not an existing file with such a name."""
    return glob.has_magic(path) and not Path(path).exists()


def _matching_files(path: str, kinds: Iterable[str]) -> list[Path]:
    """List the files of a folder (at any depth) or of a pattern, sorted.

    In a folder, ``.txt`` files are notes, not tables. As in Hive, files and folders whose names
    begin with a dot or an underscore are skipped, and so are output folders of runs.
    """
    if _is_pattern(path):
        found = [Path(name) for name in glob.glob(path, recursive=True)]
        found = [file for file in found if file.is_file()]
    else:
        root = Path(path)
        found = [file for file in root.rglob("*") if file.is_file() and _is_data(file, root)]
        outputs = {file.parent for file in found if file.name == "latest.json"} - {root}
        outputs = {folder for folder in outputs if (folder / "runs").is_dir()}
        found = [file for file in found if outputs.isdisjoint(file.parents)]
    known = set(kinds)
    files = sorted(
        (file for file in found if extension(file) in known), key=lambda file: file.as_posix()
    )
    present = sorted({extension(file) for file in files})
    if not files:
        seen = sorted({file.suffix or file.name for file in found})[:5]
        there = f"there are {', '.join(seen)}" if seen else "there are no files"
        what = (
            f"matches no file{_searched(path)}"
            if _is_pattern(path)
            else "is a folder without corpus.jsonl (BEIR) or another file"
        )
        raise DataError(f"{path} {what} that can be read: {there}; check the path")
    if len(present) > 1:
        raise DataError(
            f"{path} holds files of several kinds ({', '.join(present)}); name those that are "
            f"meant by a pattern, such as FOLDER/*.{present[0]}"
        )
    return files


def _is_data(file: Path, root: Path) -> bool:
    return file.suffix.lower() != ".txt" and not any(
        part.startswith((".", "_")) for part in file.relative_to(root).parts
    )


def _missing_file(path: str) -> DataError:
    """Return the error for a missing file, with a suggestion of a similar name."""
    file = Path(path)
    siblings = [entry.name for entry in file.parent.glob("*")] if file.parent.is_dir() else []
    close = get_close_matches(file.name, siblings, n=1, cutoff=0.5)
    near = f"did you mean {close[0]!r}?" if close else "check the path"
    return DataError(f"no such file: {path}{_searched(path)}; {near}")


def _searched(path: str) -> str:
    """Describe where a relative path was searched, because the job may lie in another folder."""
    return "" if Path(path).is_absolute() else f" in {Path.cwd()}"
