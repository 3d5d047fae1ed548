"""Lines of files with bounded length and nesting, so that they cannot exhaust memory or stack."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import IO, Any

import numpy as np

from miner.errors import DataError
from miner.formatting import bytes_text

__all__ = ["MOST_LINE", "JsonBlock", "LineFault", "bounded_lines", "json_blocks"]

MOST_LINE = 16 << 20
"""Most bytes of a line."""
_MOST_DEPTH = 100
"""Deepest nesting of lists and objects; Arrow's parser overflows the stack at some thousands."""
_BLANKS, _BOM, _SHOWN = b" \t\r", b"\xef\xbb\xbf", 20
_MOST_KEYS, _MOST_CELLS = 10_000, 200_000_000
"""Most distinct keys of a block, and most lines times keys: Arrow makes a cell of each."""
_KEY = re.compile(rb'"((?:[^"\\]++|\\.)*+)"?[ \t\r\n]*+(:?)', re.DOTALL)
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"?', re.DOTALL)
_OPEN, _NEW_LINE = b"[{", b"\n"


class LineFault(DataError):
    """Raised for a line that cannot be read; the message names the line."""


def bounded_lines(file: IO[bytes], where: str) -> Iterator[bytes]:
    """Yield the lines of a file.

    Raises
    ------
    LineFault
        If a line is longer than `MOST_LINE`.
    """
    number = 0
    while line := file.readline(MOST_LINE + 1):
        number += 1
        if len(line) > MOST_LINE:
            raise LineFault(f"{where}, line {number}: {_too_long()}")
        yield line


def _too_long() -> str:
    return f"it is longer than {bytes_text(MOST_LINE)}; check how the file was written"


@dataclass(frozen=True, slots=True)
class JsonBlock:
    """A block of whole lines of a JSON lines file.

    Attributes
    ----------
    lines : bytes
    where : str
        The file, as error messages name it.
    number : int
        The number of the first line, from 1.
    unit : str
        What a line is in the file: a line, or an element of its array.
    """

    lines: bytes
    where: str
    number: int
    unit: str = "line"

    def check(self) -> None:
        """Check that Arrow's parser can parse the lines.

        The parser crashes the process if values are nested too deeply, and if the first line of a
        block is ``null`` (a null pointer, seen in pyarrow 26.0). So every line must begin with an
        object. Only lines with many opening brackets are examined for their nesting.

        Raises
        ------
        LineFault
            If a line is not an object, or nested too deeply.
        """
        values = np.frombuffer(self.lines, np.uint8)
        ends = np.flatnonzero(values == _NEW_LINE[0])
        self._check_starts(ends)
        opens = np.flatnonzero((values == _OPEN[0]) | (values == _OPEN[1]))
        counts = np.bincount(np.searchsorted(ends, opens), minlength=len(ends) + 1)
        for line in np.flatnonzero(counts > _MOST_DEPTH).tolist():
            start = int(ends[line - 1]) + 1 if line else 0
            stop = int(ends[line]) if line < len(ends) else len(self.lines)
            if _depth(self.lines[start:stop]) > _MOST_DEPTH:
                raise LineFault(
                    f"{self.where}, {self.unit} {self.number + line}: lists and objects lie more "
                    f"than {_MOST_DEPTH} deep in each other; flatten them"
                )

    def check_keys(self) -> None:
        """Check that Arrow can infer the columns of the block in reasonable time.

        Raises
        ------
        LineFault
            If the objects, at all depths together, have too many distinct keys.
        """
        if self.lines.count(b":") <= _MOST_KEYS // 10:
            return
        rows = self.lines.count(_NEW_LINE) + 1
        most = min(_MOST_KEYS, _MOST_CELLS // rows)
        keys = set()
        for found in _KEY.finditer(self.lines):
            if found[2]:
                keys.add(found[1])
                if len(keys) > most:
                    raise LineFault(
                        f"{self.where} has more than {most:,} different keys in its first lines; "
                        "write one object a row with the same keys in all rows"
                    )

    def _check_starts(self, ends: Any) -> None:
        """Raise a `LineFault` for a line that does not begin with an object."""
        block = self.lines
        starts = np.concatenate([[0], ends + 1])
        starts = starts[starts < len(block)]
        first = np.frombuffer(block, np.uint8)[starts]
        for start in starts[(first != _OPEN[1]) & (first != _NEW_LINE[0])].tolist():
            end = block.find(_NEW_LINE, start)
            line = block[start : end if end >= 0 else len(block)].lstrip(_BLANKS)
            if line and not line.startswith(b"{"):
                number = self.number + block.count(_NEW_LINE, 0, start)
                raise LineFault(
                    f"{self.where} cannot be read: {self.unit} {number} is not a JSON object "
                    f"({line[:_SHOWN]!r}); correct it"
                )

    def without(self, path: str) -> tuple[str, JsonBlock] | None:
        """Return the key of the objects that a path such as ``a/b`` is in, and a block without it.

        None if no object has such a key, or a line is no JSON.
        """
        parts = path.split("/")
        try:
            rows = [json.loads(line.strip() or b"{}") for line in self.lines.split(_NEW_LINE)]
        except (ValueError, RecursionError):
            return None
        keys = ("/".join(parts[:end]) for end in range(1, len(parts) + 1))
        key = next((key for key in keys if any(key in row for row in rows)), None)
        if key is None:
            return None
        lines = [json.dumps({k: row[k] for k in row if k != key}).encode() for row in rows]
        return key, replace(self, lines=_NEW_LINE.join(lines))

    def line_of(self, row: int) -> int | None:
        """Return the line number of an object, given its index in the block.

        Assumes one object per line; None if the block has fewer lines.
        """
        lines = enumerate(self.lines.split(_NEW_LINE), self.number)
        filled = (number for number, line in lines if line.strip())
        return next(itertools.islice(filled, row, None), None)


def json_blocks(file: IO[bytes], where: str, size: int | None = None) -> Iterator[JsonBlock]:
    """Yield blocks of whole lines, of about `size` bytes (default: `MOST_LINE`).

    Blocks of blank lines are skipped.

    Raises
    ------
    LineFault
        If a line is longer than `MOST_LINE`, after the preceding blocks were yielded.
    """
    number, rest, unit = 1, b"", getattr(file, "unit", "line")
    while data := file.read(size or MOST_LINE):
        if number == 1 and not rest:
            data = data.removeprefix(_BOM)
        first, end = data.find(_NEW_LINE), data.rfind(_NEW_LINE) + 1
        if len(rest) + (first if end else len(data)) > MOST_LINE:
            raise LineFault(f"{where}, {unit} {number}: {_too_long()}")
        block, rest = (rest + data[:end], data[end:]) if end else (b"", rest + data)
        if block and not block.isspace():
            yield JsonBlock(block, where, number, unit)
        number += block.count(_NEW_LINE)
    if rest and not rest.isspace():
        yield JsonBlock(rest, where, number, unit)


def _depth(line: bytes) -> int:
    """Return the nesting depth of a line of JSON, up to a string that is not closed."""
    bare = np.frombuffer(_STRING.sub(b"", line), np.uint8)
    steps = np.zeros(len(bare), np.int64)
    for byte in b"[{":
        steps[bare == byte] = 1
    for byte in b"]}":
        steps[bare == byte] = -1
    return int(np.cumsum(steps).max(initial=0))
