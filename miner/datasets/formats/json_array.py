"""A JSON array of objects as lines of one object each, so that it is read like JSON lines.

The file is converted block by block: it need not fit in memory, however its lines are broken.
"""

from __future__ import annotations

import io
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from miner.datasets.formats.bounded_lines import LineFault

__all__ = ["Lines", "one_a_line"]

_BLOCK = 1 << 20
_BLANKS, _BOM = b" \t\r\n", b"\xef\xbb\xbf"
_QUOTE, _ESCAPE, _COMMA, _OPEN, _CLOSE, _LINE, _SPACE = b'"\\,{]\n '


class Lines(io.BufferedReader):
    """A file of one object a line; `unit` says what a line is in the file itself."""

    unit = "line"


def one_a_line(file: IO[bytes], where: str) -> Lines:
    """Return a file whose lines are objects: the given one, or a view of the array in it."""
    start = file.read(_BLOCK)
    while start and not start.removeprefix(_BOM).strip(_BLANKS):
        more = file.read(_BLOCK)
        if not more:
            break
        start += more
    whole = _Rest(start, file)
    bare = start.removeprefix(_BOM).lstrip(_BLANKS)
    if not bare.startswith(b"["):
        return Lines(whole, _BLOCK)
    lines = Lines(_Array(whole, where), _BLOCK)
    lines.unit = "element"
    return lines


class _Rest(io.RawIOBase):
    """A file from which some bytes were read already."""

    def __init__(self, start: bytes, file: IO[bytes]) -> None:
        self._start, self._file = start, file

    def readable(self) -> bool:
        """Whether it can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer."""
        data, self._start = self._start[: len(buffer)], self._start[len(buffer) :]
        data = data or self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


class _Array(io.RawIOBase):
    """An array of objects, one a line: the commas between the objects become ends of lines.

    Ends of lines between the values become spaces. Inside a text they are no JSON, and are left,
    so that the parser refuses them.
    """

    def __init__(self, file: _Rest, where: str) -> None:
        self._file, self._where = file, where
        self._text = self._escaped = False
        self._depth = self._objects = self._commas = self._arrays = 0

    def readable(self) -> bool:
        """Whether it can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer."""
        data = np.frombuffer(self._file.read(len(buffer)), np.uint8)
        if not len(data):
            self._check_end()
            return 0
        buffer[: len(data)] = self._lines(data).tobytes()
        return len(data)

    def _lines(self, data: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Convert the next bytes of the array."""
        inside = self._inside(data)
        steps = np.zeros(len(data), np.int64)
        steps[np.isin(data, list(b"[{")) & ~inside] = 1
        steps[np.isin(data, list(b"]}")) & ~inside] = -1
        depths = self._depth + np.cumsum(steps)
        objects = self._objects + np.cumsum((data == _OPEN) & (steps == 1) & (depths == 2))
        commas = (data == _COMMA) & ~inside & (depths == 1)
        places = np.flatnonzero(commas)
        wrong = objects[places] != self._commas + 1 + np.arange(len(places))
        if wrong.any():
            self._refuse(self._commas + int(np.argmax(wrong)) + 1)
        starts, ends = (steps == 1) & (depths == 1), (steps == -1) & (depths == 0)
        arrays = self._arrays + np.cumsum(starts)
        outside = ~inside & (depths == 0) & (steps == 0) & ~np.isin(data, list(_BLANKS + _BOM))
        loose = ~inside & (depths == 1) & (steps == 0) & ~commas & ~np.isin(data, list(_BLANKS))
        bad = outside | loose | (depths < 0) | (ends & (data != _CLOSE)) | (arrays > 1)
        if bad.any():
            self._refuse(int(objects[int(np.argmax(bad))]) + 1)
        self._depth, self._objects, self._arrays = (
            int(counts[-1]) for counts in (depths, objects, arrays)
        )
        self._commas += len(places)
        lines = data.copy()
        lines[(data == _LINE) & ~inside] = _SPACE
        lines[starts | ends] = _SPACE
        lines[places] = _LINE
        return lines

    def _inside(self, data: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Return which bytes are inside a text; its quotes are not."""
        places = np.arange(len(data))
        last = np.maximum.accumulate(np.where(data != _ESCAPE, places, -1))
        before = np.concatenate([[-1], last[:-1]])
        run = places - 1 - before + np.where(before < 0, int(self._escaped), 0)
        quotes = (data == _QUOTE) & (run % 2 == 0)
        if data[-1] == _ESCAPE:
            run_end = len(data) - 1 - last[-1] + (int(self._escaped) if last[-1] < 0 else 0)
            self._escaped = bool(run_end % 2)
        else:
            self._escaped = False
        opened = (np.cumsum(quotes) + int(self._text)) % 2 == 1
        self._text = bool(opened[-1])
        inside: NDArray[np.bool_] = opened & ~quotes
        return inside

    def _check_end(self) -> None:
        if self._depth or self._text:
            raise LineFault(
                f"{self._where} cannot be read: the array is cut off after "
                f"{self._objects} objects; write the file again"
            )
        if self._objects != self._commas + 1 and (self._objects or self._commas):
            self._refuse(min(self._objects, self._commas + 1) + 1)

    def _refuse(self, number: int) -> None:
        raise LineFault(
            f"{self._where} cannot be read: element {number} of the array is no JSON object, or "
            "no comma is before it; correct it"
        )
