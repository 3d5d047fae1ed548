"""Files of the readers: what kind one is by its name, and how it is opened."""

from __future__ import annotations

import gzip
from collections.abc import Iterable
from pathlib import Path
from typing import IO, cast

from miner.errors import DataError
from miner.formatting import is_text

__all__ = ["check_names", "extension", "is_packed", "open_bytes"]

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


def is_packed(file: Path) -> bool:
    """Whether a file is gzipped, by its name."""
    return file.suffix.lower() == ".gz"


def open_bytes(file: Path) -> IO[bytes]:
    """Open a file, unpacked when it is gzipped."""
    if is_packed(file):
        return cast(IO[bytes], gzip.open(file, "rb"))
    return file.open("rb")
