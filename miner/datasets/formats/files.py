"""Files of the readers: their format by name, their encoding, and opening them."""

from __future__ import annotations

import gzip
from collections.abc import Iterable
from pathlib import Path
from typing import IO, cast

from miner.datasets.base import data_errors
from miner.errors import DataError
from miner.formatting import is_text

__all__ = ["check_encoding", "check_names", "extension", "is_packed", "open_bytes"]

_SAME = {"pq": "parquet", "ndjson": "jsonl", "feather": "arrow", "ipc": "arrow", "txt": "tsv"}

_MARKS = {
    b"\xff\xfe\0\0": "UTF-32",
    b"\0\0\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}
"""Byte order marks; the longer ones come first."""
_NULLS: dict[tuple[bool, ...], str] = {
    (False, True, True, True): "UTF-32",
    (True, True, True, False): "UTF-32",
    (False, True, False, True): "UTF-16",
    (True, False, True, False): "UTF-16",
}
"""Encodings without a mark, by which of every four bytes are null somewhere in ASCII text."""
_EXAMINED_BYTES = 4096


def check_encoding(file: Path) -> None:
    """Raise a `DataError` for text in UTF-16 or UTF-32. The readers refuse other encodings."""
    with data_errors(str(file)), open_bytes(file) as opened:
        start = opened.read(_EXAMINED_BYTES)
    marked = next((name for mark, name in _MARKS.items() if start.startswith(mark)), None)
    name = marked or _NULLS.get(tuple(0 in start[place::4] for place in range(4)))
    if name is not None:
        raise DataError(f"{file} is {name}; save it as UTF-8 (iconv -f {name} -t UTF-8 converts)")


def check_names(files: Iterable[Path]) -> None:
    """Raise a `DataError` for a file name that is not UTF-8, which a manifest cannot hold."""
    for file in files:
        if not is_text(str(file)):
            raise DataError(f"{str(file)!r}: its name is not UTF-8, as manifests are; rename it")


def extension(file: Path) -> str:
    """Return the format of a file by its extension, ignoring ``.gz``; synonyms are unified."""
    name = file.name.lower().removesuffix(".gz")
    found = name.rpartition(".")[2] if "." in name else ""
    return _SAME.get(found, found)


def is_packed(file: Path) -> bool:
    """Whether a file is gzipped, according to its name."""
    return file.suffix.lower() == ".gz"


def open_bytes(file: Path) -> IO[bytes]:
    """Open a file for reading; decompress it if it is gzipped."""
    if is_packed(file):
        return cast(IO[bytes], gzip.open(file, "rb"))
    return file.open("rb")
