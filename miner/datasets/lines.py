"""Lines of files, bounded: neither their length nor their nesting may take all memory or stack."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import IO, Any

import numpy as np

from miner.errors import DataError

__all__ = ["MOST_LINE", "JsonGuard", "LineFault", "bounded_lines"]

MOST_LINE = 16 << 20
"""Bytes of a line."""
_MOST_DEPTH = 100
"""Lists and objects within each other; Arrow's parser falls off the stack at some thousands."""
_CHUNK = 4 << 20
_BLANKS, _BOM, _SHOWN = b" \t\r", b"\xef\xbb\xbf", 20
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"?', re.DOTALL)
_OPEN, _NEW_LINE = (ord("["), ord("{")), ord("\n")


class LineFault(DataError):
    """A line that is not read at all; the message names it."""


def bounded_lines(file: IO[bytes], where: str) -> Iterator[bytes]:
    """Read lines.

    Raises
    ------
    LineFault
        On one that is longer than `MOST_LINE`.
    """
    number = 0
    while line := file.readline(MOST_LINE + 1):
        number += 1
        if len(line) > MOST_LINE:
            raise LineFault(f"{where}, line {number}: {_too_long()}")
        yield line


def _too_long() -> str:
    return f"it is longer than {MOST_LINE >> 20} MiB; check how the file was written"


class JsonGuard(io.RawIOBase):
    """A file of JSON lines that ends where Arrow's parser would bring the process down.

    That is where values are nested too deep (a line that opens few lists and objects is passed
    unseen, others are looked at), and where a line is ``null``: as the first of a block it ends in
    a null pointer (seen in pyarrow 26.0). So every line must begin as an object does.

    Attributes
    ----------
    fault : LineFault or None
        Why it ended. It is not raised: Arrow reads ahead in threads of its own, which would bring
        the process down.
    """

    fault: LineFault | None = None

    def __init__(self, inner: IO[bytes], where: str) -> None:
        super().__init__()
        self._inner, self._where = inner, where
        self._rest = b""
        self._line, self._read = 1, 0

    def readable(self) -> bool:
        """Whether it can be read: yes."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read as `io.RawIOBase` does."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def read(self, size: int = -1, /) -> bytes:
        """Read up to `size` bytes, and look at them before they are handed out."""
        if self.fault is not None:
            return b""
        data = self._inner.read(_CHUNK if size < 0 else size)
        try:
            self._look(data)
        except LineFault as fault:
            self.fault = fault
            return b""
        return data

    def _look(self, data: bytes) -> None:
        values = np.frombuffer(data, np.uint8)
        ends = np.flatnonzero(values == _NEW_LINE)
        self._look_at_starts(values, data, ends)
        opens = np.flatnonzero((values == _OPEN[0]) | (values == _OPEN[1]))
        counts = np.bincount(np.searchsorted(ends, opens), minlength=len(ends) + 1)
        counts[0] += self._rest.count(b"[") + self._rest.count(b"{")
        for line in np.flatnonzero(counts > _MOST_DEPTH).tolist():
            start = int(ends[line - 1]) + 1 if line else 0
            stop = int(ends[line]) if line < len(ends) else len(data)
            whole = (b"" if line else self._rest) + data[start:stop]
            if _depth(whole) > _MOST_DEPTH:
                raise LineFault(
                    f"{self._where}, line {self._line + line}: lists and objects lie more than "
                    f"{_MOST_DEPTH} deep in each other; flatten them"
                )
        self._line += len(ends)
        self._read += len(data)
        self._rest = data[int(ends[-1]) + 1 :] if len(ends) else self._rest + data
        if len(self._rest) > MOST_LINE:
            raise LineFault(f"{self._where}, line {self._line}: {_too_long()}")

    def _look_at_starts(self, values: Any, data: bytes, ends: Any) -> None:
        """Refuse a line that does not begin as an object; `_rest` is what came of the first."""
        starts = np.concatenate([[0], ends + 1])
        starts = starts[1 if self._rest.strip(_BLANKS) else 0 :]
        starts = starts[starts < len(data)]
        first = values[starts]
        for start in starts[(first != _OPEN[1]) & (first != _NEW_LINE)].tolist():
            begin = start + (len(_BOM) if start == self._read == 0 and data.startswith(_BOM) else 0)
            end = data.find(b"\n", begin)
            line = data[begin : end if end >= 0 else len(data)].lstrip(_BLANKS)
            if line and not line.startswith(b"{"):
                number = self._line + data.count(b"\n", 0, start)
                raise LineFault(
                    f"{self._where} cannot be read: line {number} is not a JSON object "
                    f"({line[:_SHOWN]!r}); correct it"
                )


def _depth(line: bytes) -> int:
    """Return how deep a line of JSON is nested; a string that is not closed ends it."""
    bare = np.frombuffer(_STRING.sub(b"", line), np.uint8)
    steps = np.zeros(len(bare), np.int64)
    for byte in b"[{":
        steps[bare == byte] = 1
    for byte in b"]}":
        steps[bare == byte] = -1
    return int(np.cumsum(steps).max(initial=0))
