"""Which files a path names: one, a folder of them, or a pattern; always in one order."""

from __future__ import annotations

import glob
import gzip
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import IO, cast

from miner.errors import DataError
from miner.formatting import is_text

__all__ = [
    "check_names",
    "extension",
    "is_packed",
    "is_pattern",
    "matching_files",
    "missing_file",
    "open_bytes",
]

_SAME = {"pq": "parquet", "ndjson": "jsonl", "feather": "arrow", "ipc": "arrow", "txt": "tsv"}


def check_names(files: Iterable[Path]) -> None:
    """Refuse files that no manifest could name."""
    for file in files:
        if not is_text(str(file)):
            raise DataError(f"{str(file)!r}: its name is not UTF-8, as manifests are; rename it")


def extension(file: Path) -> str:
    """Return what a file is by its name, without the point and a final ``.gz``; one name a kind."""
    name = file.name.lower().removesuffix(".gz")
    found = name.rpartition(".")[2] if "." in name else ""
    return _SAME.get(found, found)


def is_pattern(path: str) -> bool:
    """Whether a path is a pattern, and no file that happens to have such a name."""
    return glob.has_magic(path) and not Path(path).exists()


def matching_files(path: str, kinds: Iterable[str]) -> list[Path]:
    """List the files of a folder (at any depth) or of a pattern, sorted.

    In a folder, ``.txt`` files are notes, not tables. Files and folders whose names begin with a
    point or an underscore are no data, as in Hive.

    Raises
    ------
    DataError
        When nothing matches, or files of several kinds do.
    """
    if is_pattern(path):
        found = [Path(name) for name in glob.glob(path, recursive=True)]
        found = [file for file in found if file.is_file()]
    else:
        root = Path(path)
        found = [file for file in root.rglob("*") if file.is_file() and _is_data(file, root)]
    known = set(kinds)
    files = sorted(
        (file for file in found if extension(file) in known), key=lambda file: file.as_posix()
    )
    present = sorted({extension(file) for file in files})
    if not files:
        seen = sorted({file.suffix or file.name for file in found})[:5]
        there = f"there are {', '.join(seen)}" if seen else "there is none at all"
        what = (
            "matches no file"
            if is_pattern(path)
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


def missing_file(path: str) -> DataError:
    """Say that there is no such file, and which one is near."""
    file = Path(path)
    siblings = [entry.name for entry in file.parent.glob("*")] if file.parent.is_dir() else []
    close = get_close_matches(file.name, siblings, n=1, cutoff=0.5)
    near = f"did you mean {close[0]!r}?" if close else "check the path"
    return DataError(f"no such file: {path}; {near}")


def is_packed(file: Path) -> bool:
    """Whether a file is gzipped, by its name."""
    return file.suffix.lower() == ".gz"


def open_bytes(file: Path) -> IO[bytes]:
    """Open a file, unpacked when it is gzipped."""
    if is_packed(file):
        return cast(IO[bytes], gzip.open(file, "rb"))
    return file.open("rb")
