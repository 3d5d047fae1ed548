"""Files of the readers: their format by name, their encoding, and opening them.

Files of text may be packed, as ``.gz`` or ``.zst``.
"""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import pyarrow as pa

from miner.datasets.base import data_errors
from miner.errors import DataError, UsageError
from miner.formatting import is_text

__all__ = [
    "PLAIN",
    "TEXTS",
    "TextFormat",
    "check_encoding",
    "check_names",
    "extension",
    "open_bytes",
    "packing",
]

TEXTS = ("csv", "tsv", "jsonl", "json", "qrels", "trec")
"""Formats whose files are text."""
_PACKED = {".gz": "gzip", ".zst": "zstd"}

_SAME = {"pq": "parquet", "ndjson": "jsonl", "feather": "arrow", "ipc": "arrow", "txt": "tsv"}

_MARKS = {
    b"\xff\xfe\0\0": "UTF-32",
    b"\0\0\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}
"""Byte order marks; the longer ones come first."""
_NULLS: dict[tuple[bool, ...], str] = {
    (False, True, True, True): "UTF-32-LE",
    (True, True, True, False): "UTF-32-BE",
    (False, True, False, True): "UTF-16-LE",
    (True, False, True, False): "UTF-16-BE",
}
"""Encodings without a mark, by which of every four bytes are null somewhere in ASCII text."""
_EXAMINED_BYTES = 4096


@dataclass(frozen=True, slots=True)
class TextFormat:
    """How files of text are written, as the job says; None where the file itself shows it.

    Attributes
    ----------
    separator : str or None
        The character between the columns of a CSV or TSV file.
    encoding : str or None
        Any encoding that Python knows; None for UTF-8.

    Raises
    ------
    UsageError
        If the separator is not one plain character, or the encoding is unknown.
    """

    separator: str | None = None
    encoding: str | None = None

    def __post_init__(self) -> None:
        mark = self.separator
        if mark is not None and (len(mark) != 1 or not mark.isascii() or mark in '"\r\n\0'):
            raise UsageError(
                f"dataset.separator = {mark!r} must be one character, such as ';' or '\\t'"
            )
        if self.encoding is not None:
            try:
                io.TextIOWrapper(io.BytesIO(), encoding=self.encoding)
            except (LookupError, ValueError, UnicodeError) as error:
                raise UsageError(
                    f"dataset.encoding = {self.encoding!r} is no encoding of text, such as "
                    "'latin-1', 'cp1252' or 'utf-16'"
                ) from error


PLAIN = TextFormat()
"""UTF-8; the header line of a CSV shows its separator."""


class _Recoded(io.RawIOBase):
    """A file of text in some encoding, read as UTF-8."""

    def __init__(self, inner: IO[bytes], encoding: str, where: str) -> None:
        self._text = io.TextIOWrapper(inner, encoding=encoding, newline="")
        self._where = where

    def readable(self) -> bool:
        """Whether it can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer with UTF-8; a character takes at most four bytes."""
        try:
            data = self._text.read(len(buffer) // 4).encode()
        except UnicodeError as error:
            raise DataError(
                f"{self._where} is not {self._text.encoding}, which dataset.encoding names "
                f"({error}); name its encoding there"
            ) from error
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Close the file too."""
        self._text.close()
        super().close()


def check_encoding(file: Path) -> None:
    """Raise a `DataError` for text in UTF-16 or UTF-32. The readers refuse other encodings."""
    with data_errors(str(file)), open_bytes(file) as opened:
        start = opened.read(_EXAMINED_BYTES)
    marked = next((name for mark, name in _MARKS.items() if start.startswith(mark)), None)
    name = marked or _NULLS.get(tuple(0 in start[place::4] for place in range(4)))
    if name is not None:
        raise DataError(
            f"{file} is {name}; name it with dataset.encoding = {name.lower()!r}, or save the file "
            f"as UTF-8 (iconv -f {name} -t UTF-8 converts)"
        )


def check_names(files: Iterable[Path]) -> None:
    """Raise a `DataError` for a file name that is not UTF-8, which a manifest cannot hold."""
    for file in files:
        if not is_text(str(file)):
            raise DataError(f"{str(file)!r}: its name is not UTF-8, as manifests are; rename it")


def extension(file: Path) -> str:
    """Return the format of a file by its extension, ignoring packing; synonyms are unified."""
    name = file.name.lower()
    name = name.removesuffix(file.suffix.lower()) if packing(file) else name
    found = name.rpartition(".")[2] if "." in name else ""
    return _SAME.get(found, found)


def packing(file: Path) -> str | None:
    """Return how a file is compressed, according to its name; None if it is not."""
    return _PACKED.get(file.suffix.lower())


def open_bytes(file: Path, encoding: str | None = None) -> IO[bytes]:
    """Open a file for reading; unpack it if it is packed, and convert its encoding to UTF-8."""
    packed = packing(file)
    if packed == "gzip":
        opened = cast(IO[bytes], gzip.open(file, "rb"))
    elif packed:
        opened = cast(IO[bytes], io.BufferedReader(pa.input_stream(str(file), compression=packed)))
    else:
        opened = file.open("rb")
    if encoding is None:
        return opened
    return io.BufferedReader(_Recoded(opened, encoding, str(file)))
